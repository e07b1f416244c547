//! Credentials: a real registry that asks for a password, docker's own configuration, and helpers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{Backend, End};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, LiveImpact};
use rollback_docker::{
    Credentials, CredentialsProvider, DockerBackend, DockerConfigFile, RegistryHost,
    StaticCredentials,
};
use rollback_testkit::world::{Build, World};
use support::cx;
use support::guarded::{Guarded, PASSWORD};

impl Guarded {
    fn backend(&self, provider: impl CredentialsProvider + 'static) -> DockerBackend {
        DockerBackend::new(self.w.config().credentials_from(provider)).unwrap()
    }

    fn file(&self) -> DockerConfigFile {
        DockerConfigFile::at(self.dir.join("config.json")).helpers_in(&self.dir)
    }

    fn write(&self, contents: &serde_json::Value) {
        fs::write(self.dir.join("config.json"), contents.to_string()).unwrap();
    }

    /// A helper that notes what it is asked.
    fn helper(&self, name: &str, script: &str) {
        let (dir, source) = (self.dir.display(), self.dir.join("script"));
        let text = format!("#!/bin/sh\necho \"$@ $(cat)\" >>{dir}/{name}.asked\n{script}\n");
        fs::write(&source, text).unwrap();
        // Written by another process: a program that this one writes, and forks meanwhile, is busy.
        let path = self.dir.join(format!("docker-credential-{name}"));
        let install = Command::new("install")
            .args(["-m", "755"])
            .arg(&source)
            .arg(path)
            .status();
        assert!(install.unwrap().success());
    }

    fn asked(&self, helper: &str) -> String {
        fs::read_to_string(self.dir.join(format!("{helper}.asked"))).unwrap_or_default()
    }
}

fn answer(user: &str, secret: &str) -> String {
    format!("echo '{{\"ServerURL\":\"x\",\"Username\":\"{user}\",\"Secret\":\"{secret}\"}}'")
}

/// Resolved, or why not.
async fn resolved(backend: &DockerBackend, reference: &str) -> Result<String, BackendError> {
    let release = backend.resolve(&cx(), reference).await?;
    Ok(release.artifact().digest.clone())
}

#[tokio::test]
async fn what_docker_login_has_left_was_of_no_use() {
    let Some(g) = Guarded::new() else { return };
    let (backend, reference) = (g.backend(g.file()), g.reference(Build::V1));
    let e = resolved(&backend, &reference).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unauthorized, "no file: {e}");
    // The file is read when it is needed: a login is seen at once.
    let login = "bWU6cmlnaHQtcGFzc3dvcmQ=";
    g.write(&serde_json::json!({"auths": {&g.at: {"auth": login}}}));
    assert!(
        resolved(&backend, &reference)
            .await
            .unwrap()
            .starts_with(&g.at)
    );
    g.write(&serde_json::json!({"auths": {"other.example": {"auth": login}}}));
    let e = resolved(&backend, &reference).await.unwrap_err();
    assert_eq!(
        e.kind(),
        BackendErrorKind::Unauthorized,
        "of another host: {e}"
    );
    // One that is named for a host is asked for that host, and all others go to the store.
    g.helper("own", &answer("me", PASSWORD));
    g.helper("store", &answer("me", "wrong-password"));
    g.write(&serde_json::json!({"credHelpers": {&g.at: "own"}, "credsStore": "store"}));
    let op = g.w.plan(&backend, End::Nothing, &reference).await;
    let op = g.w.run(&backend, op).await;
    assert_eq!(g.w.serving().await.as_deref(), Some("v1"));
    assert_eq!(
        g.asked("own").lines().next(),
        Some(&*format!("get {}", g.at))
    );
    assert_eq!(g.asked("store"), "");
    let other = resolved(&backend, &g.w.reference(Build::V1)).await;
    other.unwrap();
    let registry = g.w.fixture.registry();
    assert_eq!(
        g.asked("store").lines().next(),
        Some(&*format!("get {registry}"))
    );
    assert!(!g.asked("own").contains(registry));
    let shown = format!("{op:?} {backend:?} {}", serde_json::to_string(&op).unwrap());
    assert!(!shown.contains(PASSWORD) && !shown.contains(login));
}

#[tokio::test]
async fn a_helper_that_is_missing_is_not_one_that_has_nothing() {
    let Some(g) = Guarded::new() else { return };
    let (backend, reference) = (g.backend(g.file()), g.reference(Build::V1));
    let secret = "canary-of-a-helper";
    g.helper(
        "none",
        "echo credentials not found in native keychain; exit 1",
    );
    g.helper(
        "fails",
        &format!("echo {secret}; echo {secret} >&2; exit 3"),
    );
    g.helper("babbles", &format!("echo {secret}"));
    g.helper("floods", &format!("yes {secret}"));
    g.helper("wrong", &answer("me", secret));
    let is = "the credential helper docker-credential-";
    for (name, said) in [
        ("none", "no basic auth credentials".to_owned()),
        ("gone", format!("{is}gone is not installed")),
        ("../own", "cannot be one".to_owned()),
        (
            "fails",
            format!("{is}fails does not give credentials (exit status: 3)"),
        ),
        (
            "babbles",
            format!("{is}babbles answers with something else"),
        ),
        (
            "floods",
            format!("{is}floods does not give credentials (it said more"),
        ),
        ("wrong", "unauthorized".to_owned()),
    ] {
        g.write(&serde_json::json!({"credsStore": name}));
        let e = resolved(&backend, &reference).await.unwrap_err();
        assert_eq!(e.kind(), BackendErrorKind::Unauthorized, "{name}: {e}");
        assert_eq!(e.impact(), LiveImpact::Untouched, "{name}: {e}");
        let shown = format!("{e} {e:?}");
        assert!(shown.contains(&said), "{name}: {shown}");
        assert!(!shown.contains(secret), "{name}: {shown}");
    }
    // Nor does one that never answers hold up more than the call that asked.
    g.helper("sleeps", "sleep 61.25");
    g.write(&serde_json::json!({"credsStore": "sleeps"}));
    let short = Context::new(Duration::from_secs(1));
    let e = backend.resolve(&short, &reference).await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::DeadlineExceeded, "{e}");
    let open = g.w.reference(Build::V1);
    g.write(&serde_json::json!({"credsStore": "none"}));
    resolved(&backend, &open).await.unwrap();
}

/// A provider of an embedder's own.
#[derive(Debug)]
struct Vault(RegistryHost);

#[async_trait]
impl CredentialsProvider for Vault {
    async fn credentials(
        &self,
        _cx: &Context,
        host: &RegistryHost,
    ) -> Result<Option<Credentials>, BackendError> {
        Ok((*host == self.0).then(|| Credentials::password("me", PASSWORD)))
    }
}

#[tokio::test]
async fn providers_are_asked_in_turn_and_for_one_host_each() {
    let Some(g) = Guarded::new() else { return };
    let host: RegistryHost = g.at.parse().unwrap();
    let other: RegistryHost = "other.example".parse().unwrap();
    let fixed = |host: &RegistryHost, password: &str| {
        StaticCredentials::default().with(host.clone(), Credentials::password("me", password))
    };
    let config = g.w.config().credentials_from(fixed(&other, "of-another"));
    let backend = DockerBackend::new(config.clone().credentials_from(Vault(host.clone())));
    resolved(&backend.unwrap(), &g.reference(Build::V1))
        .await
        .unwrap();
    // Who is asked first, and what is configured here, goes first.
    let first = config.credentials_from(fixed(&host, "wrong-password"));
    let first = first.credentials_from(Vault(host));
    let backend = DockerBackend::new(first.clone()).unwrap();
    let e = resolved(&backend, &g.reference(Build::V1))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unauthorized, "{e}");
    let here = DockerBackend::new(first.credentials(&g.at, "me", PASSWORD)).unwrap();
    resolved(&here, &g.reference(Build::V1)).await.unwrap();
    assert!(!format!("{here:?} {backend:?}").contains("password\""));
    assert!(!format!("{here:?} {backend:?}").contains("-password"));
}
