//! Others at the same history: newer and older programs, root, a copy, a moved directory, and what
//! a killed process has left.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Stdio;

use rollback_core::deployment::{Asked, LiveRecord, Opening, Outcome};
use rollback_core::error::StoreErrorKind as Kind;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{
    Amend, Annotation, HistoryReader, HistoryStore, Liveness, Query, Sequence, Then,
};
use rollback_core::request::{Reapply, Wish};
use rollback_json::JsonStore;
use rollback_testkit::fixtures::strace::Strace;
use rollback_testkit::service::unavailable;
use rollback_testkit::store_suite::{amend, at, by_ann, holder, sample, settlement};
use support::{begin, files, listed, open, record, reseal, settle, settled};

/// Fields of a version that is to come.
fn with_later_fields(text: &str) -> String {
    let text = text.replacen("{\n", "{\n  \"later\": {\"x\": [1, 2.5, null]},\n", 1);
    let text = text.replacen(
        "\"policy\": {\n",
        "\"policy\": {\n    \"canary\": true,\n",
        1,
    );
    let text = text.replacen(
        "\"annotations\": {\n",
        "\"annotations\": {\n    \"stars\": 5,\n",
        1,
    );
    // `format` stays the first.
    let text = text.replacen(
        "  \"later\": {\"x\": [1, 2.5, null]},\n  \"format\": 2,\n",
        "  \"format\": 2,\n  \"later\": {\"x\": [1, 2.5, null]},\n",
        1,
    );
    reseal(&text)
}

#[tokio::test]
async fn an_older_program_dropped_the_fields_of_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let store = open(root).await;
    settled(&store, "api@web-1", 1).await;
    let new = sample("api@web-1", 11);
    let lease = begin(&store, &new).await.lease;
    let append = async |n, event| {
        let event = TimedEvent::new(at(n), event);
        store.append(&lease, &[event]).await.unwrap();
    };
    append(12, Event::PrepareIntended).await;
    let state = root.join("workloads/api@web-1/state.json");
    let file = record(root, &new.id);
    for path in [&state, &file] {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, with_later_fields(&text)).unwrap();
    }
    let decision = "goes on".to_owned();
    append(
        13,
        Event::TakenOver {
            decision: decision.clone(),
            by: None,
        },
    )
    .await;
    append(14, Event::TakenOver { decision, by: None }).await;
    let end = settlement(&new.id, Outcome::Succeeded);
    store
        .finish(&lease, &[], &end, at(15), &Then::Release)
        .await
        .unwrap();
    store.annotate(&new.id, &Annotation::Pin).await.unwrap();
    amend(
        &store,
        &new.workload,
        &by_ann(
            Amend::Hold {
                why: "freeze".parse().unwrap(),
            },
            16,
        ),
    )
    .await
    .unwrap();
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let later = serde_json::json!({"x": [1, 2.5, null]});
    assert_eq!(read(&state)["later"], later);
    let record = read(&file);
    assert_eq!(record["later"], later);
    assert_eq!(record["policy"]["canary"], true);
    assert_eq!(record["annotations"]["stars"], 5);
    assert_eq!(record["annotations"]["pinned"], true);
    assert_eq!(record["outcome"], "succeeded");
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .starts_with("{\n  \"format\": 2,\n  \"outcome\"")
    );
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_history_of_format_1_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    copy(Path::new("tests/fixtures/v1"), &root);
    let store = open(&root).await;
    let (shown, unreadable) = listed(&store).await;
    assert_eq!((shown.len(), unreadable.len()), (5, 0));
    assert_eq!(store.verify().await.unwrap(), []);
    let states = store.workloads().await.unwrap();
    assert_eq!((states.states.len(), states.damaged.len()), (2, 0));
    let [api, db] = &*states.states else { panic!() };
    assert_eq!(api.hold.as_ref().unwrap().why.to_string(), "freeze");
    assert!(api.policy.as_ref().unwrap().set.is_some());
    let LiveRecord::Known(live) = &api.live else {
        panic!("{:?}", api.live)
    };
    let live = store.get(live).await.unwrap().unwrap();
    assert!(live.annotations().pinned && live.annotations().notes.len() == 1);
    let mut query = Query::default();
    query.outcome = Some(Outcome::FailedAndRolledBack);
    assert_eq!(store.list(&query).await.unwrap().deployments.len(), 1);
    let in_flight = db.in_flight.as_ref().unwrap();
    assert_eq!(in_flight.liveness, Liveness::Dead);
    let identity = store.identity().await.unwrap();
    // It is carried on in this format, and no number comes twice.
    let lease = store.take_over(&db.workload, &holder()).await.unwrap();
    let end = settlement(lease.deployment(), Outcome::Failed);
    store
        .finish(&lease, &[], &end, at(40), &Then::Release)
        .await
        .unwrap();
    let new = sample("api@web-1", 41);
    settle(&store, &new).await;
    assert_eq!(
        store.get(&new.id).await.unwrap().unwrap().sequence(),
        Sequence(6)
    );
    let store = open(&root).await;
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(store.identity().await.unwrap(), identity);
    assert!(
        fs::read_to_string(root.join("format.json"))
            .unwrap()
            .contains("\"format\": 2")
    );
}

/// Whether every sealed file's checksum holds by the rules of format 2, which this test keeps for
/// itself: a program of that format still believes what today's has written.
fn seals_hold(dir: &Path) -> usize {
    use sha2::{Digest, Sha256};
    let mut checked = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            checked += seals_hold(&path);
            continue;
        }
        let text = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&text);
        if let Some((body, seal)) = text.rsplit_once(",\n  \"checksum\": \"sha256:") {
            let sum = Sha256::digest(body.as_bytes());
            let sum: String = sum.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(seal, format!("{sum}\"\n}}\n"), "{}", path.display());
            checked += 1;
        }
    }
    checked
}

#[tokio::test]
async fn a_history_of_format_2_is_read_written_on_and_sealed_by_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    copy(Path::new("tests/fixtures/v2"), &root);
    let before = seals_hold(&root);
    let store = open(&root).await;
    let (shown, unreadable) = listed(&store).await;
    assert_eq!((shown.len(), unreadable.len()), (9, 0));
    assert_eq!(store.verify().await.unwrap(), []);
    let of = "cache@web-3".parse().unwrap();
    let cache = store.workload(&of).await.unwrap();
    assert_eq!(cache.hold.as_ref().unwrap().why.to_string(), "freeze");
    assert_eq!((cache.version.0, cache.amendments.len()), (8, 2));
    let recall = Amend::Recall {
        artifact: "sha256:0".into(),
        why: "it leaks".parse().unwrap(),
    };
    let amended = store.amend(&of, cache.version, &by_ann(recall, 201)).await;
    amended.unwrap();
    let queue = "queue@web-3".parse().unwrap();
    let lease = store.take_over(&queue, &holder()).await.unwrap();
    let end = settlement(lease.deployment(), Outcome::Interrupted);
    store
        .finish(&lease, &[], &end, at(200), &Then::Release)
        .await
        .unwrap();
    let new = sample("queue@web-3", 210);
    settle(&store, &new).await;
    drop(store);
    let store = open(&root).await;
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(store.workload(&of).await.unwrap().recalls.len(), 1);
    assert!(seals_hold(&root) > before);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn one_run_as_root_locked_the_service_out() {
    let dir = tempfile::tempdir().unwrap();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root makes files for others");
        return;
    }
    chown(dir.path(), Some(12_345), Some(23_456)).unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let ids = settled(&store, "api@web-1", 3).await;
    settled(&store, "db@web-1", 1).await;
    store.forget(&ids[..1]).await.unwrap();
    listed(&store).await;
    store.advance(Sequence(99)).await.unwrap();
    for file in files(&root) {
        let meta = fs::metadata(&file).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid()),
            (12_345, 23_456),
            "{}",
            file.display()
        );
    }
}

#[tokio::test]
async fn a_backup_that_was_put_back_was_taken_for_the_history_itself() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("history");
    let store = open(&root).await;
    let mut ids = settled(&store, "api@web-1", 3).await;
    let held = sample("db@web-1", 50);
    let lease = begin(&store, &held).await.lease;
    let backup = dir.path().join("copies/backup");
    store.backup(&backup).await.unwrap();
    let error = store.backup(&backup).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unusable, "{error}");
    ids.push(held.id.clone());
    let identity = store.identity().await.unwrap();
    let late = sample("api@web-1", 60);
    settle(&store, &late).await;
    let error = JsonStore::restore(&backup, &root).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unusable, "{error}");
    fs::rename(&root, dir.path().join("away")).unwrap();
    let restored = JsonStore::restore(&backup, &root).await.unwrap();
    let again = restored.identity().await.unwrap();
    assert_eq!(again.history, identity.history);
    assert_ne!(again.incarnation, identity.incarnation);
    let (mut shown, unreadable) = listed(&restored).await;
    shown.reverse();
    assert_eq!((shown, unreadable.len()), (ids, 0));
    assert_eq!(restored.verify().await.unwrap(), []);
    // Who has the former directory open writes nothing here.
    let event = TimedEvent::new(at(61), Event::PrepareIntended);
    let error = store.append(&lease, &[event]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unusable, "{error}");
    assert!(
        restored
            .get(&held.id)
            .await
            .unwrap()
            .unwrap()
            .events()
            .is_empty()
    );
    // Numbers go on after what is known to be published.
    restored.advance(Sequence(70)).await.unwrap();
    let new = sample("api@web-1", 70);
    settle(&restored, &new).await;
    assert_eq!(
        restored.get(&new.id).await.unwrap().unwrap().sequence(),
        Sequence(71)
    );
    // Moved within its file system it is the same; copied by hand it is another incarnation.
    let moved = dir.path().join("moved");
    fs::rename(&root, &moved).unwrap();
    let store = open(&moved).await;
    assert_eq!(store.identity().await.unwrap(), again);
    copy(&moved, &root);
    let copied = open(&root).await.identity().await.unwrap();
    assert_eq!(copied.history, identity.history);
    assert_ne!(copied.incarnation, again.incarnation);
}

#[tokio::test]
async fn find_takes_the_beginning_of_an_id_or_of_its_random_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut ids = settled(&store, "api@web-1", 40).await;
    ids.extend(settled(&store, "db@web-1", 40).await);
    let flying = sample("web@web-1", 1);
    let lease = begin(&store, &flying).await;
    ids.push(flying.id.clone());
    ids.reverse();
    for store in [open(dir.path()).await, store] {
        for text in ["deploy-", "deploy-2023", ids[5].as_str(), "x", ""] {
            for limit in [0, 3, 200] {
                let mut all: Vec<_> = ids.iter().filter(|id| id.begins(text)).collect();
                all.truncate(limit);
                let found = store.find(text, limit).await.unwrap();
                assert_eq!(found.iter().collect::<Vec<_>>(), all, "{text} {limit}");
            }
        }
        for id in &ids {
            let found = store.find(&id.random()[..8], 2).await.unwrap();
            assert_eq!(found, std::slice::from_ref(id));
        }
    }
    drop(lease);
}

#[test]
fn child() {
    let Ok(root) = std::env::var("ROLLBACK_JSON_WRITES") else {
        return;
    };
    // One thread for all steps, so that each time the same calls are counted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&root)).await;
        let page = store.list(&Query::default()).await.unwrap();
        println!("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let id = page.deployments[0].id();
        store.annotate(id, &Annotation::Pin).await.unwrap();
    });
}

/// A process that annotates a record once it is told to.
fn writer(root: &Path) -> std::process::Child {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env("ROLLBACK_JSON_WRITES", root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    child
}

fn temporaries(root: &Path) -> usize {
    let files = files(root);
    let new = files
        .iter()
        .filter(|f| f.to_string_lossy().contains("/.new-"));
    new.count()
}

#[tokio::test]
async fn a_temporary_of_a_killed_process_stayed_while_the_one_that_came_next_lived() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let store = open(root).await;
    let ids = settled(&store, "api@web-1", 4).await;
    let mut whole = writer(root);
    let strace = match Strace::watch(whole.id()) {
        Ok(strace) => strace,
        Err(why) => {
            drop(whole.stdin.take());
            whole.wait().unwrap();
            return unavailable(&why);
        }
    };
    whole.stdin.take().unwrap().write_all(b"go\n").unwrap();
    whole.wait().unwrap();
    let calls = strace.calls(root);
    let rename = calls.iter().find(|call| call.publishes()).unwrap();
    let mut killed = writer(root);
    let strace = Strace::kill_at(killed.id(), rename).unwrap();
    killed.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(!killed.wait().unwrap().success());
    drop(strace);
    assert_eq!(temporaries(root), 1, "the kill has left nothing");
    store.annotate(&ids[0], &Annotation::Unpin).await.unwrap();
    assert_eq!(temporaries(root), 0);
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn an_older_program_would_have_rolled_back_to_what_was_recalled() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let new = sample("api@web-1", 1);
    settle(&store, &new).await;
    let state = dir.path().join("workloads/api@web-1/state.json");
    let begins = |format: u32| {
        let text = fs::read_to_string(&state).unwrap();
        text.starts_with(&format!("{{\n  \"format\": {format},"))
    };
    assert!(begins(2));
    let of = &new.workload;
    let recall = Amend::Recall {
        artifact: "sha256:0".into(),
        why: "it leaks".parse().unwrap(),
    };
    amend(&store, of, &by_ann(recall, 7)).await.unwrap();
    // What knows only format 2 is told to be updated, and changes nothing.
    assert!(begins(3));
    settle(&store, &sample("api@web-1", 20)).await;
    assert!(begins(3));
    let store = open(dir.path()).await;
    assert_eq!(store.workload(of).await.unwrap().recalls.len(), 1);
    assert_eq!(store.verify().await.unwrap(), []);
}

/// One that was asked for under a key.
fn keyed(n: u64) -> Opening {
    let mut new = sample("api@web-1", n);
    let wish = Wish::Deploy {
        reference: "v1".into(),
    };
    let key = "job/1".parse().unwrap();
    new.asked = Some(Asked::new(key, &wish, None, Reapply::No));
    new
}

fn damage(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replace("because", "becausf")).unwrap();
}

#[tokio::test]
async fn a_key_was_free_while_its_record_could_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let new = keyed(1);
    settle(&store, &new).await;
    settle(&store, &sample("api@web-1", 20)).await;
    damage(&record(dir.path(), &new.id));
    let (key, other) = (&new.asked.as_ref().unwrap().key, "job/2".parse().unwrap());
    let store = open(dir.path()).await;
    // Another key is another's.
    assert_eq!(store.keyed(&new.workload, &other).await.unwrap(), None);
    for is_made_anew in [false, true] {
        if is_made_anew {
            // As after a reboot. Then nobody knows whose key the record has.
            fs::remove_dir_all(dir.path().join("workloads/api@web-1/index")).unwrap();
        }
        let store = open(dir.path()).await;
        let e = store.keyed(&new.workload, key).await.unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        assert!(e.advised().is_some());
        let version = store.workload(&new.workload).await.unwrap().version;
        let again = store.begin(&keyed(30), &holder(), version).await;
        assert_eq!(again.unwrap_err().kind(), Kind::Corrupt);
    }
    let store = open(dir.path()).await;
    store.forget(std::slice::from_ref(&new.id)).await.unwrap();
    assert_eq!(store.keyed(&new.workload, key).await.unwrap(), None);
}
