//! Histories that were damaged at random: bytes changed, files cut, removed, doubled, put back from
//! earlier, another's put in their place. Nothing panics, no record whose own file is whole is lost,
//! and no other workload is in the way of its work.
//!
//! `ROLLBACK_DAMAGES` says which seeds, as `0..2000`; that of a failure is in its message.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::deployment::{Deployment, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::history::{Abandonment, HistoryReader, HistoryStore, Query, Then, Version};
use rollback_core::id::{Actor, DeploymentId, WorkloadId};
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use support::{begin, files, listed, open, settle, settled};

const WORKLOADS: [&str; 3] = ["api@web-1", "db@web-1", "web@web-1"];

/// splitmix64, by Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// A whole history in memory, by path below its root.
type Tree = BTreeMap<PathBuf, Vec<u8>>;

fn tree(root: &Path) -> Tree {
    let all = files(root).into_iter();
    all.map(|f| {
        (
            f.strip_prefix(root).unwrap().to_owned(),
            fs::read(&f).unwrap(),
        )
    })
    .collect()
}

fn lay(tree: &Tree, root: &Path) {
    for (path, bytes) in tree {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The same history earlier and later, and the later one's records.
struct Base {
    early: Tree,
    late: Tree,
    records: BTreeMap<DeploymentId, Deployment>,
}

async fn base(root: &Path) -> Base {
    let store = open(root).await;
    for workload in WORKLOADS {
        settled(&store, workload, 3).await;
    }
    let held = sample("db@web-1", 40);
    let lease = begin(&store, &held).await.lease;
    store.list(&Query::default()).await.unwrap();
    let early = tree(root);
    for workload in ["api@web-1", "web@web-1"] {
        settle(&store, &sample(workload, 51)).await;
        settle(&store, &sample(workload, 53)).await;
    }
    let end = settlement(&held.id, Outcome::Failed);
    store
        .finish(&lease, &[], &end, at(55), &Then::Release)
        .await
        .unwrap();
    drop(begin(&store, &sample("web@web-1", 57)).await);
    let page = store.list(&Query::default()).await.unwrap();
    let late = tree(root);
    let records = page.deployments.into_iter();
    Base {
        early,
        late,
        records: records.map(|d| (d.id().clone(), d)).collect(),
    }
}

/// Damages a file; says which, and how.
fn damage(random: &mut Random, base: &Base, root: &Path) -> (PathBuf, &'static str) {
    let all: Vec<_> = base.late.keys().collect();
    let which = all[random.below(all.len())].clone();
    let path = root.join(&which);
    let Ok(bytes) = fs::read(&path) else {
        return (which, "was gone before");
    };
    let how = match random.below(6) {
        0 => {
            fs::remove_file(&path).unwrap();
            "removed"
        }
        1 if !bytes.is_empty() => {
            fs::write(&path, &bytes[..random.below(bytes.len())]).unwrap();
            "cut"
        }
        2 if path.extension().is_some() => {
            let mut name = path.file_stem().unwrap().to_owned();
            name.push("-copy.json");
            fs::copy(&path, path.with_file_name(name)).unwrap();
            "doubled"
        }
        3 => match base.early.get(&which) {
            Some(early) => {
                fs::write(&path, early).unwrap();
                "put back from earlier"
            }
            None => {
                fs::remove_file(&path).unwrap();
                "not copied yet"
            }
        },
        4 => {
            let other = &base.late[all[random.below(all.len())]];
            fs::write(&path, other).unwrap();
            "another in its place"
        }
        _ => {
            let mut bytes = bytes;
            for _ in 0..=random.below(3) {
                if !bytes.is_empty() {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            fs::write(&path, bytes).unwrap();
            "bytes changed"
        }
    };
    (which, how)
}

/// Reads in every way that there is.
async fn read(store: &JsonStore) {
    let _ = store.workloads().await;
    let _ = store.verify().await;
    let _ = store.stats(&Query::default()).await;
    let _ = store.find("deploy", 100).await;
    let _ = store.identity().await;
    for workload in WORKLOADS {
        let _ = store
            .summaries(&workload.parse().unwrap(), usize::MAX)
            .await;
    }
}

/// Whether the records whose own files are as they were are all shown as they were.
async fn whole(store: &JsonStore, base: &Base, root: &Path, what: &str) {
    let (shown, _) = listed(store).await;
    for (path, bytes) in &base.late {
        let Some(id) = path.file_stem().and_then(|s| s.to_str()?.parse().ok()) else {
            continue;
        };
        let Some(record) = base.records.get(&id) else {
            continue;
        };
        if fs::read(root.join(path)).is_ok_and(|now| now == *bytes) {
            let got = store.get(&id).await;
            let got = got.unwrap_or_else(|e| panic!("{what}: {id} is lost: {e}"));
            assert_eq!(got.as_ref(), Some(record), "{what}: {id} is lost");
            assert!(shown.contains(&id), "{what}: {id} is not listed");
        }
    }
}

/// Goes on with a workload, whose files may be damaged: gives up what cannot be gone on with.
async fn go_on(store: &JsonStore, workload: &WorkloadId, n: u64) -> Result<DeploymentId, Kind> {
    let by = Actor::user("ann").unwrap();
    let (at_50, why) = (at(50), "damaged".parse().unwrap());
    let abandonment = Abandonment::new(by, at_50, why);
    let state = store.workload(workload).await;
    if state.as_ref().map_or(true, |s| s.in_flight.is_some()) {
        match store.abandon(workload, &abandonment).await {
            Err(e) if e.kind() != Kind::NotFound => return Err(e.kind()),
            _ => {}
        }
    }
    let version = store
        .workload(workload)
        .await
        .map_or(Version(0), |s| s.version);
    let new = sample(&workload.to_string(), n);
    let begun = store.begin(&new, &holder(), version).await;
    let lease = begun.map_err(|e| e.kind())?.lease;
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store
        .finish(&lease, &[], &end, at(n + 1), &Then::Release)
        .await;
    done.map_err(|e| e.kind())?;
    Ok(new.id)
}

#[tokio::test]
async fn damage_anywhere_panics_nothing_loses_no_whole_record_and_stays_in_its_workload() {
    let seeds = std::env::var("ROLLBACK_DAMAGES").unwrap_or("0..150".into());
    let (from, to) = seeds.split_once("..").unwrap();
    let seeds: std::ops::Range<u64> = from.parse().unwrap()..to.parse().unwrap();
    let rounds = seeds.clone().count();
    let in_memory = tempfile::tempdir_in("/dev/shm");
    let dir = in_memory.or_else(|_| tempfile::tempdir()).unwrap();
    let base = base(&dir.path().join("base")).await;
    let mut went_on = 0;
    for seed in seeds {
        if seed % 50 == 0 {
            eprintln!("from seed {seed} on");
        }
        let root = dir.path().join("damaged");
        lay(&base.late, &root);
        let mut random = Random(seed);
        let mut damaged = Vec::new();
        for _ in 0..=random.below(3) {
            damaged.push(damage(&mut random, &base, &root));
        }
        let what = format!("seed {seed}: {damaged:?}");
        let marker = damaged
            .iter()
            .any(|(path, _)| path.ends_with("format.json"));
        let Ok(store) = JsonStore::open(&root).await else {
            assert!(marker, "{what}: it cannot be opened");
            fs::remove_dir_all(&root).unwrap();
            continue;
        };
        read(&store).await;
        whole(&store, &base, &root, &what).await;
        let mut new = Vec::new();
        for (n, workload) in (0..).zip(WORKLOADS) {
            let untouched = damaged.iter().all(|(path, _)| {
                !path.starts_with(format!("workloads/{workload}")) && !path.ends_with("format.json")
            });
            let before = store.verify().await;
            match go_on(&store, &workload.parse().unwrap(), 70 + 3 * n).await {
                Ok(id) => new.push(id),
                Err(kind) => assert!(
                    !untouched,
                    "{what}: {workload} cannot go on: {kind:?}, {before:?}"
                ),
            }
        }
        went_on += new.len();
        let store = open(&root).await;
        whole_but_abandoned(&store, &base, &root, &what).await;
        let numbers = numbers(&store).await;
        for id in &new {
            let got = store.get(id).await.unwrap().unwrap();
            assert_eq!(
                numbers[&got.sequence()],
                1,
                "{what}: {id} has another's number"
            );
        }
        read(&store).await;
        fs::remove_dir_all(&root).unwrap();
    }
    let all = 3 * rounds;
    eprintln!("{rounds} damages; {went_on} of {all} workloads could go on");
    assert!(went_on * 100 > all * 97, "{went_on} of {all}");
}

/// The same once what was in flight has been given up: every record is there, and says no less.
async fn whole_but_abandoned(store: &JsonStore, base: &Base, root: &Path, what: &str) {
    for (path, bytes) in &base.late {
        let Some(id) = path.file_stem().and_then(|s| s.to_str()?.parse().ok()) else {
            continue;
        };
        let Some(record) = base.records.get(&id) else {
            continue;
        };
        let Ok(now) = fs::read(root.join(path)) else {
            continue;
        };
        if now == *bytes || record.outcome().is_none() {
            let got = store.get(&id).await;
            let Ok(Some(got)) = got else {
                assert_ne!(now, *bytes, "{what}: {id} is lost");
                continue;
            };
            assert!(got.events().starts_with(record.events()), "{what}: {id}");
        }
    }
}

async fn numbers(store: &JsonStore) -> BTreeMap<rollback_core::history::Sequence, usize> {
    let mut numbers = BTreeMap::new();
    let page = store.list(&Query::default().limit(1_000)).await.unwrap();
    for d in page.deployments {
        *numbers.entry(d.sequence()).or_default() += 1;
    }
    numbers
}
