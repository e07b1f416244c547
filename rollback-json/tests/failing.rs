//! The disk fails, or is full, at every call that changes a file: what was acknowledged is there,
//! nothing is half done, and it is gone on with.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rollback_core::deployment::Outcome;
use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Amend, Annotation, HistoryReader, HistoryStore, Query, Then};
use rollback_core::id::DeploymentId;
use rollback_json::JsonStore;
use rollback_testkit::fixtures::strace::{Call, Strace, not_durable};
use rollback_testkit::service::unavailable;
use rollback_testkit::store_suite::{amend, at, by_ann, holder, sample, settlement};
use support::{open, settle, settled};

const PLACE: &str = "ROLLBACK_JSON_FAILS";
const INSISTS: &str = "ROLLBACK_JSON_INSISTS";

/// Not a test by itself: what a child process does. It says what was acknowledged.
#[test]
fn child() {
    let Ok(root) = std::env::var(PLACE) else {
        return;
    };
    // All steps run in one thread, so that `strace` counts each time alike; and the runtime waits
    // for nothing by a call that could fail in place of one on the history.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        say("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        match JsonStore::open(&root).await {
            Ok(store) if std::env::var_os(INSISTS).is_some() => insist(&store).await,
            Ok(store) => work(&store).await,
            Err(e) => told(&e),
        }
        say("over");
    });
}

/// Says something to the parent, by a call that no history is written with, so that it does not
/// fail in its place.
fn say(text: &str) {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    let mut parent = UnixStream::from(stdout);
    parent.write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// An error that a failing or full disk gives, and no other, says so.
fn told(e: &StoreError) {
    assert!([Kind::Io, Kind::Full].contains(&e.kind()), "{e}");
    assert!(!format!("{e}").contains("Error {"), "{e}");
}

/// Appends, and once more if that fails.
async fn insist(store: &JsonStore) {
    let new = sample("api@web-1", 71);
    let version = store.workload(&new.workload).await.unwrap().version;
    let begun = match store.begin(&new, &holder(), version).await {
        Ok(begun) => begun,
        Err(e) => return told(&e),
    };
    // Another commit in between: what is mended after a failure goes by the last one.
    let why = "freeze".parse().unwrap();
    if let Err(e) = amend(store, &new.workload, &by_ann(Amend::Hold { why }, 60)).await {
        return told(&e);
    }
    let event = TimedEvent::new(at(72), Event::PrepareIntended);
    if let Err(e) = store
        .append(&begun.lease, std::slice::from_ref(&event))
        .await
    {
        told(&e);
        store.append(&begun.lease, &[event]).await.unwrap();
        say("appended -");
    }
    // As if killed: nothing else comes after it.
    std::process::exit(0);
}

async fn work(store: &JsonStore) {
    let page = store.list(&Query::default()).await.unwrap();
    let old: Vec<_> = page.deployments.iter().map(|d| d.id().clone()).collect();
    match store.annotate(&old[0], &Annotation::Pin).await {
        Ok(()) => say(&format!("pinned {}", old[0])),
        Err(e) => told(&e),
    }
    let why = "freeze".parse().unwrap();
    let workload = page.deployments[0].workload();
    match amend(store, workload, &by_ann(Amend::Hold { why }, 60)).await {
        Ok(_) => say("held -"),
        Err(e) => told(&e),
    }
    match store.forget(&old[2..]).await {
        Ok(n) => {
            assert_eq!(n, 1);
            say(&format!("forgotten {}", old[2]));
        }
        Err(e) => told(&e),
    }
    for n in [71, 75] {
        let new = sample("api@web-1", n);
        let version = store.workload(&new.workload).await.unwrap().version;
        let lease = match store.begin(&new, &holder(), version).await {
            Ok(begun) => begun.lease,
            Err(e) if e.kind() == Kind::Conflict => continue,
            Err(e) => {
                told(&e);
                continue;
            }
        };
        say(&format!("begun {}", new.id));
        let event = TimedEvent::new(at(n + 1), Event::PrepareIntended);
        if let Err(e) = store.append(&lease, &[event]).await {
            told(&e);
            continue;
        }
        say(&format!("appended {}", new.id));
        let end = settlement(&new.id, Outcome::Succeeded);
        match store
            .finish(&lease, &[], &end, at(n + 2), &Then::Release)
            .await
        {
            Ok(_) => say(&format!("settled {}", new.id)),
            Err(e) => told(&e),
        }
    }
}

struct Playing {
    child: Child,
    said: BufReader<UnixStream>,
}

impl Playing {
    fn at(root: &Path) -> Self {
        Self::of(Command::new(std::env::current_exe().unwrap()).env(PLACE, root))
    }

    fn insisting(root: &Path) -> Self {
        let mut program = Command::new(std::env::current_exe().unwrap());
        Self::of(program.env(PLACE, root).env(INSISTS, "yes"))
    }

    fn of(program: &mut Command) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = program
            .args(["child", "--exact", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let said = BufReader::new(ours);
        let mut playing = Self { child, said };
        while !playing.hear().contains("ready") {}
        playing
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.said.read_line(&mut line).unwrap() > 0, "it died");
        line.trim().to_owned()
    }

    /// Lets one that insists go; whether it had to.
    fn insists(&mut self) -> bool {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success());
        said.contains("appended -")
    }

    /// Lets it go; gives what it says was done.
    fn go(&mut self) -> Vec<(String, String)> {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.write_all(b"go\n").unwrap();
        let mut said = Vec::new();
        loop {
            let line = self.hear();
            if line == "over" {
                break;
            }
            // What the test harness says is not for us.
            let Some((what, id)) = line.split_once(' ') else {
                continue;
            };
            said.push((what.to_owned(), id.to_owned()));
        }
        self.child.wait().unwrap();
        said
    }
}

#[tokio::test]
async fn an_append_that_was_repeated_left_its_name_to_the_next_power_cut() {
    let dir = place().await;
    let mut child = Playing::insisting(&dir.path().join("history"));
    let strace = match Strace::watch(child.child.id()) {
        Ok(strace) => strace,
        Err(why) => {
            child.insists();
            return unavailable(&why);
        }
    };
    assert!(!child.insists());
    let calls = strace.calls(dir.path());
    let mut repeated = 0;
    for call in calls.iter().rev().filter(|call| call.is_sync()).take(4) {
        let dir = place().await;
        let mut child = Playing::insisting(&dir.path().join("history"));
        let strace = Strace::fail_at(child.child.id(), call).unwrap();
        if !child.insists() {
            continue;
        }
        repeated += 1;
        let calls = strace.calls(dir.path());
        let left = not_durable(&calls).into_iter();
        let left: Vec<_> = left
            .filter(|n| n.to_string_lossy().contains("/records/"))
            .collect();
        assert!(left.is_empty(), "{call}: {left:?}");
    }
    assert!(repeated > 0, "no sync that fails is told of by the append");
}

async fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.unwrap();
    let store = open(&dir.path().join("history")).await;
    settled(&store, "api@web-1", 3).await;
    dir
}

#[tokio::test]
async fn a_failing_or_full_disk_loses_nothing_that_was_acknowledged() {
    let dir = place().await;
    let mut child = Playing::at(&dir.path().join("history"));
    let strace = match Strace::watch(child.child.id()) {
        Ok(strace) => strace,
        Err(why) => {
            child.go();
            return unavailable(&why);
        }
    };
    assert_eq!(child.go().len(), 9);
    let calls = strace.calls(dir.path());
    let mut told = 0;
    for error in ["EIO", "ENOSPC"] {
        for call in &calls {
            told += usize::from(fail(error, call).await);
        }
    }
    eprintln!("{} failures, {told} of them told", 2 * calls.len());
    assert!(calls.len() > 100 && told > 50, "{} {told}", calls.len());
}

/// Whether the failure was told, rather than done without.
async fn fail(error: &str, call: &Call) -> bool {
    let dir = place().await;
    let root = dir.path().join("history");
    let context = format!("{error} at {call}");
    let before: BTreeSet<_> = support::listed(&open(&root).await)
        .await
        .0
        .into_iter()
        .collect();
    let mut child = Playing::at(&root);
    let strace = Strace::fail_with(child.child.id(), call, error).unwrap();
    let said = child.go();
    drop(strace);
    let store = open(&root).await;
    assert_eq!(store.verify().await.unwrap(), [], "{context}");
    let (shown, unreadable) = support::listed(&store).await;
    assert_eq!(unreadable, [] as [String; 0], "{context}");
    let mut lost = before.iter().filter(|id| !shown.contains(id));
    assert!(lost.clone().count() <= 1, "{context}");
    for (what, id) in &said {
        if what == "held" {
            let state = store.workload(&"api@web-1".parse().unwrap()).await.unwrap();
            assert!(state.hold.is_some(), "{context}");
            continue;
        }
        let id: DeploymentId = id.parse().unwrap();
        let record = store.get(&id).await.unwrap();
        let is_so = match (&**what, &record) {
            ("forgotten", None) => lost.any(|l| *l == id),
            ("pinned", Some(d)) => d.annotations().pinned,
            ("begun", Some(_)) => true,
            ("appended", Some(d)) => !d.events().is_empty(),
            ("settled", Some(d)) => d.outcome() == Some(Outcome::Succeeded),
            _ => false,
        };
        assert!(is_so, "{context}: {what} {id}, and it is {record:?}");
    }
    // It is gone on with.
    let state = store.workload(&"api@web-1".parse().unwrap()).await.unwrap();
    if state.in_flight.is_some() {
        let lease = store.take_over(&state.workload, &holder()).await.unwrap();
        let end = settlement(lease.deployment(), Outcome::Failed);
        let done = store
            .finish(&lease, &[], &end, at(90), &Then::Release)
            .await;
        done.unwrap_or_else(|e| panic!("{context}: {e}"));
    }
    settle(&store, &sample("api@web-1", 95)).await;
    assert_eq!(store.verify().await.unwrap(), [], "{context}");
    let left = support::files(&root);
    let left = left.iter().find(|f| f.to_string_lossy().contains("/.new-"));
    assert_eq!(left, None, "{context}");
    said.len() < 9
}
