//! What each platform itself says of what is live, and of what else is there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use rollback_core::prelude::*;
use rollback_testkit::fixtures::git::BUILDS;
use rollback_testkit::fixtures::probe::answer;
use rollback_testkit::world::Build;

use crate::shop::{ALL, Shop, id};

/// What is live, by the platforms' own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) api: Container,
    pub(crate) site: Link,
    pub(crate) worker: Unit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    started: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) to: PathBuf,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) main_pid: u32,
    version: String,
}

impl Seen {
    /// The one build that all of them have live.
    pub(crate) fn version(&self, context: &str) -> &str {
        let all = [&self.api.version, &self.site.version, &self.worker.version];
        assert!(
            all.iter().all(|version| *version == all[0]),
            "{context}: api, site and worker have {all:?} live"
        );
        all[0]
    }
}

impl Shop {
    pub(crate) async fn seen(&self) -> Seen {
        Seen {
            api: self.container().await,
            site: self.link(),
            worker: self.unit().await,
        }
    }

    /// By `docker inspect`, and by its answer.
    async fn container(&self) -> Container {
        let format = "{{.Id}} {{.State.StartedAt}} {{.State.Running}} {{json .Config.Env}}";
        let said = self.docker.must(&["inspect", "-f", format, "api"]);
        let parts: Vec<&str> = said.trim().splitn(4, ' ').collect();
        let [id, started, "true", env] = parts[..] else {
            panic!("it does not run: {said}")
        };
        let env: Vec<String> = serde_json::from_str(env).unwrap();
        let version = env.iter().find_map(|v| v.strip_prefix("VERSION="));
        let version = version.unwrap().to_owned();
        let answers = answer(self.place.api).await;
        assert_eq!(answers.as_ref(), Some(&version), "what {said} answers");
        Container {
            id: id.to_owned(),
            started: started.to_owned(),
            version,
        }
    }

    /// By the link, and by what is behind it.
    fn link(&self) -> Link {
        let current = self.place.dir.join("site/current");
        Link {
            to: std::fs::read_link(&current).unwrap(),
            version: std::fs::read_to_string(current.join("version.txt")).unwrap(),
        }
    }

    /// By what the manager has loaded and runs, and by its answer.
    async fn unit(&self) -> Unit {
        let output = Command::new("busctl")
            .arg(format!("--address={}", self.place.bus))
            .args(["get-property", "org.freedesktop.systemd1"])
            .arg("/org/freedesktop/systemd1/unit/worker_2eservice")
            .args(["org.freedesktop.systemd1.Service", "MainPID", "ExecStart"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // `u 42` and `a(sasbttttuii) 1 "/server" 2 "/server" "v1" …`.
        let mut lines = said.lines();
        let pid = lines.next().and_then(|line| line.strip_prefix("u "));
        let main_pid: u32 = pid.and_then(|pid| pid.parse().ok()).unwrap_or_default();
        assert_ne!(main_pid, 0, "it does not run: {said}");
        let version = lines.next().and_then(|line| line.split('"').nth(5));
        let version = version.unwrap().to_owned();
        let answers = answer(self.place.worker).await;
        assert_eq!(answers.as_ref(), Some(&version), "what {said} answers");
        Unit { main_pid, version }
    }

    /// That the shop is at rest: no lease is left, what is on record is what is live, all of it is the same
    /// build, and there is nothing that belongs to nothing. Which build it is.
    pub(crate) async fn at_rest(&self, engine: &RollbackEngine, context: &str) -> Build {
        let seen = self.seen().await;
        let version = seen.version(context);
        let builds = [Build::V1, Build::V2, Build::V3];
        let build = builds.into_iter().find(|b| b.answer() == version);
        let build = build.unwrap_or_else(|| panic!("{context}: {version} is live"));
        let store = self.place.store().await;
        let mut switched_to = BTreeSet::new();
        for name in ALL {
            let state = store.workload(&id(name)).await.unwrap();
            assert!(
                state.in_flight.is_none(),
                "{context}: {:?}",
                state.in_flight
            );
            let live = state.live.known();
            let live = live.unwrap_or_else(|| panic!("{context}: {name} is {:?}", state.live));
            let record = engine.get(live).await.unwrap();
            assert_eq!(
                record.release().unwrap().artifact().reference,
                self.place.reference(name, build),
                "{context}: what is on record as live on {name}"
            );
            let all = engine.list(&Query::workload(&id(name)).limit(100)).await;
            let all = all.unwrap().deployments;
            // What it may have been, without evidence, the next deployment that goes live lets go.
            let tidied = all[0].outcome() == Some(Outcome::Succeeded);
            for d in all {
                if d.switched().is_some() || d.switch_began() && !tidied {
                    // One that was made for it, or one that stood by.
                    let instance = d.instance().unwrap();
                    switched_to.insert(instance.handle.as_str().to_owned());
                }
            }
        }
        let orphans = self.orphans(&switched_to);
        assert!(orphans.is_empty(), "{context}: {orphans:#?}");
        build
    }

    /// What is at a platform and belongs to no deployment that was switched to, if only until it failed.
    fn orphans(&self, switched_to: &BTreeSet<String>) -> Vec<String> {
        let format = "{{.Names}} {{.State}} {{.ID}}";
        let said = self
            .docker
            .must(&["ps", "-a", "--no-trunc", "--format", format]);
        let stands = |line: &str| {
            let parts: Vec<&str> = line.split(' ').collect();
            match parts[..] {
                ["api", "running", id] | [_, "exited", id] => switched_to.contains(id),
                _ => false,
            }
        };
        let containers = said.lines().filter(|line| !stands(line));
        let mut orphans: Vec<String> = containers.map(|c| format!("container {c}")).collect();
        // At most one for each build: what stands by is taken when it is asked for again.
        if said.lines().count() > BUILDS.len() {
            orphans.push(format!("more containers than builds: {said}"));
        }
        for (what, dir) in [("checkout", "site/releases"), ("unit", "systemd/instances")] {
            let entries = std::fs::read_dir(self.place.dir.join(dir)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let lost = names.filter(|name| !switched_to.contains(name));
            orphans.extend(lost.map(|name| format!("{what} {name}")));
        }
        orphans
    }
}
