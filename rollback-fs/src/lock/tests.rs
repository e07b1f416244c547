use std::process::{Child, Command, Stdio};

use rollback_core::time::Timestamp;

use super::text::TEXT;
use super::*;
use crate::alone::alone;

fn locks(dir: &tempfile::TempDir) -> Locks {
    Locks::in_dir(dir.path().join("locks")).unwrap()
}

fn api() -> WorkloadId {
    "api@web-1".parse().unwrap()
}

fn holder(held: &Held) -> Holder {
    let holder = held.sign(&Holder::this_process(Timestamp::UNIX_EPOCH));
    assert!(holder.lock.is_some());
    holder
}

/// A process that lives.
fn somebody() -> Child {
    let mut command = Command::new("sleep");
    command.arg("60").stdout(Stdio::null()).spawn().unwrap()
}

fn of_process(pid: u32, lock: &str) -> Holder {
    let mut holder = Holder::this_process(Timestamp::UNIX_EPOCH);
    holder.pid = pid;
    holder.lock = Some(lock.to_owned());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    holder.started = rest.split(' ').nth(20).unwrap().parse().ok();
    holder
}

#[test]
fn a_held_lock_is_alive_and_cannot_be_taken_until_it_is_dropped() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (locks, workload) = (locks(&dir), api());
    let other: WorkloadId = "api@web-2".parse().unwrap();
    assert_eq!(locks.look(&workload).unwrap(), Liveness::Dead);
    assert_eq!(fs::read_dir(&locks.dir).unwrap().count(), 0);
    let held = locks.take(&workload).unwrap().unwrap();
    let holder = holder(&held);
    assert_eq!(locks.look(&workload).unwrap(), Liveness::Alive);
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Alive);
    assert_eq!(locks.look(&other).unwrap(), Liveness::Dead);
    assert_eq!(locks.all_held().unwrap(), ["api@web-1"]);
    assert!(locks.take(&workload).unwrap().is_none());
    drop(held);
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Dead);
    let held = locks.take(&workload).unwrap().unwrap();
    assert_eq!(held.liveness_of(&holder), Liveness::Dead);
    assert_eq!(held.sign(&holder), holder, "the same lock as before");
}

#[test]
fn a_deleted_lock_file_made_a_living_holder_dead() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (locks, workload) = (locks(&dir), api());
    let held = locks.take(&workload).unwrap().unwrap();
    let holder = holder(&held);
    fs::remove_file(locks.path(&workload)).unwrap();
    assert_eq!(locks.look(&workload).unwrap(), Liveness::Alive);
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Alive);
    assert!(locks.take(&workload).unwrap().is_none());
    drop(held);
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Dead);
    fs::remove_dir_all(&locks.dir).unwrap();
    assert!(locks.take(&workload).unwrap().is_some());
}

#[test]
fn a_replaced_lock_file_made_another_processs_living_holder_dead() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (locks, workload) = (locks(&dir), api());
    let mut child = somebody();
    let holder = of_process(child.id(), &"a".repeat(TEXT));
    // No file at all, then one of somebody else's.
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Alive);
    let held = locks.take(&workload).unwrap().unwrap();
    assert_eq!(held.liveness_of(&holder), Liveness::Alive);
    let same = of_process(child.id(), held.text.as_deref().unwrap());
    assert_eq!(held.liveness_of(&same), Liveness::Dead);
    drop(held);
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Alive);
    assert_eq!(locks.liveness(&workload, &same).unwrap(), Liveness::Dead);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(locks.liveness(&workload, &holder).unwrap(), Liveness::Dead);
    // A record of before this was kept.
    let mut old = holder;
    old.lock = None;
    assert_eq!(locks.liveness(&workload, &old).unwrap(), Liveness::Dead);
}

#[test]
fn a_copy_of_a_running_history_took_over_its_living_holder() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (here, workload) = (locks(&dir), api());
    let mut child = somebody();
    let held = here.take(&workload).unwrap().unwrap();
    let living = of_process(child.id(), held.text.as_deref().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let there = locks(&elsewhere);
    fs::copy(here.path(&workload), there.path(&workload)).unwrap();
    assert_eq!(there.liveness(&workload, &living).unwrap(), Liveness::Alive);
    let taken = there.take(&workload).unwrap().unwrap();
    assert_eq!(taken.liveness_of(&living), Liveness::Alive);
    // From now on it has a text of its own.
    let own = taken.sign(&living);
    assert_ne!(own.lock, living.lock);
    drop(taken);
    assert_eq!(there.liveness(&workload, &own).unwrap(), Liveness::Dead);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(there.liveness(&workload, &living).unwrap(), Liveness::Dead);
}

#[test]
fn a_copy_that_the_holders_own_process_opened_took_it_over() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (here, workload) = (locks(&dir), api());
    let held = here.take(&workload).unwrap().unwrap();
    let living = holder(&held);
    let elsewhere = tempfile::tempdir().unwrap();
    let there = locks(&elsewhere);
    fs::copy(here.path(&workload), there.path(&workload)).unwrap();
    assert_eq!(there.liveness(&workload, &living).unwrap(), Liveness::Alive);
    let taken = there.take(&workload).unwrap().unwrap();
    assert_eq!(taken.liveness_of(&living), Liveness::Alive);
    assert_eq!(taken.liveness_if_seen(&living), Liveness::Alive);
    drop(held);
    assert_eq!(taken.liveness_of(&living), Liveness::Dead);
}

#[test]
fn a_holder_that_nobody_can_see_was_in_the_way_for_ever() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (locks, workload) = (locks(&dir), api());
    let held = locks.take(&workload).unwrap().unwrap();
    // The container that it ran in is gone, and its history was moved.
    let mut unseen = of_process(1, &"c".repeat(TEXT));
    unseen.namespace = Some(1);
    assert_eq!(held.liveness_of(&unseen), Liveness::Alive);
    assert_eq!(held.liveness_if_seen(&unseen), Liveness::Dead);
    let seen = of_process(1, &"c".repeat(TEXT));
    assert_eq!(held.liveness_if_seen(&seen), Liveness::Alive);
}

#[test]
fn a_lock_file_of_an_earlier_version_keeps_its_text() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (locks, workload) = (locks(&dir), api());
    let text = "b".repeat(TEXT);
    fs::write(locks.path(&workload), &text).unwrap();
    let recorded = of_process(1, &text);
    assert_eq!(
        locks.liveness(&workload, &recorded).unwrap(),
        Liveness::Dead
    );
    let held = locks.take(&workload).unwrap().unwrap();
    assert_eq!(held.text.as_deref(), Some(&*text));
    assert_eq!(held.liveness_of(&recorded), Liveness::Dead);
    drop(held);
    let held = locks.take(&workload).unwrap().unwrap();
    assert_eq!(held.text.as_deref(), Some(&*text));
    let line = fs::read_to_string(locks.path(&workload)).unwrap();
    assert!(line.len() > TEXT && line.starts_with(&text), "{line:?}");
}

#[test]
fn many_share_a_lock_that_one_takes_alone() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(&dir);
    let one = locks.share_named("store.lock", 1).unwrap().unwrap();
    let two = locks.share_named("store.lock", 1).unwrap().unwrap();
    assert!(locks.take_named("store.lock", 3).unwrap().is_none());
    drop(one);
    assert!(locks.take_named("store.lock", 3).unwrap().is_none());
    drop(two);
    let alone = locks.take_named("store.lock", 3).unwrap().unwrap();
    assert!(locks.share_named("store.lock", 3).unwrap().is_none());
    drop(alone);
    assert!(locks.share_named("store.lock", 3).unwrap().is_some());
}

#[test]
fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_is_left_alone() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (locks, workload) = (locks(&dir), api());
    let elsewhere = dir.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, locks.path(&workload)).unwrap();
    assert!(locks.take(&workload).is_err());
    assert!(locks.look(&workload).is_err());
    assert!(!elsewhere.exists());
}
