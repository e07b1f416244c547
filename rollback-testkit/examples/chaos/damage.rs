//! Damaged histories: one file of a history at rest is changed, and a fresh process must report
//! it, serve the rest, and lose nothing more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rollback_core::deployment::Deployment;
use rollback_core::engine::RollbackEngine;
use rollback_core::prelude::*;

use crate::dice::Dice;
use crate::ground::{Ground, SITES, Store};
use crate::oracle::Breaches;
use crate::rounds::{self, Asked};
use crate::tally::Tally;

/// What a disk loses at a time, and SQLite's page.
const PAGE: usize = 4096;

/// What one damaged history may take at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// Plays the damages.
pub(crate) fn play(asked: &Asked) -> Tally {
    let mut tally = Tally::new("damage", asked);
    let (whole, dir) = rounds::new_ground(asked);
    let earlier = dir.path().join("earlier");
    let built = rounds::run(&whole, "history", &["1"], PATIENCE);
    assert!(built.0.is_empty(), "{built:?}");
    copy(&whole.history(), &earlier);
    // The second half ends by SIGKILL: SQLite then leaves its log beside the file.
    let mut second = rounds::command(&whole, "history-killed", &["2"]);
    assert!(!second.status().unwrap().success());
    let killed = dir.path().join("killed");
    copy(&whole.dir, &killed);
    let baseline = dir.path().join("baseline");
    let told = rounds::run(&whole, "baseline", &[&text(&baseline)], PATIENCE);
    assert!(told.0.is_empty(), "{told:?}");
    for nth in 0..asked.rounds {
        let mut dice = Dice::of(asked.seed, nth);
        let damaged = Ground {
            dir: dir.path().join("damaged"),
            ..whole.clone()
        };
        // Whoever looks last closes it in order.
        let from = if dice.percent(30) {
            &killed
        } else {
            &whole.dir
        };
        copy(from, &damaged.dir);
        let (what, file) = damage(&damaged, &earlier, &mut dice);
        let as_a_whole = what.starts_with("removed") || what.starts_with("an older copy");
        let how = if as_a_whole { "replaced" } else { "changed" };
        let args = [&*text(&baseline), &*text(&file), how].map(str::to_owned);
        let args = args.each_ref().map(String::as_str);
        let mut breaches = rounds::run(&damaged, "damaged", &args, PATIENCE);
        for breach in &mut breaches.0 {
            breach.what = format!("{what}: {}", breach.what);
        }
        tally.round(nth, breaches);
        fs::remove_dir_all(&damaged.dir).unwrap();
    }
    tally
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Copies a directory as it is.
pub(crate) fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let done = cp.arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "{} cannot be copied", from.display());
}

/// Damages one file of the history. Says how, and which one.
fn damage(ground: &Ground, earlier: &Path, dice: &mut Dice) -> (String, PathBuf) {
    let files = files(ground);
    let file = dice.one_of(&files).unwrap();
    let name = file.strip_prefix(&ground.dir).unwrap().to_owned();
    let bytes = fs::read(file).unwrap();
    let at = |dice: &mut Dice| usize::try_from(dice.below(bytes.len().max(1) as u64)).unwrap();
    let pages = bytes.len() / PAGE;
    let how = match dice.below(9) {
        7 | 8 if pages > 1 => {
            let mut changed = bytes.clone();
            let (one, other) = (at(dice) / PAGE % pages, at(dice) / PAGE % pages);
            let (one, other) = (one * PAGE, other * PAGE);
            let empty = one == other || dice.percent(30);
            if empty {
                changed[one..one + PAGE].fill(0);
            } else {
                changed[one..one + PAGE].copy_from_slice(&bytes[other..other + PAGE]);
                changed[other..other + PAGE].copy_from_slice(&bytes[one..one + PAGE]);
            }
            fs::write(file, changed).unwrap();
            format!("the 4 KiB at {one} emptied, or swapped with those at {other}, in")
        }
        0 | 1 | 7 | 8 => {
            let mut changed = bytes.clone();
            let (nth, bit) = (at(dice), dice.below(8));
            if let Some(byte) = changed.get_mut(nth) {
                *byte ^= 1 << bit;
            }
            fs::write(file, changed).unwrap();
            format!("bit {bit} of byte {nth} flipped in")
        }
        2 => {
            let length = at(dice);
            fs::write(file, &bytes[..length]).unwrap();
            format!("cut to {length} bytes:")
        }
        3 => {
            fs::remove_file(file).unwrap();
            "removed:".to_owned()
        }
        4 => {
            let copy = file.with_file_name(format!(
                "copy-{}",
                file.file_name().unwrap().to_string_lossy()
            ));
            fs::write(copy, &bytes).unwrap();
            "copied beside itself:".to_owned()
        }
        5 => {
            let other = dice.one_of(&files).unwrap();
            let others = fs::read(other).unwrap();
            fs::write(file, others).unwrap();
            format!("the content of {} in", name_of(other))
        }
        _ => {
            let history = ground.history();
            let old = match file.strip_prefix(&history) {
                Ok(inner) if !inner.as_os_str().is_empty() => earlier.join(inner),
                _ => earlier.to_owned(),
            };
            match fs::read(old) {
                Ok(old) => fs::write(file, old).unwrap(),
                // It was not there then.
                Err(_) => fs::remove_file(file).unwrap(),
            }
            "an older copy of".to_owned()
        }
    };
    (format!("{how} {}", name.display()), file.clone())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The files of a history, in a fixed order.
fn files(ground: &Ground) -> Vec<PathBuf> {
    let history = ground.history();
    let mut found = Vec::new();
    let mut todo = vec![history.clone()];
    if ground.store == Store::Sqlite {
        for more in ["-wal", "-shm"] {
            todo.push(PathBuf::from(format!("{}{more}", history.display())));
        }
    }
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Builds a history worth damaging: `nth` is 1 for the first half, 2 for the second. It is open
/// until what is returned is dropped.
pub(crate) async fn build(ground: &Ground, nth: u64, breaches: &mut Breaches) -> RollbackEngine {
    let me = || Actor::user("chaos").unwrap();
    let engine = ground.engine(ground.open().await.unwrap());
    for site in &SITES {
        let id = site.id();
        for version in [nth * 5, nth * 5 + 1, nth * 5 + 4] {
            let run = engine.deploy(&id, format!("v{version}"), me()).await;
            run.unwrap().await.unwrap();
        }
        let back = engine.rollback(&id, Goal::Previous, me()).await;
        let back = back.unwrap().await.unwrap();
        if !back.succeeded() {
            breaches.add("a history cannot be built", back.summary());
        }
        let d = back.deployment().id().clone();
        engine.pin(&d, &me()).await.unwrap();
        let note = "a note".parse().unwrap();
        engine.note(&d, note, &me()).await.unwrap();
    }
    engine
}

/// Each record as it was before the damage, as JSON.
type Baseline = BTreeMap<String, serde_json::Value>;

/// Writes down what the history holds.
pub(crate) async fn baseline(ground: &Ground, to: &Path, breaches: &mut Breaches) {
    let engine = ground.engine(ground.open().await.unwrap());
    for fault in engine.verify().await.unwrap() {
        breaches.add("a history cannot be built", fault);
    }
    let (records, _) = served(&engine).await;
    let records: Baseline = records
        .iter()
        .map(|(id, d)| (id.clone(), json(d)))
        .collect();
    fs::write(to, serde_json::to_vec(&records).unwrap()).unwrap();
}

fn json(d: &Deployment) -> serde_json::Value {
    serde_json::to_value(d).unwrap()
}

/// All records that are listed, by id, and how many are said to be unreadable.
async fn served(engine: &RollbackEngine) -> (BTreeMap<String, Deployment>, usize) {
    let (mut records, mut unreadable) = (BTreeMap::new(), 0);
    let mut query = Query::default().limit(7);
    while let Ok(page) = engine.list(&query).await {
        unreadable += page.unreadable.len();
        for d in page.deployments {
            records.insert(d.id().to_string(), d);
        }
        query.before = page.next;
        if query.before.is_none() {
            return (records, unreadable);
        }
    }
    (records, unreadable.max(1))
}

/// Looks at a damaged history as a program would that starts on it.
pub(crate) async fn judge(
    ground: &Ground,
    baseline: &Path,
    file: &Path,
    how: &str,
    breaches: &mut Breaches,
) {
    let baseline: Baseline = serde_json::from_slice(&fs::read(baseline).unwrap()).unwrap();
    let place = Place::of(ground, file, how);
    let Ok(store) = ground.open().await else {
        // A typed error: that is said. But one workload's file is no reason.
        if place.workload.is_some() {
            breaches.add(
                "one damaged workload closes the history",
                "it cannot be opened",
            );
        }
        return;
    };
    let engine = ground.engine(store);
    let reported = engine
        .verify()
        .await
        .map_or(true, |faults| !faults.is_empty());
    hold_against(&engine, &baseline, &place, reported, breaches).await;
    match engine.recover().await {
        Err(e) if place.workload.is_some() || !reported => {
            breaches.add("damage stops everybody's recovery", e);
        }
        _ => {}
    }
    for site in &SITES {
        let id = site.id();
        let own = place.workload.as_ref() == Some(&id);
        let run = async {
            let me = Actor::user("chaos").unwrap();
            engine.deploy(&id, "v2", me).await?.await
        };
        match run.await {
            Ok(report) if report.succeeded() => {}
            // What is damaged may refuse, and be refused.
            // What is put back from an older copy is behind what is live, and says so.
            _ if own || place.may_pass || (reported && place.workload.is_none()) => {}
            Ok(report) => breaches.add("a workload that is whole fails", report.summary()),
            Err(e) => breaches.add("a workload that is whole fails", e),
        }
    }
    let reported = engine
        .verify()
        .await
        .map_or(true, |faults| !faults.is_empty());
    hold_against(&engine, &baseline, &place, reported, breaches).await;
}

/// Where a damaged file belongs.
struct Place {
    /// The workload, if it is of one alone.
    workload: Option<WorkloadId>,
    /// The record, if it is one's alone.
    record: Option<String>,
    /// Damage that leaves what might be whole: SQLite's log, since what is cut off there looks like
    /// what a crash cuts off, and the one file taken away or put back from an older copy.
    may_pass: bool,
}

impl Place {
    fn of(ground: &Ground, file: &Path, how: &str) -> Self {
        let inner = file.strip_prefix(ground.history()).unwrap_or(Path::new(""));
        let mut parts = inner.iter().map(|part| part.to_string_lossy());
        let workload = parts.find(|part| part.contains('@'));
        let name = name_of(file);
        Self {
            workload: workload.and_then(|w| w.trim_end_matches(".lock").parse().ok()),
            record: name
                .strip_suffix(".json")
                .filter(|name| name.starts_with("deploy-"))
                .map(str::to_owned),
            may_pass: ["-wal", "-shm"].iter().any(|log| name.ends_with(log))
                || (name.ends_with(".db") && how != "changed"),
        }
    }

    /// Whether a record lies in a file that is as it was.
    fn spares(&self, ground: Store, id: &str) -> bool {
        ground == Store::Json && self.record.as_deref() != Some(id)
    }
}

async fn hold_against(
    engine: &RollbackEngine,
    baseline: &Baseline,
    place: &Place,
    reported: bool,
    breaches: &mut Breaches,
) {
    let (listed, unreadable) = served(engine).await;
    for (id, was) in baseline {
        let got = engine.get(&id.parse().unwrap()).await;
        let served = got.as_ref().ok().map(json);
        if served.as_ref() == Some(was) && listed.get(id).map(json).as_ref() == Some(was) {
            continue;
        }
        if place.may_pass {
            continue;
        }
        let store = if place.workload.is_some() {
            Store::Json
        } else {
            Store::Sqlite
        };
        let what = match (&got, listed.contains_key(id)) {
            (Err(e), _) => format!("{id}: {e}"),
            (Ok(_), false) => format!("{id} is not listed"),
            (Ok(_), true) => format!("{id} is not what it was"),
        };
        if place.spares(store, id) {
            breaches.add("a record in a file that is whole is not served", what);
        } else if !reported && unreadable == 0 {
            breaches.add("damage that nobody reports", what);
        }
    }
}
