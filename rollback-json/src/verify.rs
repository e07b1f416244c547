//! Verification: reads every file, and says what is wrong.

use std::fmt;

use rollback_core::error::StoreError;
use rollback_core::history::Fault;

use crate::folder::{Folder, Found, names};
use crate::inner::Inner;
use crate::layout::id_of;
use crate::list::locked;
use crate::state::State;

pub(crate) fn verify(store: &Inner) -> Result<Vec<Fault>, StoreError> {
    let mut faults = Vec::new();
    for name in names(&store.layout.workloads())? {
        let Ok(workload) = name.parse() else {
            faults.push(fault(&name, "is no workload's directory"));
            continue;
        };
        let folder = store.folder(&workload);
        let mut folder = locked(&folder);
        match folder.state() {
            Ok(state) => records(&mut folder, &state, &mut faults)?,
            Err(e) => faults.push(fault(&workload, e)),
        }
    }
    let dir = store.layout.quarantine();
    for name in names(&dir)? {
        faults.push(fault(
            dir.join(name).display(),
            "is a damaged record that was moved aside",
        ));
    }
    Ok(faults)
}

fn records(folder: &mut Folder, state: &State, faults: &mut Vec<Fault>) -> Result<(), StoreError> {
    for shard in folder.shards()? {
        let rows = folder.index(shard, None)?.clone();
        let mut seen = 0;
        for name in names(&folder.place.shard(shard))? {
            let Some(id) = id_of(&name) else { continue };
            match folder.look(shard, &id)? {
                Found::Unreadable(e) => faults.push(fault(&id, e)),
                Found::Nothing => {}
                // Left by a begin that was never committed: no record yet.
                Found::Record(d) if d.sequence() > state.last => {}
                // Forgotten; whoever writes next removes its file.
                Found::Record(d) if state.pending.forgets(d.sequence()) => {}
                Found::Record(d) => {
                    seen += 1;
                    let amended = state.pending.events.iter().any(|c| c.deployment == id);
                    let fits = rows.get(&d.sequence()).is_some_and(|row| row.fits(&d));
                    if !fits && !amended {
                        faults.push(fault(
                            &id,
                            "is not in the index as it is; rebuild the index",
                        ));
                    }
                }
            }
        }
        let listed = rows
            .iter()
            .filter(|(s, r)| **s <= state.last && r.unreadable.is_none())
            .filter(|(s, _)| !state.pending.forgets(**s))
            .count();
        if listed > seen {
            faults.push(fault(
                folder.place.shard(shard).display(),
                format_args!(
                    "misses {} of the {listed} records in its index",
                    listed - seen
                ),
            ));
        }
    }
    Ok(())
}

fn fault(place: impl fmt::Display, what: impl fmt::Display) -> Fault {
    Fault {
        place: place.to_string(),
        what: what.to_string(),
    }
}
