//! [`Census`]: what is at a daemon and belongs to nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rollback_core::prelude::*;
use rollback_testkit::fixtures::docker::DockerFixture;

/// Counts what one workload has at a daemon that it has for itself.
#[derive(Debug, Default)]
pub struct Census {
    known: Mutex<Known>,
}

/// What has been there at rest.
#[derive(Debug, Default)]
struct Known {
    /// Volumes that containers had. Whatever lets a container go leaves its volumes.
    volumes: BTreeSet<String>,
    networks: BTreeSet<String>,
}

impl Census {
    /// What is there at rest and belongs to none of these records: containers, tags, anonymous volumes,
    /// networks.
    pub fn orphans(&self, fixture: &DockerFixture, newest: &[Deployment]) -> Vec<String> {
        let all = |args: &[&str]| -> BTreeSet<String> {
            let said = fixture.must(args);
            said.lines().map(str::to_owned).collect()
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut orphans = Vec::new();
        let format = "{{.ID}} {{.State}} {{.Label \"rollback.deployment\"}}";
        let containers = all(&["ps", "-a", "--no-trunc", "--format", format]);
        let (mut owners, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        for container in &containers {
            let (id, rest) = container.split_once(' ').unwrap_or((container, ""));
            let (state, owner) = rest.split_once(' ').unwrap_or((rest, ""));
            if owner.is_empty() || matches!(state, "created" | "dead" | "removing") {
                orphans.push(format!("container {container}"));
            }
            owners.insert(owner.to_owned());
            let mounts = "{{range .Mounts}}{{println .Name}}{{end}}";
            volumes.extend(all(&["inspect", "-f", mounts, id]));
        }
        let lost = all(&["volume", "ls", "-q"]).into_iter();
        let lost = lost.filter(|v| !volumes.contains(v) && !known.volumes.contains(v));
        orphans.extend(lost.map(|volume| format!("volume {volume}")));
        known.volumes.extend(volumes);
        let tags = all(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
        let mut tokens = 0;
        for tag in tags.iter().filter(|tag| tag.starts_with("rollback.local/")) {
            let name = tag.rsplit(':').next().unwrap_or_default();
            let parts: Vec<&str> = name.split('.').collect();
            tokens += usize::from(parts[0] == "f");
            let tail = parts.get(1).and_then(|owner| owner.rsplit('-').next());
            let of = |d: &&Deployment| tail.is_some_and(|tail| d.id().as_str().ends_with(tail));
            if let Some(owner) = newest.iter().find(of)
                && parts[0] != "f"
                && owner.outcome() != Some(Outcome::Succeeded)
                && !owners.contains(owner.id().as_str())
            {
                orphans.push(format!("tag {tag} of {owner:?}"));
            }
        }
        // The one before goes with the next deployment, where its removal was cut off.
        if tokens > 2 {
            orphans.push(format!("{tokens} tokens: {tags:?}"));
        }
        let networks = all(&["network", "ls", "--format", "{{.Name}}"]);
        if !known.networks.is_empty() && known.networks != networks {
            orphans.push(format!("networks {networks:?}, once {:?}", known.networks));
        }
        known.networks = networks;
        orphans
    }
}
