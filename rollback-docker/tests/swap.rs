//! What else a replacement touches: who shares the live one's namespaces, and what it is told before
//! it is stopped.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rollback_core::backend::{Backend, End, Operation};
use rollback_docker::{Dependents, DockerBackend, Drain, RestartPolicy, Successor};
use support::answers::{answering, hanging};
use support::apart::{Apart, hearing};
use support::{cx, operation};

/// Prepares and switches; what was said last in each.
async fn swap(backend: &DockerBackend, op: &mut Operation) -> [String; 2] {
    let (preparing, foretold) = hearing();
    op.to = End::Placed(backend.prepare(&preparing, op).await.unwrap().to);
    let (switching, said) = hearing();
    backend.switch(&switching, op).await.unwrap();
    backend.retire(&cx(), op).await.unwrap();
    [foretold(), said()]
}

impl Apart {
    fn of(&self, container: &str, format: &str) -> String {
        let out = self.fixture.must(&["inspect", "-f", format, container]);
        out.trim().to_owned()
    }

    /// Where in the kernel a container's network is.
    fn network_of(&self, container: &str) -> String {
        let pid = self.of(container, "{{.State.Pid}}");
        let at = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        at.display().to_string()
    }

    /// The signals that containers have got.
    fn signals(&self) -> Vec<String> {
        self.events("kill", "{{.Actor.Attributes.signal}}")
    }

    /// What has happened so far of one kind.
    fn events(&self, kind: &str, format: &str) -> Vec<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let mut args = vec!["events", "--since", "1", "--until", &now];
        let kind = format!("event={kind}");
        args.extend(["--filter", &kind, "--format", format]);
        let out = self.fixture.must(&args);
        out.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn who_shared_a_replaced_containers_network_was_left_without_it_and_never_told() {
    let Some(apart) = Apart::new() else { return };
    let warns = DockerBackend::new(apart.config()).unwrap();
    apart.deploy(&warns, "api:v1").await;
    let side = ["run", "-d", "--name", "side", "-e", "PORT=81"];
    let network = ["--network", "container:api", "api:v1"];
    apart.fixture.must(&[&side[..], &network].concat());
    let other = ["run", "-d", "--name", "other", "-e", "PORT=82"];
    let processes = ["--pid", "container:api", "api:v1"];
    apart.fixture.must(&[&other[..], &processes].concat());
    assert_eq!(apart.network_of("side"), apart.network_of("api"));
    let mut op = apart.plan(&warns, "api:v2").await;
    let [foretold, said] = swap(&warns, &mut op).await;
    for who in [
        "side shares the network of api",
        "other shares the processes of api",
    ] {
        assert!(foretold.contains(who), "{foretold}");
    }
    for who in [
        "side shared the network of",
        "other shared the processes of",
    ] {
        assert!(said.contains(who), "{said}");
    }
    assert!(said.contains("cannot follow"), "{said}");
    assert_eq!(apart.of("side", "{{.State.Running}}"), "true");
    assert_eq!(apart.of("other", "{{.State.Running}}"), "false");
    // What they mean is gone back to: they can have it again.
    let mut back = operation("api", op.to.clone(), op.from.clone());
    let [_, said] = swap(&warns, &mut back).await;
    assert!(
        said.contains("side shared the network of api: restart it"),
        "{said}"
    );
    assert_ne!(apart.network_of("side"), apart.network_of("api"));
    apart.fixture.must(&["start", "other"]);
    let restarts = DockerBackend::new(apart.config().dependents(Dependents::Restart)).unwrap();
    let mut forth = operation("api", op.from.clone(), op.to.clone());
    swap(&restarts, &mut forth).await;
    let mut back = operation("api", op.to.clone(), op.from.clone());
    let [_, said] = swap(&restarts, &mut back).await;
    assert!(
        said.contains("side shared the network of api: it was restarted"),
        "{said}"
    );
    assert_eq!(apart.network_of("side"), apart.network_of("api"));
    assert_eq!(apart.of("other", "{{.State.Running}}"), "true");
    // Again it does what is done to nobody.
    let before = apart.of("side", "{{.State.StartedAt}}");
    let (hears, said) = hearing();
    restarts.switch(&hears, &back).await.unwrap();
    assert_eq!(said(), "");
    assert_eq!(apart.of("side", "{{.State.StartedAt}}"), before);
}

#[tokio::test]
async fn who_was_being_restarted_when_the_restart_was_cut_off_stayed_down_for_good() {
    let Some(apart) = Apart::new() else { return };
    let warns = DockerBackend::new(apart.config()).unwrap();
    apart.deploy(&warns, "api:v1").await;
    let side = ["run", "-d", "--name", "side", "-e", "PORT=81"];
    let network = ["--network", "container:api", "api:v1"];
    apart.fixture.must(&[&side[..], &network].concat());
    let mut op = apart.plan(&warns, "api:v2").await;
    swap(&warns, &mut op).await;
    let mut back = operation("api", op.to.clone(), op.from.clone());
    swap(&warns, &mut back).await;
    // So far a restart of two requests had come.
    apart.fixture.must(&["stop", "side"]);
    let restarts = DockerBackend::new(apart.config().dependents(Dependents::Restart)).unwrap();
    let (hears, said) = hearing();
    restarts.switch(&hears, &back).await.unwrap();
    assert!(said().contains("it was restarted"), "{}", said());
    assert_eq!(apart.network_of("side"), apart.network_of("api"));
    // In one: dockerd goes through with it by itself.
    let restarted = apart.events("restart", "{{.Actor.Attributes.name}}");
    assert_eq!(restarted, ["side"]);
}

#[tokio::test]
async fn a_strangers_container_that_hangs_held_up_every_deployment() {
    let Some(apart) = Apart::new() else { return };
    let plain = DockerBackend::new(apart.config()).unwrap();
    apart.deploy(&plain, "api:v1").await;
    let other = ["run", "-d", "--name", "other", "-e", "PORT=81", "api:v1"];
    apart.fixture.must(&other);
    let socket = apart.fixture.dir().join("hanging.sock");
    let look = format!("containers/{}/json", apart.of("other", "{{.Id}}"));
    hanging(&socket, apart.fixture.socket(), look);
    let backend = DockerBackend::new(apart.config().socket(socket)).unwrap();
    let op = apart.deploy(&backend, "api:v2").await;
    let live = op.to.instance().unwrap().handle.to_string();
    assert_eq!(apart.of("api", "{{.Id}}"), live);
}

#[tokio::test]
async fn what_an_image_took_could_not_be_counted_and_so_nothing_was_let_go() {
    let Some(apart) = Apart::new() else { return };
    let plain = DockerBackend::new(apart.config()).unwrap();
    apart.deploy(&plain, "api:v1").await;
    let op = apart.deploy(&plain, "api:v2").await;
    let image = apart
        .fixture
        .must(&["image", "inspect", "-f", "{{.Id}}", "api:v1"]);
    let socket = apart.fixture.dir().join("answering.sock");
    let history = (format!("images/{}/history", image.trim()), "none".into());
    answering(&socket, apart.fixture.socket(), vec![history]);
    let backend = DockerBackend::new(apart.config().socket(socket)).unwrap();
    let window = [op.to.instance().unwrap().clone()];
    backend.retain(&cx(), &window).await.unwrap();
    let held = [
        "images",
        "-q",
        "--no-trunc",
        "--filter",
        "reference=rollback.local/*",
    ];
    assert!(!apart.fixture.must(&held).contains(image.trim()));
}

#[tokio::test]
async fn a_container_was_stopped_in_the_midst_of_its_work() {
    let Some(apart) = Apart::new() else { return };
    apart.fixture.build("api:quit", &["STOPSIGNAL SIGQUIT"]);
    let config = || apart.config().stop_timeout(Duration::from_secs(1));
    let plain = DockerBackend::new(config()).unwrap();
    apart.deploy(&plain, "api:quit").await;
    let wait = Duration::from_millis(200);
    let signal = Drain::signal("SIGUSR1".parse().unwrap(), wait);
    let drains = DockerBackend::new(config().drain(signal)).unwrap();
    apart.deploy(&drains, "api:v1").await;
    // Its own signal to stop comes after that, and at last the one that it cannot ignore.
    assert_eq!(apart.signals(), ["10", "3", "9"]);
    // By a program, which finds it running.
    let socket = format!("unix://{}", apart.fixture.socket().display());
    let kill = ["docker", "-H", &socket, "kill", "-s", "USR2", "api"];
    let hook = Drain::program(kill, Duration::from_secs(30));
    let hooked = DockerBackend::new(config().drain(hook)).unwrap();
    apart.deploy(&hooked, "api:v2").await;
    assert_eq!(apart.signals()[3..], ["12", "9"]);
    let told = apart.fixture.dir().join("told");
    let told = told.to_str().unwrap();
    let copy = Drain::program(["cp", "/proc/self/environ", told], Duration::from_secs(30));
    let copies = DockerBackend::new(config().drain(copy)).unwrap();
    let former = apart.of("api", "{{.Id}}");
    apart.deploy(&copies, "api:v1").await;
    let environment = String::from_utf8(fs::read(told).unwrap()).unwrap();
    let drained = format!("ROLLBACK_CONTAINER={former}");
    assert!(
        environment.split('\0').any(|v| v == drained),
        "{environment}"
    );
}

#[tokio::test]
async fn one_that_ended_as_it_was_drained_was_started_again_and_killed() {
    let Some(apart) = Apart::new() else { return };
    // It ends by this signal, and by no other but the one that nobody can ignore.
    let signal = Drain::signal("SIGKILL".parse().unwrap(), Duration::from_millis(900));
    let config = apart.config().restart(RestartPolicy::Always).drain(signal);
    let backend = DockerBackend::new(config).unwrap();
    apart.deploy(&backend, "api:v1").await;
    let former = apart.of("api", "{{.Id}}");
    apart.deploy(&backend, "api:v2").await;
    assert_eq!(apart.signals(), ["9"]);
    let seen = "{{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(apart.of(&former, seen), "0 no");
    assert_eq!(apart.of("api", seen), "0 always");
}

#[tokio::test]
async fn volumes_of_what_never_went_live_were_left_for_good() {
    let Some(apart) = Apart::new() else { return };
    apart.fixture.must(&["network", "create", "web"]);
    let lines = ["ENV VERSION=data", "VOLUME /data"];
    apart.fixture.build("api:data", &lines);
    let config = apart.config().network("web").successor(Successor::Beside);
    let backend = DockerBackend::new(config).unwrap();
    apart.deploy(&backend, "api:v1").await;
    let mut op = apart.plan(&backend, "api:data").await;
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    backend.start(&cx(), &op).await.unwrap();
    let volumes = || apart.fixture.must(&["volume", "ls", "-q"]);
    assert_eq!(volumes().lines().count(), 1);
    let live = apart.deploy(&backend, "api:v2").await;
    let window = [live.to.instance().unwrap().clone()];
    backend.retain(&cx(), &window).await.unwrap();
    assert_eq!(volumes(), "");
}

#[tokio::test]
async fn a_container_that_cannot_be_drained_is_replaced_all_the_same_and_it_is_said() {
    let Some(apart) = Apart::new() else { return };
    let plain = DockerBackend::new(apart.config()).unwrap();
    apart.deploy(&plain, "api:v1").await;
    let short = Duration::from_millis(200);
    for (hook, to, why) in [
        (["false", ""], "api:v2", "exit status: 1"),
        (["sleep", "600"], "api:v1", "did not end in time"),
        (["there-is-no-such-program", ""], "api:v2", "cannot be run"),
    ] {
        let drain = Drain::program(hook, short);
        let backend = DockerBackend::new(apart.config().drain(drain)).unwrap();
        let mut op = apart.plan(&backend, to).await;
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        let (hears, said) = hearing();
        backend.switch(&hears, &op).await.unwrap();
        let said = said();
        assert!(
            said.contains("was not drained") && said.contains(why),
            "{said}"
        );
        backend.retire(&cx(), &op).await.unwrap();
        let live = op.to.instance().unwrap().handle.to_string();
        assert_eq!(
            apart.of("api", "{{.Id}} {{.State.Running}}"),
            format!("{live} true")
        );
    }
}
