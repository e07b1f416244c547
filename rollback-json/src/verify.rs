//! Verification: reads every file, and says what is wrong.

use std::collections::BTreeMap;
use std::fmt;

use rollback_core::deployment::{Deployment, LiveRecord};
use rollback_core::error::StoreError;
use rollback_core::history::{Fault, Sequence};
use rollback_core::id::{DeploymentId, WorkloadId};
use rollback_fs::durable::TEMPORARY;

use crate::counter;
use crate::folder::{Folder, Found, is_of_one, names};
use crate::index::Row;
use crate::inner::Inner;
use crate::layout::id_of;
use crate::list::locked;
use crate::open;
use crate::state::State;

/// How long writers are waited for, and then kept waiting, where something seems to be wrong; in
/// milliseconds.
const PATIENCE: u32 = 2_000;

/// Which record has a number, in which workload.
type Numbers = BTreeMap<Sequence, (WorkloadId, DeploymentId)>;

pub(crate) fn verify(store: &Inner) -> Result<Vec<Fault>, StoreError> {
    let mut faults = Vec::new();
    match open::marker(&store.layout) {
        Err(e) if is_of_one(&e) => faults.push(fault("format.json", e)),
        // A directory that can only be read.
        _ => {}
    }
    let path = store.layout.sequence();
    match counter::last(&path) {
        Ok(None) if path.exists() => {
            let what = "is no counter; it does no harm, and is made anew by the next deployment";
            faults.push(fault(path.display(), what));
        }
        Ok(_) => {}
        Err(e) => faults.push(fault(path.display(), e)),
    }
    let mut numbers = Numbers::new();
    for name in names(&store.layout.workloads())? {
        let Ok(workload) = name.parse() else {
            faults.push(fault(
                &name,
                "is no workload's directory; it was left as it is",
            ));
            continue;
        };
        match one(store, &workload, &mut numbers) {
            Ok(found) => faults.extend(found),
            // What keeps us from looking at one keeps us from no other.
            Err(e) => faults.push(fault(&workload, e)),
        }
    }
    let dir = store.layout.quarantine();
    for name in names(&dir)? {
        faults.push(fault(
            dir.join(name).display(),
            "is damaged and was moved aside; put it back from a copy, or remove it",
        ));
    }
    Ok(faults)
}

/// Looks at a workload, and where something seems wrong again, with writers kept out: what is
/// being written is never whole at one instant.
fn one(
    store: &Inner,
    workload: &WorkloadId,
    numbers: &mut Numbers,
) -> Result<Vec<Fault>, StoreError> {
    let folder = store.folder(workload);
    let look = || {
        let mut own = Numbers::new();
        // Of its own, so that nothing is believed that was read before.
        let mut fresh = Folder::new(&store.layout, workload.clone());
        Check::of(&mut fresh, &mut own).map(|faults| (faults, own))
    };
    let (mut faults, mut own) = look()?;
    if !faults.is_empty() {
        let _here = locked(&folder);
        let lock = store
            .locks
            .take_named(&format!("{workload}.write"), PATIENCE);
        let (again, numbers) = look()?;
        own = numbers;
        faults = match lock {
            Ok(Some(_lock)) => again,
            // Nobody could be kept out: what is wrong is so both times.
            _ => again.into_iter().filter(|f| faults.contains(f)).collect(),
        };
    }
    for (sequence, of) in own {
        if let Some((_, other)) = numbers.insert(sequence, of.clone()) {
            faults.push(fault(
                &of.1,
                format_args!("has the number of {other}, {sequence}"),
            ));
        }
    }
    Ok(faults)
}

/// One look at a workload's files.
struct Check<'a> {
    folder: &'a mut Folder,
    numbers: &'a mut Numbers,
    faults: Vec<Fault>,
}

impl<'a> Check<'a> {
    fn of(folder: &'a mut Folder, numbers: &'a mut Numbers) -> Result<Vec<Fault>, StoreError> {
        let mut check = Self {
            folder,
            numbers,
            faults: Vec::new(),
        };
        check.all()?;
        Ok(check.faults)
    }

    fn say(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.faults.push(fault(place, what));
    }

    fn all(&mut self) -> Result<(), StoreError> {
        let (state, wrong) = self.folder.state_for_reading();
        let state = match wrong {
            Some(e) => {
                self.say(self.folder.workload.clone(), e);
                None
            }
            None => Some(state),
        };
        let mut seen = 0;
        for name in names(&self.folder.place.records())? {
            match name.parse() {
                Ok(shard) => seen += self.shard(shard, state.as_ref())?,
                Err(_) => self.stranger(&self.folder.place.records().join(&name).display()),
            }
        }
        if let Some(state) = &state {
            self.whole(state, seen)?;
        }
        Ok(())
    }

    fn stranger(&mut self, place: &dyn fmt::Display) {
        let what = "is not of this library; it is passed over and was left as it is";
        self.faults.push(fault(place, what));
    }

    /// What the state says of its records.
    fn whole(&mut self, state: &State, seen: u64) -> Result<(), StoreError> {
        if let Some(kept) = state.kept.filter(|kept| *kept > seen) {
            let what = format!("{} of its {kept} records are missing", kept - seen);
            self.say(&state.workload, what);
        }
        let live = match &state.live {
            LiveRecord::Known(id) => Some((id, "is live")),
            _ => None,
        };
        let held = state.in_flight.as_ref();
        let held = held.map(|held| (&held.deployment, "is in flight"));
        for (id, why) in live.into_iter().chain(held) {
            if self.folder.shard_with(id)?.is_none() {
                self.say(id, format_args!("{why}, and its record is missing"));
            }
        }
        Ok(())
    }

    /// Looks at every file of a shard; gives how many records there are.
    fn shard(&mut self, shard: u64, state: Option<&State>) -> Result<u64, StoreError> {
        let unseen = State::unseen(self.folder.workload.clone());
        let dir = self.folder.place.shard(shard);
        let mut rows = self.folder.whole_index(shard)?.rows.clone();
        let overlay = self.folder.overlay(state.unwrap_or(&unseen));
        let mut seen = 0;
        let opened = state.and_then(|s| s.pending.opened.as_ref());
        for name in names(&dir)? {
            if name.starts_with(TEMPORARY) {
                let half = opened.filter(|o| o.shard == shard);
                let half = half.map(|o| self.folder.place.unpublished(shard, &o.deployment));
                // A committed record that is about to get its name.
                if half == Some(dir.join(&name)) {
                    seen += 1;
                }
                continue;
            }
            let Some(id) = id_of(&name) else {
                self.stranger(&dir.join(&name).display());
                continue;
            };
            if state.is_some_and(|s| s.pending.forgets(&id)) {
                continue;
            }
            seen += 1;
            match self.folder.get(state.unwrap_or(&unseen), shard, &id) {
                Found::Record(d) => {
                    let listed = rows.remove(&d.sequence());
                    let listed = match overlay.get(&d.sequence()) {
                        Some((_, row)) => Some(row.clone()),
                        None => listed,
                    };
                    self.record(&d, state, listed.as_ref());
                }
                Found::Unreadable(e) => self.say(&id, e),
                Found::Nothing => {}
            }
        }
        for row in rows.into_values() {
            let is_there = self.folder.place.record(shard, &row.id).exists();
            let is_gone = state.is_some_and(|s| s.pending.forgets(&row.id));
            if !is_there && !is_gone {
                self.say(&row.id, "is in the index, and its file is missing");
            }
        }
        Ok(seen)
    }

    fn record(&mut self, d: &Deployment, state: Option<&State>, listed: Option<&Row>) {
        let of = (self.folder.workload.clone(), d.id().clone());
        if let Some((_, other)) = self.numbers.insert(d.sequence(), of) {
            let what = format!("has the number of {other}, {}", d.sequence());
            self.say(d.id(), what);
        }
        if !listed.is_some_and(|row| row.fits(d)) {
            let what = "is not in the index as it is; remove the directory index, it is made anew";
            self.say(d.id(), what);
        }
        let Some(state) = state else { return };
        if d.sequence() > state.last {
            let what = "is newer than its workload's state, which is that of an older copy; what \
                        is live now may be another release";
            self.say(d.id(), what);
        }
        let held = state.in_flight.as_ref();
        if d.outcome().is_none() && held.is_none_or(|held| held.deployment != *d.id()) {
            self.say(d.id(), "has no end, and is not in flight");
        }
    }
}

fn fault(place: impl fmt::Display, what: impl fmt::Display) -> Fault {
    Fault::new(place.to_string(), what.to_string())
}
