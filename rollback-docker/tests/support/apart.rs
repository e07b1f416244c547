//! A daemon with networks, and containers on it that were made by hand.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rollback_core::backend::{Backend, End, Operation};
use rollback_core::context::{Context, ProgressSink};
use rollback_docker::{DockerBackend, DockerConfig, PullPolicy};
use rollback_testkit::fixtures::docker::DockerFixture;
use rollback_testkit::service::unavailable;

use super::{cx, operation};

/// A daemon with networks of its own, with `api:v1` and `api:v2`, and one workload called `api`.
pub struct Apart {
    pub fixture: DockerFixture,
    state: PathBuf,
}

/// A context, and where the last line that was said in it is read.
pub fn hearing() -> (Context, impl Fn() -> String) {
    let (sink, said) = ProgressSink::channel();
    (cx().with_progress(sink), move || said.borrow().line.clone())
}

impl Apart {
    pub fn new() -> Option<Self> {
        let fixture = DockerFixture::with_networks().map_err(|why| unavailable(&why));
        let fixture = fixture.ok()?;
        for version in ["v1", "v2"] {
            let line = format!("ENV VERSION={version}");
            fixture.build(&format!("api:{version}"), &[&line]);
        }
        let state = fixture.dir().join("state");
        Some(Self { fixture, state })
    }

    pub fn config(&self) -> DockerConfig {
        DockerConfig::new("api@web-1".parse().unwrap(), "api", &self.state)
            .socket(self.fixture.socket())
            .pull(PullPolicy::Never)
    }

    /// Runs `api:v1` by hand.
    pub fn by_hand(&self, args: &[&str]) {
        let _ = self.fixture.docker(&["rm", "-f", "api"]);
        let run = ["run", "-d", "--name", "api"];
        self.fixture.must(&[&run[..], args, &["api:v1"]].concat());
    }

    /// Makes `api` of this, as docker's own clients ask for it, and starts it: what today's client no
    /// longer asks a daemon of API 1.41 for can be asked for like this.
    pub fn create(&self, body: &serde_json::Value) {
        let _ = self.fixture.docker(&["rm", "-f", "api"]);
        let body = body.to_string();
        let request = format!(
            "POST /v1.41/containers/create?name=api HTTP/1.0\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(self.fixture.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 201 "), "{answer}");
        self.fixture.must(&["start", "api"]);
    }

    pub async fn plan(&self, backend: &DockerBackend, reference: &str) -> Operation {
        let seen = backend.observe(&cx()).await.unwrap();
        let live = seen.live_instance().cloned();
        let release = backend.resolve(&cx(), reference).await.unwrap();
        operation(
            "api",
            live.map_or(End::Nothing, End::Placed),
            End::Planned(release),
        )
    }

    pub async fn deploy(&self, backend: &DockerBackend, reference: &str) -> Operation {
        let mut op = self.plan(backend, reference).await;
        op.to = End::Placed(backend.prepare(&cx(), &op).await.unwrap().to);
        backend.switch(&cx(), &op).await.unwrap();
        backend.retire(&cx(), &op).await.unwrap();
        op
    }

    pub fn show(&self, format: &str) -> serde_json::Value {
        let text = self.fixture.must(&["inspect", "-f", format, "api"]);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// What was asked for, as far as docker shows it.
    pub fn asked(&self) -> serde_json::Value {
        let mut host = self.show("{{json .HostConfig}}");
        host.as_object_mut().unwrap().remove("ConsoleSize");
        let mut config = self.show("{{json .Config}}");
        let config = config.as_object_mut().unwrap();
        let labels = config.remove("Labels").unwrap();
        let labels: Vec<_> = labels.as_object().unwrap().iter().collect();
        let labels: Vec<_> = labels
            .iter()
            .filter(|(k, _)| !k.starts_with("rollback."))
            .collect();
        let labels = serde_json::json!(labels);
        let mut env: Vec<String> = serde_json::from_value(config.remove("Env").unwrap()).unwrap();
        env.retain(|e| !e.starts_with("VERSION="));
        env.sort_unstable();
        for other in ["Image", "AttachStdout", "AttachStderr", "AttachStdin"] {
            config.remove(other);
        }
        let id = self.show("{{json .Id}}");
        let short = &id.as_str().unwrap()[..12];
        let networks = self.show("{{json .NetworkSettings.Networks}}");
        let networks: Vec<_> = networks
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, n)| {
                let aliases = n["Aliases"].as_array().cloned().unwrap_or_default();
                let mut aliases: Vec<_> = aliases.into_iter().filter(|a| a != short).collect();
                aliases.sort_by_key(|a| a.to_string());
                let fixed = n["IPAMConfig"]["IPv4Address"]
                    .as_str()
                    .is_some_and(|a| !a.is_empty());
                let address = fixed.then(|| n["IPAddress"].clone());
                (name.clone(), aliases, address)
            })
            .collect();
        serde_json::json!([host, config, labels, env, networks])
    }
}
