//! How often the bus is connected to and the manager is asked.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use rollback_core::backend::{Backend, End, Live, Operation};
use rollback_core::context::Context;
use rollback_core::history::Sequence;
use rollback_core::id::DeploymentId;
use rollback_core::time::{Clock, SystemClock};
use rollback_systemd::{SystemdBackend, SystemdConfig};
use rollback_testkit::fixtures::relay::{Heard, Relay};
use rollback_testkit::fixtures::systemd::SystemdFixture;
use rollback_testkit::world::{Build, World};
use support::{SystemdWorld, boot, config, reference};

fn cx() -> Context {
    Context::new(std::time::Duration::from_secs(120))
}

/// A backend that reaches the bus through a relay.
fn relayed(world: &SystemdWorld, fixture: &SystemdFixture) -> (SystemdBackend, Relay) {
    let (config, relay) = relaying(world, fixture);
    (SystemdBackend::new(config).unwrap(), relay)
}

fn relaying(world: &SystemdWorld, fixture: &SystemdFixture) -> (SystemdConfig, Relay) {
    let bus = fixture.bus();
    let service = bus.strip_prefix("unix:path=").unwrap().into();
    let relay = Relay::new(world.dir().join("bus"), service);
    let at = format!("unix:path={}", relay.socket().display());
    let config = config(&world.unit, world.dir(), &fixture.root(), &at);
    (config, relay)
}

/// How often a unit was looked at, by one call each.
fn looks(heard: &Heard) -> usize {
    count(heard, "GetAll")
}

fn count(heard: &Heard, call: &str) -> usize {
    let call = call.as_bytes();
    heard
        .bytes
        .windows(call.len())
        .filter(|w| *w == call)
        .count()
}

fn operation(world: &SystemdWorld, number: u64, from: End, to: End) -> Operation {
    let id = DeploymentId::generate(SystemClock.now());
    Operation::new(world.workload(), id, Sequence(number), from, to)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_looks_of_a_backend_share_a_connection_and_each_verb_looks_once_a_step() {
    let Some(fixture) = boot() else { return };
    let world = SystemdWorld::new(Arc::clone(&fixture));
    let (backend, relay) = relayed(&world, &fixture);
    let release = backend.resolve(&cx(), &reference(Build::V1)).await.unwrap();
    backend.observe(&cx()).await.unwrap();
    relay.take();
    let mut op = operation(&world, 1, End::Nothing, End::Planned(release));
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    let heard = relay.take();
    // The unit, and whether the manager takes the new file.
    assert_eq!((heard.connections, looks(&heard)), (0, 2), "prepare");
    backend.switch(&cx(), &op).await.unwrap();
    let heard = relay.take();
    // What runs now, what the manager loads, what its restart came to.
    assert_eq!((heard.connections, looks(&heard)), (1, 3), "switch");
    backend
        .health(&cx(), op.to.instance().unwrap())
        .await
        .unwrap();
    backend.observe(&cx()).await.unwrap();
    let heard = relay.take();
    assert_eq!((heard.connections, looks(&heard)), (0, 2), "two looks");
    // A bus that was started anew is connected to again, and nobody sees a failure.
    for _ in 0..2 {
        relay.sever();
        let seen = backend.observe(&cx()).await.unwrap();
        assert!(matches!(seen.live, Live::One(_)), "{seen:?}");
        assert_eq!(relay.take().connections, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_unit_that_was_to_be_enabled_the_manager_read_all_units_twice() {
    let Some(fixture) = boot() else { return };
    let world = SystemdWorld::new(Arc::clone(&fixture));
    let (config, relay) = relaying(&world, &fixture);
    let backend = SystemdBackend::new(config.enable(true)).unwrap();
    let unit = world.content(Build::V1) + "\n[Install]\nWantedBy=multi-user.target\n";
    std::fs::write(world.dir().join("sources/v1.service"), unit).unwrap();
    let release = backend.resolve(&cx(), &reference(Build::V1)).await.unwrap();
    let mut op = operation(&world, 1, End::Nothing, End::Planned(release));
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    relay.take();
    backend.switch(&cx(), &op).await.unwrap();
    let heard = relay.take();
    assert_eq!(count(&heard, "EnableUnitFiles"), 1);
    assert_eq!(count(&heard, "Reload"), 1);
    let wanted = "etc/systemd/system/multi-user.target.wants";
    let link = fixture.root().join(wanted).join(&world.unit);
    assert!(link.is_symlink());
    // And so it is read back.
    let seen = backend.observe(&cx()).await.unwrap();
    assert_eq!(seen.live_instance(), op.to.instance());
}

#[test]
fn a_backend_answers_in_another_runtime_than_that_of_its_first_look() {
    let Some(fixture) = boot() else { return };
    let world = SystemdWorld::new(Arc::clone(&fixture));
    let (backend, relay) = relayed(&world, &fixture);
    for _ in 0..2 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(backend.observe(&cx())).unwrap();
        drop(runtime);
        assert_eq!(relay.take().connections, 1);
    }
}
