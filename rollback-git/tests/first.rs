//! The first deployment to a root, killed while it makes the directories that are not there yet.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;

use rollback_core::backend::{Backend, End};
use rollback_testkit::fixtures::strace::{Call, Strace};
use rollback_testkit::service::unavailable;
use rollback_testkit::world::Build;
use support::other::{Other, parents, ready, say};
use support::{GitWorld, Site, cx};

/// Not a test by itself: prepares the first release. All that blocks runs in one thread, so that
/// `strace` counts alike each time.
#[test]
fn child_that_comes_first() {
    let Some(site) = parents() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let op = site.plan(1, End::Nothing, Build::V1).await;
        ready();
        let done = site.git().prepare(&cx(), &op).await;
        say(&done.map_or_else(|e| e.to_string(), |_| "done".to_owned()));
    });
}

/// Whoever deploys has a narrow umask.
fn spawn(site: &Site) -> Other {
    let narrow = ["sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    Other::through(&narrow, "child_that_comes_first", site).unwrap()
}

fn modes(site: &Site) -> [u32; 4] {
    ["", "releases", ".rollback", ".rollback/trash"].map(|dir| {
        let meta = site.root().join(dir).metadata().unwrap();
        meta.permissions().mode() & 0o7777
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_as_it_made_a_directory_it_left_one_that_was_closed_to_others_for_good() {
    let w = GitWorld::new();
    let mut other = spawn(&w);
    let strace = match Strace::watch(other.id()) {
        Ok(strace) => strace,
        Err(why) => return unavailable(&why),
    };
    assert_eq!(other.go().as_deref(), Some("done"));
    other.wait();
    let expected = [0o755, 0o755, 0o700, 0o700];
    assert_eq!(modes(&w), expected, "whatever the umask");
    let calls = strace.calls(&w.dir);
    let names = |c: &&Call| c.publishes() && c.to_string().contains(".rollback-new");
    let named: Vec<&Call> = calls.iter().filter(names).collect();
    assert!(named.len() >= 5, "{named:?}");
    for call in named {
        let w = GitWorld::new();
        let mut other = spawn(&w);
        let strace = Strace::kill_at(other.id(), call).unwrap();
        other.go();
        assert!(!other.wait().success(), "{call}");
        drop(strace);
        w.deploy(1, End::Nothing, Build::V1).await;
        assert_eq!(modes(&w), expected, "{call}");
        assert_eq!(w.serves().as_deref(), Some("v1"), "{call}");
        for dir in [w.dir.clone(), w.root(), w.root().join(".rollback")] {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                assert!(!name.ends_with(".rollback-new"), "{call}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_root_that_somebody_has_closed_to_others_stays_so() {
    let w = GitWorld::new();
    std::fs::create_dir(w.root()).unwrap();
    let closed = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(w.root(), closed).unwrap();
    w.deploy(1, End::Nothing, Build::V1).await;
    assert_eq!(modes(&w), [0o750, 0o755, 0o700, 0o700]);
}
