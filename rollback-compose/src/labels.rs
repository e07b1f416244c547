//! [`ComposeLabels`]: compose's own labels, for the live container alone.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_docker::{Configured, LiveLabels, Missing, NewContainer};
use serde_json::{Value, json};

use crate::compose::Compose;
use crate::file::File;
use crate::image::same_image;
use crate::tool::Generation;

const PREFIX: &str = "com.docker.compose.";

/// No service's. From version 2 on compose does not see a container without a hash at all.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The service that compose is asked to make nothing of, for it to make the project's networks and
/// volumes.
const NOBODY: &str = "rollback-provides";

/// What compose writes on the container of a service.
#[derive(Clone)]
pub(crate) struct ComposeLabels {
    pub(crate) compose: Compose,
    pub(crate) service: String,
    /// As it was read.
    pub(crate) file: File,
    /// The image that the files name.
    pub(crate) image: String,
}

impl fmt::Debug for ComposeLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComposeLabels")
            .field("compose", &self.compose)
            .field("service", &self.service)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

impl ComposeLabels {
    fn fixed(&self) -> [(&'static str, String); 3] {
        [
            ("project", self.compose.project.clone()),
            ("service", self.service.clone()),
            ("oneoff", "False".to_owned()),
        ]
    }

    /// By what compose tells that the container is what its files say; of one that is something else
    /// there is none, and its next `up` makes it what they say: the label is one that no service has.
    async fn hash(
        &self,
        cx: &Context,
        made: &NewContainer<'_>,
    ) -> Result<Option<String>, BackendError> {
        let reference = &made.release.artifact().reference;
        if made.configured != Configured::Today || !same_image(reference, &self.image) {
            return Ok(None);
        }
        // Whether the files are what was read is looked at after the hash was made of them.
        let hash = self.compose.hash(cx, &self.service).await?;
        let now = self.compose.config(cx).await?;
        let now = File::parse(&now, self.compose.tool.generation)?;
        if !now.says_the_same_of(&self.service, &self.file) {
            return Err(BackendError::new(
                BackendErrorKind::Conflict,
                "the compose file says something else of the service than when it was read",
            )
            .on(&self.service)
            .advice("read it again, and deploy what it says now")
            .transient(false));
        }
        Ok(Some(hash))
    }

    /// In which order compose starts services.
    fn depends_on(&self) -> String {
        let service = self.file.service(&self.service);
        let on = service.and_then(|service| service.get("depends_on")?.as_object());
        let all = on.into_iter().flatten().map(|(name, how)| {
            let text = |field| how.get(field).and_then(Value::as_str);
            let restart = how.get("restart").and_then(Value::as_bool);
            let condition = text("condition").unwrap_or("service_started");
            format!("{name}:{condition}:{}", restart.unwrap_or(false))
        });
        Vec::from_iter(all).join(",")
    }

    /// A file that overrides the project's with a service of ours, which needs what is missing.
    fn nobody(&self, missing: &Missing) -> Value {
        let key = |kind: &str, name: &String| {
            let own = format!("{}_", self.compose.project);
            let keys = self.file.keys(kind);
            let is_it = |key: &&str| {
                let said = self.file.said_of(kind, key);
                let called = said.and_then(|said| said.get("name")?.as_str());
                called.map_or_else(
                    || name.strip_prefix(&own) == Some(*key),
                    |called| called == name,
                )
            };
            let found = keys.into_iter().find(is_it).map(str::to_owned);
            // The project's own network is in no file.
            found.unwrap_or_else(|| name.strip_prefix(&own).unwrap_or(name).to_owned())
        };
        let networks = missing.networks.iter().map(|name| key("networks", name));
        let volumes = missing.volumes.iter().enumerate();
        let volumes = volumes.map(|(n, name)| format!("{}:/{n}", key("volumes", name)));
        let mut service = json!({
            "image": self.image,
            "volumes": Vec::from_iter(volumes),
        });
        let networks = Vec::from_iter(networks);
        match networks.is_empty() {
            true => service["network_mode"] = "none".into(),
            false => service["networks"] = networks.into(),
        }
        let mut file = json!({"services": {NOBODY: service}});
        // Version 1 wants all of its files to be of one.
        if self.compose.tool.generation == Generation::First
            && let Some(version) = self.file.version()
        {
            file["version"] = version.into();
        }
        file
    }
}

#[async_trait]
impl LiveLabels for ComposeLabels {
    fn prefix(&self) -> &str {
        PREFIX
    }

    fn counted_by(&self) -> BTreeMap<String, String> {
        let fixed = self.fixed().into_iter();
        fixed.map(|(k, v)| (format!("{PREFIX}{k}"), v)).collect()
    }

    async fn labels(
        &self,
        cx: &Context,
        made: &NewContainer<'_>,
    ) -> Result<BTreeMap<String, String>, BackendError> {
        let files = self.compose.files.iter();
        let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
        let dir = self.compose.files.first().and_then(|file| file.parent());
        let dir = dir.unwrap_or(&self.compose.around.dir);
        let mut labels = BTreeMap::from(self.fixed());
        labels.insert("container-number", "1".to_owned());
        labels.insert("version", self.compose.tool.version.clone());
        labels.insert("project.working_dir", dir.display().to_string());
        labels.insert("project.config_files", files.join(","));
        if self.compose.tool.generation == Generation::Second {
            labels.insert("image", made.image.to_owned());
            labels.insert("depends_on", self.depends_on());
        }
        let hash = self.hash(cx, made).await?;
        labels.insert("config-hash", hash.unwrap_or_else(|| NO_HASH.to_owned()));
        let labels = labels.into_iter();
        Ok(labels.map(|(k, v)| (format!("{PREFIX}{k}"), v)).collect())
    }

    async fn provide(&self, cx: &Context, missing: &Missing) -> Result<(), BackendError> {
        let cannot = |e: std::io::Error| {
            let what = "a file for compose cannot be written";
            BackendError::new(BackendErrorKind::Failed, what)
                .because(e)
                .untouched()
        };
        let mut file = tempfile::Builder::new()
            .prefix("rollback-compose-")
            .suffix(".yml")
            .tempfile()
            .map_err(cannot)?;
        // What is JSON is YAML, too.
        let text = self.nobody(missing).to_string().replace('$', "$$");
        file.write_all(text.as_bytes()).map_err(cannot)?;
        let path = file.path().display().to_string();
        let none = format!("{NOBODY}=0");
        let mut args = vec!["up", "--no-start", "--no-deps", "--scale", &none];
        if self.compose.tool.generation == Generation::Second {
            args.extend(["--pull", "never"]);
        }
        args.push(NOBODY);
        self.compose.ask(cx, Some(&path), &args).await.map(drop)
    }
}
