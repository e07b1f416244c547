//! A kill at every system call of a verb that changes a file. For stores in files.
//!
//! A test binary plays both parts. The parent calls [`sweep`]; the child is the same binary,
//! started again for its test of the name `child`, which calls [`child`]. The parent lets `strace`
//! kill the child before each such call in turn, opens what is left, and looks.

mod place;
mod seen;
mod verb;

use std::path::Path;

use rollback_core::deployment::Outcome;
use rollback_core::history::{HistoryReader, HistoryStore, Then};
use rustix::process::{PTracer, set_ptracer};

pub use verb::Verb;

use super::other::{Other, listen, say};
use super::processes::Open;
use super::sample::{at, begin, holder, sample, settle, settlement, workload};
use crate::fixtures::strace::{Call, Strace, not_durable};
use crate::service::unavailable;
use place::Place;
use seen::Seen;
use verb::API;

/// What the child does and where: `<verb>:<path>`.
const ROLE: &str = "ROLLBACK_STORE_KILL";
const ACT: &str = "act";
const INSIST: &str = "insist";
const END: &str = "end";

/// What a child process does: the verb that it is told. Does nothing in a process that is no
/// child.
///
/// To be called from a test of the name `child`, which is not async: the child makes a runtime
/// of its own, whose steps all run in one thread, so that `strace` counts each time alike.
pub fn child(open: impl Open) {
    let Ok(told) = std::env::var(ROLE) else {
        return;
    };
    let (verb, place) = told.split_once(':').unwrap();
    let (verb, place) = (Verb::named(verb), Path::new(place));
    // Some systems let only a parent watch a process. Where there is no such rule this fails.
    let _ = set_ptracer(PTracer::Any);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let ready = verb.set_up(open, place).await;
        say("ready");
        match listen().as_str() {
            ACT => verb.act(open, place, ready).await.unwrap(),
            INSIST => verb.insist(ready).await.unwrap(),
            _ => return,
        }
        say("done");
    });
}

/// What a store knows of its files.
pub trait Files {
    /// Panics if they are not as if nobody had been killed.
    fn tidy(&self, place: &Path);

    /// Whether a power cut may take back what happened to this name, given from the directory
    /// around the history on: a cache, a lock.
    fn may_be_lost(&self, name: &Path) -> bool;
}

/// Kills a child at every call of this verb that changes a file. After each kill a store that is
/// opened anew shows the whole verb or none of it, and all that was there before; it verifies
/// without a fault, and the verb can be done again. Then some more is written, and the files are
/// as if nobody had been killed. A verb that is acknowledged is durable.
///
/// Returns how many kills there were; `None` without `strace`, which has then been said.
pub async fn sweep(open: impl Open, verb: Verb, files: &dyn Files) -> Option<usize> {
    let base = Place::new();
    verb.base(open, &base.path()).await;
    let sweep = Sweep::new(open, verb, base, &[], files).await?;
    for call in &sweep.calls {
        sweep.kill(call).await;
    }
    Some(sweep.calls.len())
}

/// Kills twice: a child that does this verb, each time that it is about to rename, remove or
/// sync a file, and then another one, each time that it is about to after that.
pub async fn sweep_twice(open: impl Open, verb: Verb, files: &dyn Files) -> Option<usize> {
    let base = Place::new();
    verb.base(open, &base.path()).await;
    let first = Sweep::new(open, verb, base, &[], files).await?;
    let mut kills = 0;
    for (i, call) in first.calls.iter().enumerate() {
        if !call.is_seen() {
            continue;
        }
        let left = first.base.copy();
        first.die(&left.path(), call);
        // Looked at in a copy, so that the next one finds the files as they were left.
        let copy = left.copy();
        let looked_at = open.open(&copy.path()).await;
        // Who was killed before its commit has left nothing that counts, but for directories.
        let done = Seen::of(&*looked_at).await == first.after;
        let mut past = first.calls[..i].to_vec();
        past.retain(|c| done || !c.publishes());
        let next = match looked_at.workload(&workload(API)).await.unwrap().in_flight {
            Some(_) => Verb::SetHold,
            // It opens under watch, too.
            None if verb == Verb::First => Verb::First,
            None => Verb::Begin,
        };
        let second = Sweep::new(open, next, left, &past, files).await?;
        for call in second.calls.iter().filter(|c| c.is_seen()) {
            second.kill(call).await;
            kills += 1;
        }
    }
    Some(kills)
}

/// Lets each sync of this verb fail in turn, in a child that does the verb again while it fails.
/// Once it is acknowledged it is done, done once, and durable.
///
/// Returns how many syncs there were; `None` without `strace`, which has then been said.
pub async fn sweep_failing(open: impl Open, verb: Verb, files: &dyn Files) -> Option<usize> {
    let base = Place::new();
    verb.base(open, &base.path()).await;
    let sweep = Sweep::new(open, verb, base, &[], files).await?;
    let syncs = sweep.calls.iter().filter(|call| call.is_sync());
    let mut failed = 0;
    for call in syncs {
        sweep.fail(call).await;
        failed += 1;
    }
    Some(failed)
}

/// One verb from one base.
struct Sweep<'a, O> {
    open: O,
    verb: Verb,
    base: Place,
    before: Seen,
    after: Seen,
    calls: Vec<Call>,
    files: &'a dyn Files,
}

impl<'a, O: Open> Sweep<'a, O> {
    /// Does the verb unharmed, and sees its calls and its effect. `past` are calls of one who
    /// was killed before, on whose effect it builds.
    async fn new(
        open: O,
        verb: Verb,
        base: Place,
        past: &[Call],
        files: &'a dyn Files,
    ) -> Option<Self> {
        let place = base.copy();
        let mut child = spawn(verb, &place.path());
        child.tell(END);
        child.wait();
        let before = Seen::of(&*open.open(&place.path()).await).await;

        let place = base.copy();
        let mut child = spawn(verb, &place.path());
        let strace = match Strace::watch(child.id()) {
            Ok(strace) => strace,
            Err(why) => {
                unavailable(&why);
                return None;
            }
        };
        child.tell(ACT);
        assert_eq!(child.hear().as_deref(), Some("done"), "{verb:?}");
        child.wait();
        let calls = strace.calls(&place.dir());
        assert!(!calls.is_empty(), "{verb:?} changes no file");
        let all = [past, &calls].concat();
        let mut lost = not_durable(&all);
        lost.retain(|name| !files.may_be_lost(name));
        assert_eq!(lost, [] as [&Path; 0], "{verb:?} is not durable");
        let after = Seen::of(&*open.open(&place.path()).await).await;
        // What was asked of a holder is for its own eyes.
        assert_eq!(before == after, verb == Verb::RequestCancel);
        Some(Self {
            open,
            verb,
            base,
            before,
            after,
            calls,
            files,
        })
    }

    /// Ends a child before a call; says whether the verb was acknowledged by then.
    fn die(&self, place: &Path, call: &Call) -> bool {
        let mut child = spawn(self.verb, place);
        let strace = Strace::kill_at(child.id(), call).unwrap();
        child.tell(ACT);
        let done = child.hear().is_some();
        let status = child.wait();
        drop(strace);
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{:?} has no {call}", self.verb);
        done
    }

    async fn fail(&self, call: &Call) {
        let place = self.base.copy();
        let context = format!("{:?} with a failed {call}", self.verb);
        let mut child = spawn(self.verb, &place.path());
        let strace = Strace::fail_at(child.id(), call).unwrap();
        child.tell(INSIST);
        assert_eq!(child.hear().as_deref(), Some("done"), "{context}");
        child.wait();
        let calls = strace.calls(&place.dir());
        assert!(calls.iter().any(Call::failed), "{context}: none failed");
        let mut lost = not_durable(&calls);
        lost.retain(|name| !self.files.may_be_lost(name));
        assert_eq!(lost, [] as [&Path; 0], "{context}: it is not durable");
        let store = self.open.open(&place.path()).await;
        let seen = Seen::of(&*store).await;
        assert_eq!(seen.what, self.after.what, "{context}");
        assert_eq!(store.verify().await.unwrap(), [], "{context}");
    }

    async fn kill(&self, call: &Call) {
        let place = self.base.copy();
        let context = format!("{:?} killed at {call}", self.verb);
        let acknowledged = self.die(&place.path(), call);
        let store = self.open.open(&place.path()).await;
        let seen = Seen::of(&*store).await;
        assert!(
            seen == self.after || (seen == self.before && !acknowledged),
            "{context}, acknowledged: {acknowledged}; it shows {seen:#?}, which is neither \
             {:#?} nor {:#?}",
            self.before,
            self.after
        );
        assert_eq!(store.verify().await.unwrap(), [], "{context}");

        if !acknowledged && seen == self.before {
            drop(store);
            let store = self.open.open(&place.path()).await;
            let again = self.verb.again(self.open, &place.path(), store).await;
            again.unwrap_or_else(|e| panic!("{context}; again: {e}"));
        }
        let store = self.open.open(&place.path()).await;
        assert_eq!(Seen::of(&*store).await.what, self.after.what, "{context}");
        assert_eq!(store.verify().await.unwrap(), [], "{context}, again");
        self.go_on(&*store).await;
        assert_eq!(store.verify().await.unwrap(), [], "{context}, gone on");
        self.files.tidy(&place.path());
    }

    /// What a later process does: it settles what is left, and deploys.
    async fn go_on(&self, store: &dyn HistoryStore) {
        let api = workload(API);
        if store.workload(&api).await.unwrap().in_flight.is_some() {
            let lease = store.take_over(&api, &holder()).await.unwrap();
            let asked = store.renew(&lease).await.unwrap().cancel_requested_by;
            assert_eq!(asked.is_some(), self.verb == Verb::RequestCancel);
            let end = settlement(lease.deployment(), Outcome::Failed);
            let done = store
                .finish(&lease, &[], &end, at(20), &Then::Release)
                .await;
            done.unwrap();
        }
        settle(store, &sample(API, 21), Outcome::Succeeded, 1).await;
        drop(begin(store, &sample(API, 23)).await);
    }
}

fn spawn(verb: Verb, place: &Path) -> Other {
    let told = format!("{verb:?}:{}", place.display());
    Other::spawn(ROLE, told.as_ref())
}
