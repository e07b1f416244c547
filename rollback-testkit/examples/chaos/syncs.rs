//! Syncs: each operation is watched, and at its end everything that it changed has to be on the
//! disk. What power cuts find by luck, this finds each time.

use std::fs::File;
use std::path::Path;

use rollback_testkit::fixtures::strace::{Call, Strace, not_durable, not_written_through};
use rollback_testkit::service::unavailable;

use crate::faults::{Stage, Task};
use crate::ground::{Ground, SITES};
use crate::oracle::Breaches;
use crate::rounds::{self, Asked};
use crate::tally::Tally;

/// Watches every operation once, whatever number of rounds is asked for.
pub(crate) fn play(asked: &Asked) -> Option<Tally> {
    let mut tally = Tally::new("syncs", asked);
    let stage = Stage::make(asked)?;
    let mut nth = 0;
    for task in Task::ALL {
        for (nth_site, site) in SITES.iter().enumerate() {
            let ground = stage.fresh(task);
            let mut breaches = Breaches::default();
            match watched(&ground, task, nth_site, &stage.dir().join("go")) {
                Ok(left) if left.is_empty() => {}
                Ok(left) => breaches.add(
                    "not on the disk when it was done",
                    format!("{task} of {}: {}", site.id(), left.join(", ")),
                ),
                Err(why) => {
                    unavailable(&why);
                    return None;
                }
            }
            tally.round(nth, breaches);
            nth += 1;
        }
    }
    Some(tally)
}

/// Runs an operation under strace; what of it would not survive a power cut at its end.
fn watched(ground: &Ground, task: Task, nth_site: usize, go: &Path) -> Result<Vec<String>, String> {
    let _ = std::fs::remove_file(go);
    let (task, site, go_text) = (
        task.to_string(),
        nth_site.to_string(),
        go.display().to_string(),
    );
    let mut program = rounds::command(ground, "operate-when-told", &[&task, &site, &go_text])
        .spawn()
        .unwrap();
    let watching = Strace::watch(program.id());
    File::create(go).unwrap();
    let ended = program.wait().unwrap();
    let calls = watching?.calls(&ground.dir);
    assert!(ended.success(), "{task}: {ended}");
    assert!(!calls.is_empty(), "{task} changes nothing");
    let names = not_durable(&calls).into_iter();
    let contents = not_written_through(&calls).into_iter();
    let at_the_end = names
        .map(|name| ("the name", name))
        .chain(contents.map(|name| ("the content", name)));
    let left = at_the_end
        .chain(before_commits(&calls))
        .filter(|(_, name)| !may_be_lost(name));
    Ok(left
        .map(|(what, name)| format!("{what} of {}", name.display()))
        .collect())
}

/// A commit of the JSON store builds on what came before it: that is on the disk first.
fn before_commits(calls: &[Call]) -> impl Iterator<Item = (&'static str, &Path)> {
    let commits = calls.iter().enumerate().filter(|(_, call)| {
        let name = call.changed();
        call.publishes() && name.is_some_and(|name| name.ends_with("state.json"))
    });
    commits.flat_map(|(nth, commit)| {
        let names = not_durable(&calls[..nth]).into_iter();
        // The state's own file is about to get its name.
        let around = commit.changed().and_then(Path::parent);
        let own = move |name: &Path| {
            around.is_some_and(|dir| name.starts_with(dir) && name.parent() != Some(dir))
        };
        names
            .filter(move |name| own(name))
            .map(|name| ("before a commit, the name", name))
    })
}

/// What is made anew, or looked at again, after a power cut.
fn may_be_lost(name: &Path) -> bool {
    let text = name.to_string_lossy();
    let parts = [
        // Kernel locks, and SQLite's files that are for processes that live.
        "history.db.locks",
        "history/locks",
        "history.db-shm",
        "history.db-wal",
        // The index of records is not believed after another boot.
        "/index/",
        // Nor is the note that a writer has ended well; the last number is a hint, and the room to
        // end in is empty.
        "history/sequence",
        "history/.new-sequence",
        "/ended",
        "/reserve",
        // What is on its way out, or was never in.
        ".rollback/trash",
        ".git/rollback/",
        ".next",
        // Not ours: what the restart command writes, and the tag of who committed.
        "serving/",
        "refs/tags/",
    ];
    parts.iter().any(|part| text.contains(part))
}
