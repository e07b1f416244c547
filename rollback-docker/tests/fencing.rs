//! Who may publish: a token at dockerd, and containers that nobody here knows.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::{Availability, Backend, End, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendErrorKind, LiveImpact};
use rollback_core::history::{Epoch, Fence, HistoryId, Identity, Sequence};
use rollback_docker::{DockerBackend, Drain, PullPolicy};
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

fn history() -> Identity {
    Identity::new(
        HistoryId::generate().unwrap(),
        HistoryId::generate().unwrap(),
    )
}

fn under(of: &Identity, op: &Operation, epoch: u64) -> Context {
    cx().fenced(Fence::new(
        of.history.clone(),
        of.incarnation.clone(),
        op.sequence,
        Epoch(epoch),
        op.deployment.clone(),
    ))
}

async fn planned(w: &DockerWorld, build: Build) -> Operation {
    let from = w.live().await.map_or(End::Nothing, End::Placed);
    w.plan(&w.docker(), from, &w.reference(build)).await
}

async fn run(w: &DockerWorld, cx: &Context, mut op: Operation) -> Operation {
    let backend = w.docker();
    op.to = End::Placed(backend.prepare(cx, &op).await.unwrap().to);
    backend.switch(cx, &op).await.unwrap();
    backend.retire(cx, &op).await.unwrap();
    op
}

#[tokio::test]
async fn a_recovery_from_a_backup_stops_a_newer_deployments_container() {
    let Some(w) = world() else { return };
    let own = history();
    let first = planned(&w, Build::V1).await;
    run(&w, &under(&own, &first, 1), first.clone()).await;
    // The backup is made while this one prepares.
    let mut second = planned(&w, Build::V2).await;
    let backend = w.docker();
    let prepared = backend.prepare(&under(&own, &second, 2), &second).await;
    second.to = End::Placed(prepared.unwrap().to);
    let in_backup = second.clone();
    backend
        .switch(&under(&own, &second, 2), &second)
        .await
        .unwrap();
    let third = planned(&w, Build::V3).await;
    let third = run(&w, &under(&own, &third, 3), third).await;
    let live = || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let before = live();
    // Recovery of what the backup shows goes back, in another life of the history.
    let restored = own.restored().unwrap();
    let cx = under(&restored, &in_backup, 3);
    backend.retire(&cx, &in_backup.reversed()).await.unwrap();
    assert_eq!(live(), before, "not what it knows: left alone");
    for op in [&in_backup, &in_backup.reversed()] {
        let e = backend.switch(&cx, op).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    }
    assert_eq!(live(), before);
    assert_eq!(w.serving().await.as_deref(), Some("v3"));
    assert_eq!(w.live().await.as_ref(), third.to.instance());
}

#[tokio::test]
async fn a_recovery_stops_what_another_history_has_put_live() {
    let Some(w) = world() else { return };
    let (own, other) = (history(), history());
    let first = planned(&w, Build::V1).await;
    run(&w, &under(&own, &first, 1), first.clone()).await;
    let mut second = planned(&w, Build::V2).await;
    let backend = w.docker();
    let cx = under(&own, &second, 2);
    second.to = End::Placed(backend.prepare(&cx, &second).await.unwrap().to);
    // Another program with a history of its own takes the workload on.
    let third = planned(&w, Build::V3).await;
    let theirs = under(&other, &third, 1);
    let third = run(&w, &theirs, third).await;
    let live = || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let before = live();
    backend.retire(&cx, &second.reversed()).await.unwrap();
    assert_eq!(live(), before, "not what it knows: left alone");
    let e = backend.switch(&cx, &second.reversed()).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Conflict, "{e}");
    assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    assert!(e.to_string().contains(third.deployment.as_str()), "{e}");
    // What it keeps is no standby of the other's to let go.
    let standby = End::Planned(first.to.release().unwrap().clone());
    backend.retain(&theirs, &[]).await.unwrap();
    let kept = backend.availability(&support::cx(), &standby).await;
    assert_eq!(kept.unwrap(), Availability::Standby);
    assert_eq!(live(), before);
}

#[tokio::test]
async fn an_actor_that_was_taken_for_dead_publishes_late() {
    let Some(w) = world() else { return };
    let own = history();
    let backend = w.docker();
    let mut op = planned(&w, Build::V1).await;
    op.to = End::Placed(backend.prepare(&under(&own, &op, 1), &op).await.unwrap().to);
    // Whoever took over has a later epoch of the same deployment.
    let (late, now) = (under(&own, &op, 1), under(&own, &op, 2));
    backend.switch(&now, &op).await.unwrap();
    let published = async || backend.observe(&cx()).await.unwrap().published;
    assert_eq!(published().await.as_ref(), now.fence());
    for result in [
        backend.switch(&late, &op).await.map(drop),
        backend.retire(&late, &op.reversed()).await,
    ] {
        let e = result.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{e}");
    }
    assert_eq!(w.serving().await.as_deref(), Some("v1"));
    // Again is no later.
    backend.switch(&now, &op).await.unwrap();
    backend.retire(&now, &op).await.unwrap();
    let tokens = || {
        let all = w
            .fixture
            .must(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        all.lines().filter(|l| l.contains(":f.")).count()
    };
    assert_eq!(tokens(), 1);
    // The next one's takes its place, on the way there and on the way back.
    let next = planned(&w, Build::V2).await;
    let third = under(&own, &next, 1);
    let next = run(&w, &third, next).await;
    assert_eq!(published().await.as_ref(), third.fence());
    let back = w.operation(next.to, next.from);
    let fourth = under(&own, &back, 1);
    run(&w, &fourth, back).await;
    assert_eq!(published().await.as_ref(), fourth.fence());
    assert_eq!(tokens(), 1, "older ones are gone");
    // It survives what is taken for rubbish; the live container bears what is left otherwise.
    w.fixture.must(&["system", "prune", "-f"]);
    assert_eq!(published().await.as_ref(), fourth.fence());
    let all = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    for tag in w.fixture.must(&all).lines().filter(|l| l.contains(":f.")) {
        w.fixture.must(&["rmi", tag]);
    }
    let first = published().await.unwrap();
    assert_eq!(first.deployment, op.deployment, "under which it was made");
    // Where nothing is live, something is published, too.
    let from = w.live().await.map_or(End::Nothing, End::Placed);
    let down = w.operation(from, End::Nothing);
    let fifth = under(&own, &down, 1);
    backend.switch(&fifth, &down).await.unwrap();
    assert_eq!(published().await.as_ref(), fifth.fence());
    assert_eq!(w.running().await, 0);
    assert!(matches!(down.sequence, Sequence(n) if n > 0));
}

#[tokio::test]
async fn a_local_image_alone_is_enough_for_a_token() {
    let Some(w) = world() else { return };
    let local = format!("{}-local:v1", w.name);
    w.fixture.build(&local, &["ENV VERSION=local"]);
    let backend = DockerBackend::new(w.config().pull(PullPolicy::Never)).unwrap();
    let op = w.plan(&backend, End::Nothing, &local).await;
    let cx = under(&history(), &op, 7);
    let op = run(&w, &cx, op).await;
    let seen = backend.observe(&cx).await;
    assert_eq!(seen.unwrap().published.as_ref(), cx.fence());
    assert_eq!(w.serving().await.as_deref(), Some("local")); // Nor is an image needed: its container starts all the same.
    let registry = w.docker();
    let next = w
        .plan(&registry, op.to.clone(), &w.reference(Build::V1))
        .await;
    let next = w.run(&registry, next).await;
    let image = w.inspect(op.to.instance().unwrap().handle.as_str(), "{{.Image}}");
    w.fixture.must(&["rmi", "-f", &image]);
    let back = w.operation(next.to, op.to);
    let cx = under(&history(), &back, 8);
    run(&w, &cx, back).await;
    let seen = backend.observe(&cx).await.unwrap();
    assert_eq!(seen.published.as_ref(), cx.fence());
    assert_eq!(w.serving().await.as_deref(), Some("local"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_had_lost_the_workload_while_it_drained_stopped_what_was_live_since() {
    let Some(w) = world() else { return };
    let own = history();
    let first = planned(&w, Build::V1).await;
    run(&w, &under(&own, &first, 1), first.clone()).await;
    let drain = Drain::signal("SIGUSR1".parse().unwrap(), Duration::from_secs(6));
    let late = DockerBackend::new(w.config().drain(drain)).unwrap();
    let mut second = planned(&w, Build::V2).await;
    let cx = under(&own, &second, 2);
    second.to = End::Placed(late.prepare(&cx, &second).await.unwrap().to);
    let third = planned(&w, Build::V3).await;
    let drains = tokio::spawn(async move { late.switch(&cx, &second).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!drains.is_finished(), "it drains");
    run(&w, &under(&own, &third, 3), third.clone()).await;
    let live = || w.inspect(&w.name, "{{.Id}} {{.State.StartedAt}}");
    let since = live();
    let e = drains.await.unwrap().unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Fenced, "{e}");
    assert_eq!(live(), since);
    assert_eq!(w.serving().await.as_deref(), Some(Build::V3.answer()));
}
