//! A program that deploys the container it runs in.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::process::Command;
use std::sync::Arc;

use rollback_core::backend::{Backend, End};
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_docker::{DockerBackend, DockerConfig, PullPolicy};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture};

const INSIDE: &str = "ROLLBACK_TEST_INSIDE";

/// Plays the deploying program, in a container; on its own it does nothing.
#[tokio::test]
async fn inside() {
    let Ok(place) = std::env::var(INSIDE) else {
        return;
    };
    let [socket, name, reference] = place.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{place}")
    };
    let workload = format!("{name}@web-1").parse().unwrap();
    let config = DockerConfig::new(workload, name, "/state")
        .socket(socket)
        .pull(PullPolicy::IfMissing);
    let backend = DockerBackend::new(config.without("volume")).unwrap();
    let seen = backend.observe(&cx()).await.unwrap();
    let from = End::Placed(seen.live_instance().unwrap().clone());
    let release = backend.resolve(&cx(), reference).await.unwrap();
    let op = support::operation(name, from, End::Planned(release));
    let e = backend.prepare(&cx(), &op).await.unwrap_err();
    println!("{:?} {:?} {e}", e.kind(), e.impact());
}

#[test]
fn a_program_stops_the_container_that_it_runs_in() {
    let Some(fixture) = fixture() else { return };
    let w = DockerWorld::new(&Arc::new(fixture));
    let program = std::env::current_exe().unwrap();
    let reference = w.reference(Build::V2);
    w.fixture.must(&["pull", "-q", &reference]);
    let socket = w.fixture.socket();
    let env = format!("{INSIDE}={} {} {reference}", socket.display(), w.name);
    let mounts = [
        format!("{}:/engine:ro", program.display()),
        format!("{0}:{0}", socket.display()),
        "/usr:/usr:ro".into(),
        "/lib:/lib:ro".into(),
        "/lib64:/lib64:ro".into(),
        format!("{}:/state", w.fixture.dir().join("inside").display()),
    ];
    // As docker names it, under a name of its own, and with the host's.
    let named = ["--hostname", "engine"];
    let host = ["--network", "host"];
    for more in [&[][..], &named, &host] {
        let mut args = vec![
            "run",
            "-d",
            "--name",
            &w.name,
            "--entrypoint",
            "/engine",
            "-e",
            &env,
        ];
        args.extend(more);
        if more.is_empty() || more == named {
            args.extend(["--network", "none"]);
        }
        for mount in &mounts {
            args.extend(["-v", mount]);
        }
        args.extend(["rollback-test/base", "--exact", "inside", "--nocapture"]);
        w.fixture.must(&args);
        let code = w.fixture.must(&["wait", &w.name]);
        let mut logs = Command::new("docker");
        logs.args([
            "-H",
            &format!("unix://{}", socket.display()),
            "logs",
            &w.name,
        ]);
        let logs = logs.output().unwrap();
        let said = String::from_utf8_lossy(&logs.stdout).into_owned()
            + &String::from_utf8_lossy(&logs.stderr);
        assert_eq!(code.trim(), "0", "{said}");
        let kind = BackendErrorKind::Unsupported;
        let what = format!("{kind:?} {:?}", LiveImpact::Untouched);
        assert!(said.contains(&what), "{more:?}: {said}");
        assert!(
            said.contains("this program runs in the container"),
            "{said}"
        );
        w.fixture.must(&["rm", "-f", &w.name]);
    }
}
