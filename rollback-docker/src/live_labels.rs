//! [`LiveLabels`]: labels that the live container has, and nothing else of its workload.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use async_trait::async_trait;
use bollard::models::ContainerCreateBody;
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::release::Release;

use crate::container::Container;

/// What stands before the name of a label that a container wears while it is live, on one that is not.
pub(crate) const PUT_AWAY: &str = "rollback.worn.";

/// The labels by which another tool, compose say, knows the containers that are its own.
///
/// The live container wears them, so that the tool finds there what it would have made itself. What
/// stands by must not: the tool would count it as one more. dockerd changes no label of a container, so
/// a container that is put away is made anew without them, and once more with them when it comes back.
/// It keeps its handle, its volumes and its settings; its own layer and its log are lost, as they are
/// when the tool itself replaces a container.
///
/// [`DockerConfig::live_labels`](crate::DockerConfig::live_labels) takes one.
#[async_trait]
pub trait LiveLabels: fmt::Debug + Send + Sync {
    /// What the names of all of them begin with, such as `com.docker.compose.`. One that begins otherwise
    /// is refused.
    fn prefix(&self) -> &str;

    /// Those of them that the tool goes by when it lists the containers of this workload. A container
    /// with all of them that is not this workload's live one is a replica, and refused. One that was
    /// made by hand with them is the tool's: once it is replaced it is made anew without them, and
    /// removed, as the tool would have done. Every container has all of none: no label at all is
    /// refused.
    fn counted_by(&self) -> BTreeMap<String, String>;

    /// All of them, for a container that is about to be made.
    ///
    /// # Errors
    ///
    /// Why there are none. Nothing has been moved.
    async fn labels(
        &self,
        cx: &Context,
        made: &NewContainer<'_>,
    ) -> Result<BTreeMap<String, String>, BackendError>;

    /// Makes what a container needs and this daemon does not have, as the tool would make it. What is
    /// still missing afterwards is refused.
    ///
    /// # Errors
    ///
    /// Why it cannot. Nothing has been moved.
    async fn provide(&self, cx: &Context, missing: &Missing) -> Result<(), BackendError>;
}

/// A container that is about to be made, to go live.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct NewContainer<'a> {
    /// What it is made of.
    pub release: &'a Release,
    /// The id of its image, which is here. Where it is configured as today the release's reference means
    /// it at this daemon, as long as its labels are asked for.
    pub image: &'a str,
    /// Whose settings it has.
    pub configured: Configured,
}

/// Which configuration a container is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Configured {
    /// All of what the program has configured now, and nothing else.
    Today,
    /// Something else: what was recorded, wholly or in part, or an image that the release's reference
    /// does not mean here, since another one was built under that name.
    Otherwise,
}

/// Networks and named volumes that a container needs and the daemon does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Networks, by name.
    pub networks: Vec<String>,
    /// Volumes, by name.
    pub volumes: Vec<String>,
}

impl Missing {
    /// The first of them, for an error to name.
    pub(crate) fn first(&self) -> Option<String> {
        let network = self.networks.first().map(|name| format!("network {name}"));
        let volume = || self.volumes.first().map(|name| format!("volume {name}"));
        network.or_else(volume)
    }
}

/// The live labels of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worn {
    /// What their names begin with.
    pub(crate) prefix: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Whether a container that is made wears its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wear {
    /// It is about to go live.
    On(Worn),
    /// It stands by.
    Away(Worn),
}

impl Worn {
    /// Those of a container, whether it wears them or has put them away.
    pub(crate) fn of(container: &Container, prefix: &str) -> Self {
        let own = labels(container).filter_map(|(name, value)| {
            let name = name.strip_prefix(PUT_AWAY).unwrap_or(name);
            let is_one = name.starts_with(prefix);
            is_one.then(|| (name.to_owned(), value.clone()))
        });
        Self {
            prefix: prefix.to_owned(),
            labels: own.collect(),
        }
    }
}

impl Wear {
    /// Labels what is to be made; the prefix, if it wears them. What its settings have of this prefix,
    /// as those of a container that the tool has made do, is worn or put away with the rest.
    pub(crate) fn put(self, body: &mut ContainerCreateBody) -> Option<String> {
        let labels = body.labels.get_or_insert_default();
        match self {
            Self::On(worn) => {
                labels.extend(worn.labels);
                Some(worn.prefix)
            }
            Self::Away(worn) => {
                let all = std::mem::take(labels).into_iter().chain(worn.labels);
                *labels = all
                    .map(|(name, value)| match name.starts_with(&worn.prefix) {
                        true => (format!("{PUT_AWAY}{name}"), value),
                        false => (name, value),
                    })
                    .collect();
                None
            }
        }
    }
}

/// Whether a container has all of these.
pub(crate) fn has_all(container: &Container, wanted: &BTreeMap<String, String>) -> bool {
    let own: HashMap<_, _> = labels(container).collect();
    !wanted.is_empty()
        && wanted
            .iter()
            .all(|(name, value)| own.get(name) == Some(&value))
}

fn labels(container: &Container) -> impl Iterator<Item = (&String, &String)> {
    let config = container.inspect.config.as_ref();
    config.and_then(|c| c.labels.as_ref()).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_that_are_put_away_are_the_same_when_they_are_worn_again() {
        let map = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            let all = all.iter();
            all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let worn = map(&[("tool.project", "shop"), ("tool.hash", "abc")]);
        let mut body = ContainerCreateBody {
            labels: Some(HashMap::from([
                ("team".to_owned(), "a".to_owned()),
                ("tool.extra".to_owned(), "x".to_owned()),
            ])),
            ..Default::default()
        };
        let away = Wear::Away(Worn {
            prefix: "tool.".into(),
            labels: worn.clone(),
        });
        assert_eq!(away.put(&mut body), None);
        let away: BTreeMap<_, _> = body.labels.clone().unwrap().into_iter().collect();
        let bare = map(&[
            ("rollback.worn.tool.extra", "x"),
            ("rollback.worn.tool.hash", "abc"),
            ("rollback.worn.tool.project", "shop"),
            ("team", "a"),
        ]);
        assert_eq!(away, bare);
        let inspect = serde_json::json!({
            "Id": "a", "Name": "/api", "Image": "sha256:a", "State": {},
            "Config": {"Labels": away}
        });
        let inspect = serde_json::from_value(inspect).unwrap();
        let container = Container::new("api@web-1", inspect).unwrap();
        let mut all = worn;
        all.insert("tool.extra".into(), "x".into());
        assert_eq!(Worn::of(&container, "tool.").labels, all);
        assert!(!has_all(&container, &all), "none of them is worn");
        assert!(!has_all(&container, &BTreeMap::new()), "nobody's");
    }
}
