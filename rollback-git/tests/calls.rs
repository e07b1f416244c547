//! Every call that changes a file, in each verb: the process is killed before it, or it fails. The
//! verb is then called again, as recovery does, or undone.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rollback_core::backend::{Backend, End, Handle, Instance, Operation};
use rollback_core::error::BackendError;
use rollback_git::GitBackend;
use rollback_testkit::fixtures::strace::{Call, Strace, not_durable};
use rollback_testkit::service::unavailable;
use rollback_testkit::world::Build;
use support::other::{Other, parents, ready, say};
use support::tidy::{names, tidy};
use support::{GitWorld, Site, cx};

/// What the child does, and how often it tries; set in it alone.
const TOLD: &str = "ROLLBACK_GIT_CHILD_TOLD";

/// What a child does to a site where v1 is live and v2 was before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// v3 is placed.
    Prepare,
    /// What stands is taken: v2 once more.
    Take,
    /// v3 goes live.
    Switch,
    /// v3, placed, is put away again.
    Undo,
    /// Everything but what is live is let go of.
    Retain,
}

impl Verb {
    fn named(name: &str) -> Self {
        let all = [
            Self::Prepare,
            Self::Take,
            Self::Switch,
            Self::Undo,
            Self::Retain,
        ];
        all.into_iter().find(|v| format!("{v:?}") == name).unwrap()
    }

    /// The operation, as it is before the verb is called.
    async fn operation(self, site: &Site) -> Operation {
        let made_by = async |n: &str, build: Build| {
            let release = site.git().resolve(&cx(), build.answer()).await.unwrap();
            let names = standing(site);
            let name = names.iter().find(|name| name.starts_with(n)).unwrap();
            End::Placed(Instance::new(release, Handle::new(name)))
        };
        let from = made_by("2-", Build::V1).await;
        match self {
            Self::Take => site.operation(3, from, made_by("1-", Build::V2).await),
            Self::Prepare => site.plan(3, from, Build::V3).await,
            _ => site.prepared(3, from, Build::V3).await,
        }
    }

    async fn call(self, git: &GitBackend, op: &Operation) -> Result<(), BackendError> {
        match self {
            Self::Prepare | Self::Take => git.prepare(&cx(), op).await.map(|_| ()),
            Self::Switch => git.switch(&cx(), op).await.map(|_| ()),
            Self::Undo => git.retire(&cx(), &op.reversed()).await,
            Self::Retain => git.retain(&cx(), &[]).await,
        }
    }
}

/// A site for each verb, as it is before the verb is called. Copied for each call that is broken.
struct Base {
    verb: Verb,
    world: GitWorld,
}

impl Base {
    async fn new(verb: Verb) -> Self {
        let mut world = GitWorld::new();
        world.count_restarts();
        let two = world.deploy(1, End::Nothing, Build::V2).await;
        world.deploy(2, End::Placed(two), Build::V1).await;
        verb.operation(&world).await;
        if verb == Verb::Take {
            // Its pin was lost, and is put there again.
            let pins = names(&world.dir.join("repo/worktrees"));
            let pin = pins.iter().find(|p| p.ends_with("00000001")).unwrap();
            fs::remove_dir_all(world.dir.join("repo/worktrees").join(pin)).unwrap();
        }
        Self { verb, world }
    }

    fn copy(&self) -> Copy {
        Copy::of(&self.world.dir)
    }
}

struct Copy {
    dir: tempfile::TempDir,
    site: Site,
}

impl Copy {
    fn of(dir: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        let mut cp = Command::new("cp");
        cp.arg("-a").arg(dir.join(".")).arg(copy.path());
        assert!(cp.status().unwrap().success());
        let mut site = Site::at(copy.path());
        site.count_restarts();
        Self { dir: copy, site }
    }

    fn again(&self) -> Self {
        Self::of(self.dir.path())
    }
}

/// Not a test by itself: calls a verb, again and again if it is told to insist. All that blocks
/// runs in one thread, so that `strace` counts alike each time.
#[test]
fn child() {
    let (Some(mut site), Ok(told)) = (parents(), std::env::var(TOLD)) else {
        return;
    };
    site.count_restarts();
    let (verb, tries) = told.split_once(' ').unwrap();
    let (verb, tries) = (Verb::named(verb), tries.parse::<usize>().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (op, git) = (verb.operation(&site).await, site.git());
        ready();
        let mut last = Ok(());
        for _ in 0..tries {
            last = verb.call(&git, &op).await;
            if last.is_ok() {
                break;
            }
        }
        say(&last.map_or_else(|e| e.to_string(), |()| "done".to_owned()));
    });
}

fn spawn(verb: Verb, tries: usize, site: &Site) -> Other {
    let told = format!("{TOLD}={verb:?} {tries}");
    Other::through(&["env", &told], "child", site).unwrap()
}

/// The calls of a verb that change anything below the site; `None` where they cannot be seen.
fn calls(base: &Base) -> Option<Vec<Call>> {
    let copy = base.copy();
    let mut other = spawn(base.verb, 1, &copy.site);
    let strace = match Strace::watch(other.id()) {
        Ok(strace) => strace,
        Err(why) => {
            unavailable(&why);
            return None;
        }
    };
    assert_eq!(other.go().as_deref(), Some("done"), "{:?}", base.verb);
    other.wait();
    Some(strace.calls(copy.dir.path()))
}

/// What a power cut may take back, but for what nothing depends on.
fn lost(calls: &[Call]) -> Vec<PathBuf> {
    // A link has no content of its own to sync; its name has a directory.
    let is_move = |c: &Call| c.publishes() && c.to_string().contains("root/current\"");
    let keeps = |c: &Call| c.is_sync() && !c.failed() && c.to_string().contains("/root>");
    if let Some(at) = calls.iter().rposition(is_move) {
        let kept = calls[at..].iter().any(keeps);
        assert!(kept, "the link's directory was not synced");
    }
    let dear = |path: &&Path| {
        let trivial = ["restarts", "root/current", "root/.rollback/lock"];
        let path = path.to_str().unwrap();
        // What is not whole yet is swept by whoever comes next.
        let next = path.ends_with(".next");
        !next
            && !trivial.contains(&path)
            && !path.contains("/trash/")
            && !path.starts_with("repo/rollback/")
    };
    not_durable(calls)
        .into_iter()
        .filter(dear)
        .map(Path::to_owned)
        .collect()
}

/// The names of the release directories.
fn standing(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.root().join("releases")).unwrap();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The deployment goes on from wherever it was left, and then it is undone.
async fn goes_on(verb: Verb, site: &Site, context: &str) {
    let git = site.git();
    let fail = |what: &str, e: BackendError| -> ! { panic!("{context}: {what}: {e}") };
    let before = site.restarts();
    let op = verb.operation(site).await;
    verb.call(&git, &op)
        .await
        .unwrap_or_else(|e| fail("again", e));
    match verb {
        Verb::Retain => {
            assert_eq!(standing(site).len(), 1, "{context}");
            assert_eq!(site.serves().as_deref(), Some("v1"), "{context}");
        }
        Verb::Undo => assert_eq!(site.serves().as_deref(), Some("v1"), "{context}"),
        Verb::Prepare | Verb::Take | Verb::Switch => {
            let mut op = op;
            op.to = End::Placed(git.prepare(&cx(), &op).await.unwrap().to);
            git.switch(&cx(), &op)
                .await
                .unwrap_or_else(|e| fail("switch", e));
            let serves = if verb == Verb::Take { "v2" } else { "v3" };
            assert_eq!(site.serves().as_deref(), Some(serves), "{context}");
            assert!(site.restarts() - before <= 1, "{context}: restarted again");
            let seen = git.observe(&cx()).await.unwrap();
            assert_eq!(seen.live_instance(), op.to.instance(), "{context}");
            let back = op.reversed();
            git.switch(&cx(), &back)
                .await
                .unwrap_or_else(|e| fail("back", e));
            git.retire(&cx(), &back)
                .await
                .unwrap_or_else(|e| fail("retire", e));
            assert_eq!(site.serves().as_deref(), Some("v1"), "{context}");
        }
    }
    tidy(site, context);
    let next = site
        .plan(4, op_from(&git, context).await, Build::Broken)
        .await;
    git.prepare(&cx(), &next)
        .await
        .unwrap_or_else(|e| fail("the next", e));
    git.retire(&cx(), &next.reversed())
        .await
        .unwrap_or_else(|e| fail("undone", e));
    tidy(site, context);
}

async fn op_from(git: &GitBackend, context: &str) -> End {
    let seen = git.observe(&cx()).await.unwrap();
    let live = seen
        .live_instance()
        .unwrap_or_else(|| panic!("{context}: {:?}", seen.live));
    End::Placed(live.clone())
}

/// Whoever was killed is undone: what was live is, and nothing else was left.
async fn undone(verb: Verb, site: &Site, context: &str) {
    let git = site.git();
    let fail = |what: &str, e: BackendError| -> ! { panic!("{context}: {what}: {e}") };
    let back = verb.operation(site).await.reversed();
    if verb == Verb::Switch {
        git.switch(&cx(), &back)
            .await
            .unwrap_or_else(|e| fail("back", e));
    }
    git.retire(&cx(), &back)
        .await
        .unwrap_or_else(|e| fail("undone", e));
    assert_eq!(site.serves().as_deref(), Some("v1"), "{context}");
    tidy(site, context);
}

async fn killed_everywhere(verb: Verb) {
    let base = Base::new(verb).await;
    let Some(calls) = calls(&base) else { return };
    assert_eq!(lost(&calls), [] as [PathBuf; 0], "{verb:?} is not durable");
    // What is written into a file that has no name yet is seen by nobody.
    let seen: Vec<&Call> = calls.iter().filter(|c| c.is_seen()).collect();
    assert!(seen.len() >= 8, "{verb:?} makes {} calls", seen.len());
    for call in &seen {
        let context = format!("{verb:?} killed at {call}");
        let copy = base.copy();
        let mut other = spawn(verb, 1, &copy.site);
        let strace = Strace::kill_at(other.id(), call).unwrap();
        other.go();
        let status = other.wait();
        drop(strace);
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{context}");
        if matches!(verb, Verb::Prepare | Verb::Switch) {
            undone(verb, &copy.again().site, &context).await;
        }
        goes_on(verb, &copy.site, &context).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_call_of_a_prepare_it_goes_on_and_is_undone() {
    killed_everywhere(Verb::Prepare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_standing_release_was_pinned_it_could_never_be_gone_back_to() {
    killed_everywhere(Verb::Take).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_call_of_a_switch_it_goes_on_and_is_undone() {
    killed_everywhere(Verb::Switch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_pin_was_removed_the_workload_was_blocked_for_good() {
    killed_everywhere(Verb::Undo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_pins_were_packed_every_clean_up_failed_for_good() {
    killed_everywhere(Verb::Retain).await;
}

/// Lets each sync, rename and removal fail once. Who insists succeeds, and what is acknowledged
/// is durable.
async fn failing_everywhere(verb: Verb) {
    let base = Base::new(verb).await;
    let Some(calls) = calls(&base) else { return };
    for call in calls.iter().filter(|c| c.is_seen()) {
        let context = format!("{verb:?} with a failed {call}");
        let copy = base.copy();
        let before = copy.site.restarts();
        let mut other = spawn(verb, 3, &copy.site);
        let strace = Strace::fail_at(other.id(), call).unwrap();
        assert_eq!(other.go().as_deref(), Some("done"), "{context}");
        other.wait();
        let made = strace.calls(copy.dir.path());
        assert!(made.iter().any(Call::failed), "{context}: none failed");
        assert_eq!(
            lost(&made),
            [] as [PathBuf; 0],
            "{context}: it is not durable"
        );
        let restarts = copy.site.restarts() - before;
        assert!(restarts <= 1, "{context}: restarted {restarts} times");
        goes_on(verb, &copy.site, &context).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_call_of_a_prepare_is_got_over() {
    failing_everywhere(Verb::Prepare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_sync_of_what_was_switched_restarted_the_service_again() {
    failing_everywhere(Verb::Switch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_call_of_a_retain_is_got_over() {
    failing_everywhere(Verb::Retain).await;
}
