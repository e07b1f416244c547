//! What several tests need.
#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::deployment::{Opening, Outcome};
use rollback_core::history::{Begun, HistoryReader, HistoryStore, Query, Then};
use rollback_core::id::DeploymentId;
use rollback_json::JsonStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};
use sha2::{Digest as _, Sha256};

/// A file's text with a checksum that fits again: damage that only a malicious hand makes.
pub(crate) fn reseal(text: &str) -> String {
    let body = &text[..text.rfind(",\n  \"checksum\"").unwrap()];
    let sum = base16ct::lower::encode_string(&Sha256::digest(body.as_bytes()));
    format!("{body},\n  \"checksum\": \"sha256:{sum}\"\n}}\n")
}

pub(crate) async fn open(root: &Path) -> JsonStore {
    JsonStore::open(root).await.unwrap()
}

/// Begins at whatever version the workload has.
pub(crate) async fn begin(store: &JsonStore, new: &Opening) -> Begun {
    let version = store.workload(&new.workload).await.unwrap().version;
    store.begin(new, &holder(), version).await.unwrap()
}

/// Begins and succeeds.
pub(crate) async fn settle(store: &JsonStore, new: &Opening) {
    let lease = begin(store, new).await.lease;
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store
        .finish(&lease, &[], &end, at(99), &Then::Release)
        .await;
    done.unwrap();
}

/// So many settled deployments of a workload, oldest first.
pub(crate) async fn settled(store: &JsonStore, workload: &str, count: u64) -> Vec<DeploymentId> {
    let mut ids = Vec::new();
    for n in 0..count {
        let new = sample(workload, 2 * n + 1);
        settle(store, &new).await;
        ids.push(new.id);
    }
    ids
}

/// What a list shows, newest first, and what it says it cannot.
pub(crate) async fn listed(store: &JsonStore) -> (Vec<DeploymentId>, Vec<String>) {
    let page = store.list(&Query::default().limit(1_000)).await.unwrap();
    let ids = page.deployments.iter().map(|d| d.id().clone()).collect();
    (
        ids,
        page.unreadable.iter().map(ToString::to_string).collect(),
    )
}

/// Every file of a directory, in its order.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let (mut left, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The file of a record of `api@web-1`.
pub(crate) fn record(root: &Path, id: &DeploymentId) -> PathBuf {
    let name = format!("{id}.json");
    let of = |p: &PathBuf| p.ends_with(&name) && !p.to_string_lossy().contains("quarantine");
    files(root).into_iter().find(of).unwrap()
}

/// Forgets what lasts for one boot of the machine only, as another boot does.
pub(crate) fn reboot(root: &Path) {
    for file in files(root) {
        let text = file.to_string_lossy().into_owned();
        if text.contains("/index/") || text.ends_with("opening.json") {
            fs::remove_file(file).unwrap();
        }
    }
}
