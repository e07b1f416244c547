//! What a store asks of the system, counted: times differ from machine to machine. For stores in
//! files.
//!
//! A test binary plays both parts: its test of the name `child` calls [`child`], the others
//! [`appends`].

use std::collections::BTreeMap;
use std::path::Path;

use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryStore, Version};
use rustix::process::{PTracer, set_ptracer};

use super::other::{Other, listen, say};
use super::processes::Open;
use super::sample::{at, holder, sample};
use crate::fixtures::strace::Strace;
use crate::service::unavailable;

const ROLE: &str = "ROLLBACK_STORE_COUNTED";

/// How many appends are counted.
pub const APPENDS: usize = 10;

/// What a child process does. Does nothing in a process that is no child.
///
/// To be called from a test that is not async: the child makes a runtime of its own, whose steps
/// all run in one thread.
pub fn child(open: impl Open) {
    let Some(place) = std::env::var_os(ROLE) else {
        return;
    };
    // Some systems let only a parent watch a process. Where there is no such rule this fails.
    let _ = set_ptracer(PTracer::Any);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open.open(Path::new(&place)).await;
        let new = sample("api@web-1", 1);
        let begun = store.begin(&new, &holder(), Version(0)).await.unwrap();
        for n in 0..=APPENDS {
            let decision = format!("a line such as events have, number {n}");
            let event = TimedEvent::new(at(2), Event::TakenOver { decision, by: None });
            store.append(&begun.lease, &[event]).await.unwrap();
            // The first one fills what is remembered.
            if n == 0 {
                say("ready");
                listen();
            }
        }
        // Nothing but the appends is counted.
        std::process::exit(0);
    });
}

/// How many calls of each name [`APPENDS`] appends made on the store's files; `None` without
/// `strace`, which has then been said.
pub fn appends() -> Option<BTreeMap<String, usize>> {
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::spawn(ROLE, dir.path().join("history").as_os_str());
    let strace = match Strace::count(other.id()) {
        Ok(strace) => strace,
        Err(why) => {
            unavailable(&why);
            return None;
        }
    };
    other.go();
    assert!(other.wait().success());
    Some(strace.counted(dir.path()))
}
