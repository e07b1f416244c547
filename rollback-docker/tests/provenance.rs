//! What is known of an image beside its digest: its sources, whether its tag moves, what it frees.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use rollback_core::backend::{Backend, End};
use rollback_core::context::ProgressSink;
use rollback_core::release::ReferenceKind;
use rollback_testkit::world::{Build, World};
use support::{DockerWorld, cx, fixture};

fn world() -> Option<DockerWorld> {
    Some(DockerWorld::new(&Arc::new(fixture()?)))
}

#[tokio::test]
async fn an_image_says_of_which_commit_it_is_once_it_is_here() {
    let Some(w) = world() else { return };
    let reference = format!("{}/{}:commit", w.fixture.registry(), w.name);
    let lines = [
        "LABEL org.opencontainers.image.revision=4f0c2b1",
        "LABEL org.opencontainers.image.source=https://git.example/api",
    ];
    w.fixture.publish(&reference, &lines);
    let backend = w.docker();
    // Its registry does not tell.
    let mut op = w.plan(&backend, End::Nothing, &reference).await;
    assert_eq!(op.to.release().unwrap().artifact().sources, None);
    let planned = op.to.release().unwrap().digest();
    op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
    let placed = op.to.release().unwrap();
    assert_eq!(placed.digest(), planned);
    let sources = placed.artifact().sources.as_deref().unwrap();
    assert_eq!(sources.revision, "4f0c2b1");
    assert_eq!(
        sources.repository.as_deref(),
        Some("https://git.example/api")
    );
    backend.switch(&cx(), &op).await.unwrap();
    backend.retire(&cx(), &op).await.unwrap();
    let seen = w.live().await.unwrap();
    assert_eq!(Some(&seen), op.to.instance(), "and its container does");
    let again = backend.resolve(&cx(), &reference).await.unwrap();
    assert_eq!(again.artifact().sources.as_deref(), Some(sources));
}

#[tokio::test]
async fn latest_moves_and_so_does_a_tag_that_has_meant_something_else() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let kind = async |reference: &str| {
        let release = backend.resolve(&cx(), reference).await.unwrap();
        release.artifact().kind
    };
    let bare = format!("{}/{}", w.fixture.registry(), w.name);
    w.fixture
        .publish(&format!("{bare}:latest"), &["ENV VERSION=newest"]);
    for moving in [bare.clone(), format!("{bare}:latest")] {
        assert_eq!(kind(&moving).await, ReferenceKind::Moving, "{moving}");
    }
    let fixed = w.reference(Build::V1);
    assert_eq!(kind(&fixed).await, ReferenceKind::Fixed);
    assert_eq!(kind(w.digest(Build::V1)).await, ReferenceKind::Fixed);
    w.deploy(Build::V1).await;
    assert_eq!(kind(&fixed).await, ReferenceKind::Fixed);
    w.fixture
        .publish(&fixed, &["ENV VERSION=v1", "ENV AGAIN=1"]);
    assert_eq!(kind(&fixed).await, ReferenceKind::Moving);
}

#[tokio::test]
async fn what_retain_frees_is_said_in_bytes() {
    let Some(w) = world() else { return };
    let backend = w.docker();
    let reference = w.reference(Build::V2);
    // As large as the server that is in all of them; nothing else of it is its own.
    let lines = [
        "ENV VERSION=v2",
        "COPY --from=rollback-test/base /server /again",
    ];
    w.fixture.publish(&reference, &lines);
    w.deploy(Build::V1).await;
    w.deploy(Build::V2).await;
    w.deploy(Build::V3).await;
    let inspect = ["image", "inspect", "-f", "{{.Size}}"];
    let size = |image: &str| -> u64 {
        let out = w.fixture.must(&[&inspect[..], &[image]].concat());
        out.trim().parse().unwrap()
    };
    let layers = || -> u64 {
        let out = w.fixture.must(&["system", "df", "--format", "{{json .}}"]);
        let images = out.lines().next().unwrap();
        assert!(images.contains("Images"), "{images}");
        size("rollback-test/base")
    };
    let shared = layers();
    let id = w.inspect(&w.name, "{{.Image}}");
    assert_eq!(size(&id), shared, "v3 has nothing of its own");
    let (sink, said) = ProgressSink::channel();
    backend
        .retain(&cx().with_progress(sink), &[])
        .await
        .unwrap();
    let tenths = shared / 100_000;
    let freed = format!("freed {}.{} MB", tenths / 10, tenths % 10);
    let said = said.borrow().line.clone();
    assert!(said.contains(&freed), "{said}, not {freed}");
    // There is nothing more to free, and nothing to say.
    let (sink, said) = ProgressSink::channel();
    backend
        .retain(&cx().with_progress(sink), &[])
        .await
        .unwrap();
    assert_eq!(said.borrow().line, "");
}
