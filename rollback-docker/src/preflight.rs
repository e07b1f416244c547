//! What may hinder a deployment, looked at before anything moves. Nothing here refuses: by the time that
//! it is carried out it may be otherwise.

use std::time::Duration;

use bollard::models::ImageInspect;
use rollback_core::backend::{End, Preflight};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use rollback_core::release::Release;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;
use crate::drain::Drain;
use crate::error;
use crate::inventory::Inventory;
use crate::registry_host::RegistryHost;
use crate::source::Origin;

/// From when on a person is told how long a stop may take: three times as long as docker gives one.
const LONG: Duration = Duration::from_secs(30);

impl DockerBackend {
    /// What a person should know before this release takes the place of what is live.
    pub(crate) async fn foresee(
        &self,
        cx: &Context,
        from: &End,
        to: &End,
    ) -> Result<Preflight, BackendError> {
        cx.check()?;
        let Some(release) = to.release() else {
            return Ok(Preflight::default());
        };
        let client = &self.client().await?;
        let inventory = &Inventory::with_others(client).await?;
        inventory.look_at(&[from, to]).await?;
        let live = inventory.at(from).await?;
        cx.check()?;
        let standing = self.standing(client, inventory, to, None).await?;
        let mut remarks = Vec::new();
        if standing.is_none() {
            match self.source.located(client, release).await? {
                Some(image) => remarks.extend(self.misfit(client, release, &image)?),
                None => match self.source.origin(cx, client, release).await? {
                    Origin::Nowhere(why) => remarks.push(why),
                    Origin::Copy => remarks.extend(no_room(client, live.as_deref()).await?),
                    Origin::Registry => {
                        remarks.extend(refused(cx, client, release).await?);
                        remarks.extend(no_room(client, live.as_deref()).await?);
                    }
                },
            }
        }
        cx.check()?;
        if self.is_beside() {
            remarks.extend(
                self.no_place_beside(client, inventory, from, release, standing.as_deref())
                    .await?,
            );
            remarks.extend(self.undrained(from)?);
        }
        let is_same = |live: &Container| {
            let standing = standing.as_ref();
            standing.is_some_and(|s| s.summary.id == live.summary.id)
        };
        if !live.as_deref().is_some_and(is_same) {
            let ids = inventory.ours().iter().map(|c| c.id.as_str());
            let ours = Vec::from_iter(ids.chain(live.iter().map(|c| c.summary.id.as_str())));
            remarks.extend(
                self.ports_taken(client, inventory, release, live.as_deref(), &ours)
                    .await?,
            );
            if let Some(live) = &live {
                remarks.extend(self.slow_stop(live));
                remarks.extend(self.foretold_dependents(client, inventory, live).await);
            }
        }
        let all = remarks.into_iter();
        Ok(all.fold(Preflight::default(), Preflight::remark))
    }

    /// Why a successor cannot run beside what is live.
    async fn no_place_beside(
        &self,
        client: &Client,
        inventory: &Inventory<'_>,
        from: &End,
        release: &Release,
        standing: Option<&Container>,
    ) -> Result<Option<String>, BackendError> {
        let asked = match standing {
            Some(standing) => self.refuse_beside(client, inventory, from, standing).await,
            None => match self.blueprint_from(release, inventory, from).await {
                Ok(mut made) => self.set_beside(client, inventory, from, &mut made).await,
                Err(e) => Err(e),
            },
        };
        match asked {
            Ok(()) => Ok(None),
            Err(e) if e.kind() == BackendErrorKind::Unsupported => Ok(Some(e.to_string())),
            // What is gone is said elsewhere.
            Err(e) if e.kind() == BackendErrorKind::Gone => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Why an image that is here is none for this engine.
    fn misfit(
        &self,
        client: &Client,
        release: &Release,
        image: &ImageInspect,
    ) -> Result<Option<String>, BackendError> {
        match self.fits(client, release, image) {
            Ok(()) => Ok(None),
            Err(e) if e.kind() == BackendErrorKind::Unsupported => Ok(Some(e.to_string())),
            Err(e) => Err(e),
        }
    }

    fn slow_stop(&self, live: &Container) -> Option<String> {
        let drained = self.config.swap.drain.as_ref();
        let drained = drained.map_or(Duration::ZERO, Drain::longest);
        let longest = drained.saturating_add(Duration::from_secs(live.stop_timeout()));
        let slow = longest >= LONG && live.summary.is_up();
        let meanwhile = match self.is_beside() {
            true => "the successor has the traffic by then",
            false => "nothing answers once it has ended what it is at",
        };
        slow.then(|| {
            format!(
                "{} may take {} s to stop; {meanwhile}",
                live.summary.name,
                longest.as_secs()
            )
        })
    }
}

/// Why a registry does not give an image that has to be fetched.
async fn refused(
    cx: &Context,
    client: &Client,
    release: &Release,
) -> Result<Option<String>, BackendError> {
    let name = &release.artifact().digest;
    let Err(e) = client.remote(cx, name).await else {
        return Ok(None);
    };
    Ok(match e.kind() {
        BackendErrorKind::Cancelled | BackendErrorKind::DeadlineExceeded => return Err(e),
        BackendErrorKind::Unauthorized => {
            let host = RegistryHost::of(name);
            let login = client.credentials.of(cx, name).await;
            Some(match login {
                Ok(Some(_)) => {
                    format!("{host} does not take the credentials that it is asked with")
                }
                _ => format!("{host} asks for credentials, and none are configured for it"),
            })
        }
        _ => Some(format!("{name} has to be fetched: {}", Chain::of(&e))),
    })
}

/// That what is fetched may not fit on the disk. How large it will be nobody says before: as large as
/// what is live, say.
async fn no_room(
    client: &Client,
    live: Option<&Container>,
) -> Result<Option<String>, BackendError> {
    let Some(live) = live else {
        return Ok(None);
    };
    let image = client.image(&live.summary.image).await?;
    let size = image.and_then(|image| u64::try_from(image.size?).ok());
    let (Some(size), Some((root, free))) = (size, client.free_space().await?) else {
        return Ok(None);
    };
    Ok(lacking(&root, free, size))
}

fn lacking(root: &str, free: u64, size: u64) -> Option<String> {
    let mb = |bytes: u64| bytes / 1_000_000;
    let (left, live) = (mb(free), mb(size));
    let text = format!("{left} MB are free in {root}, and the live image takes {live} MB");
    (free < size).then_some(text)
}

impl Client {
    /// Where the daemon keeps its data, if that is on this host, and how many bytes are free there.
    async fn free_space(&self) -> Result<Option<(String, u64)>, BackendError> {
        if !self.is_on_this_host() {
            return Ok(None);
        }
        // A proxy in front of the socket may not let it through: then it is not known.
        let info = self.docker.info().await.ok();
        let Some(root) = info.and_then(|info| info.docker_root_dir) else {
            return Ok(None);
        };
        // In a container of its own this program does not see it.
        let asked = root.clone();
        let seen = tokio::task::spawn_blocking(move || rustix::fs::statvfs(asked.as_str()));
        let seen = seen.await.map_err(|e| {
            let e = bollard::errors::Error::from(std::io::Error::other(e));
            error::docker("cannot look at the disk", &root, e)
        })?;
        Ok(seen
            .ok()
            .map(|fs| (root, fs.f_bavail.saturating_mul(fs.f_frsize))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_lacking_where_not_even_what_is_live_would_fit_once_more() {
        assert_eq!(lacking("/d", 2_000_000, 2_000_000), None);
        let told = lacking("/d", 2_000_000, 3_500_000);
        let text = "2 MB are free in /d, and the live image takes 3 MB";
        assert_eq!(told.as_deref(), Some(text));
    }
}
