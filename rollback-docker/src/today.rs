//! What the program has configured now, for an artifact; and what a reference means.

use rollback_core::backend::Backend;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::{Artifact, FacetValue, Release};

use crate::backend::{DockerBackend, digests, image_id};
use crate::choices::PullPolicy;
use crate::client::Client;
use crate::fingerprint::Key;
use crate::reference::Reference;
use crate::settings::{
    BY_HAND, CONTAINER, ENV, Table, container_table, env_table, kind, table, with_table,
};

/// What a reference means, and what a person should know of how that was found.
struct Meaning {
    digest: String,
    note: Option<String>,
}

impl DockerBackend {
    /// The release of a reference with today's configuration.
    pub(crate) async fn resolve_reference(
        &self,
        cx: &Context,
        reference: &str,
    ) -> Result<Release, BackendError> {
        let parsed = Reference::parse(reference)?;
        let client = &self.client().await?;
        let meaning = self.meaning(cx, client, parsed).await?;
        cx.check()?;
        let live = match client.inspect(&self.config.container).await? {
            Some(live) => Some(match &live.summary.ours {
                Some(marks) => marks.release.clone(),
                None => self.seen(client, &live, live.restart()).await?,
            }),
            None => None,
        };
        let artifact = Artifact::new(reference, meaning.digest);
        let artifact = match meaning.note {
            Some(note) => artifact.noting(note),
            None => artifact,
        };
        let bare = Release::new(self.kind(), artifact);
        Ok(self.today(&bare, live.as_ref(), &self.key().await?))
    }

    /// An artifact with today's configuration. What the program has configured is as it says; what
    /// it says nothing about is as it was found on a container that was made by hand, for as long
    /// as that lasts.
    pub(crate) fn today(&self, bare: &Release, live: Option<&Release>, key: &Key) -> Release {
        let config = &self.config;
        let mut rows = container_table(key, &config.rows);
        let env = config.env.iter();
        let mut env = env_table(key, env.map(|(name, v)| (name.as_str(), v.0.as_str())));
        let mut by_hand = Table::new();
        if let Some(live) = live.filter(|_| !config.is_complete) {
            let (live_rows, live_env) = (table(live, CONTAINER), table(live, ENV));
            // What it was called and which address it had elsewhere means nothing here.
            let moved = config.says("network") && live_rows.get("network") != rows.get("network");
            for (row, mark) in table(live, BY_HAND) {
                let (to, name, about, from) = match row.strip_prefix("env:") {
                    Some(name) => (&mut env, name, ENV, &live_env),
                    None => (&mut rows, row.as_str(), kind(&row), &live_rows),
                };
                let left = moved && matches!(about, "alias" | "endpoint" | "mac");
                if config.says(about) || left {
                    continue;
                }
                if let Some(value) = from.get(name) {
                    to.insert(name.to_owned(), FacetValue::clone(value));
                    by_hand.insert(row, mark);
                }
            }
        }
        let release = with_table(bare, CONTAINER, rows);
        with_table(&with_table(&release, ENV, env), BY_HAND, by_hand)
    }

    async fn meaning(
        &self,
        cx: &Context,
        client: &Client,
        reference: Reference,
    ) -> Result<Meaning, BackendError> {
        let meant = |digest| Meaning { digest, note: None };
        let (repository, tag) = match reference {
            Reference::Id(id) => {
                return match client.image(&id).await? {
                    Some(image) => image_id(&image).map(meant),
                    None => Err(not_here(&id)
                        .advice("an image id is known to one daemon only: load the image first")),
                };
            }
            Reference::Digest { repository, digest } => {
                let name = format!("{repository}@{digest}");
                if client.image(&name).await?.is_none() {
                    self.may_ask(&name)?;
                    client.remote(cx, &name).await?;
                }
                return Ok(meant(name));
            }
            Reference::Tag { repository, tag } => (repository, tag),
        };
        let name = format!("{repository}:{tag}");
        let here = match self.config.pull {
            PullPolicy::Always => None,
            PullPolicy::IfMissing | PullPolicy::Never => client.image(&name).await?,
        };
        let Some(image) = here else {
            self.may_ask(&name)?;
            let digest = client.remote(cx, &name).await?;
            return Ok(meant(format!("{repository}@{digest}")));
        };
        let prefix = format!("{repository}@");
        let digest = match digests(&image).find(|d| d.starts_with(&prefix)) {
            Some(digest) => digest.to_owned(),
            None => image_id(&image)?,
        };
        let note = format!(
            "{name} is what this daemon has by that name; by the pull policy no registry was asked"
        );
        Ok(Meaning {
            digest,
            note: Some(note),
        })
    }

    /// Fails where the registry is never to be asked.
    pub(crate) fn may_ask(&self, name: &str) -> Result<(), BackendError> {
        match self.config.pull {
            PullPolicy::Always | PullPolicy::IfMissing => Ok(()),
            PullPolicy::Never => Err(not_here(name)
                .advice("build or load it here, or use another pull policy than Never")),
        }
    }
}

fn not_here(name: &str) -> BackendError {
    BackendError::new(BackendErrorKind::NotFound, "no such image here").on(name)
}
