//! A container made anew in place of another one: the same image, release, handle and volumes. It is
//! not started. dockerd gives it a new id; the label `rollback.handle` says whose place it takes.

use std::sync::Arc;

use bollard::models::HostConfig;
use rollback_core::backend::Handle;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::Release;

use crate::backend::DockerBackend;
use crate::body::Blueprint;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::live_labels::Wear;
use crate::marks::Marks;
use crate::settings;
use crate::summary::Summary;

/// What is made anew.
#[derive(Debug)]
pub(crate) struct Anew<'a> {
    /// In whose place.
    pub(crate) old: &'a Arc<Container>,
    /// The name of the new one.
    pub(crate) name: &'a str,
    /// What is written on it. Whose handle it has follows from the old one.
    pub(crate) marks: Marks,
    /// What it wears, where there is anything to wear.
    pub(crate) wear: Option<Wear>,
}

impl DockerBackend {
    pub(crate) async fn make_anew(
        &self,
        cx: &Context,
        client: &Client,
        anew: Anew<'_>,
    ) -> Result<Container, BackendError> {
        let Anew {
            old,
            name,
            mut marks,
            wear,
        } = anew;
        let release = marks.release.clone();
        let mut made = self.blueprint_anew(old, &release).await?;
        marks.wears = wear.and_then(|wear| wear.put(&mut made.body));
        marks.stands_for = Some(old.summary.handle().as_str().to_owned());
        cx.check()?;
        let make = self.make(client, name, &old.summary.image, marks, made);
        let new = Box::pin(make).await?;
        self.join_networks(cx, client, &new, &release).await?;
        Ok(new)
    }

    /// What a container in place of another is made of.
    ///
    /// # Errors
    ///
    /// Why there can be none: a volume that cannot be mounted again, a value that nobody has.
    pub(crate) async fn blueprint_anew(
        &self,
        old: &Arc<Container>,
        release: &Release,
    ) -> Result<Blueprint, BackendError> {
        let kept = [Arc::clone(old)];
        let mut made = self.blueprint(&without_volumes(release), &kept).await?;
        let host = made.body.host_config.get_or_insert_default();
        let unnamed = anonymous_volumes(host, old)?;
        let binds = host.binds.get_or_insert_default();
        binds.extend(unnamed);
        for bind in binds.iter_mut().filter(|b| !b.starts_with('/')) {
            without_copying(bind);
        }
        Ok(made)
    }

    /// Removes what remakings of this handle have left.
    pub(crate) async fn sweep(&self, client: &Client, handle: &Handle) -> Result<(), BackendError> {
        let inventory = Inventory::take(client).await?;
        let same = |c: &&Summary| c.handle() == *handle && !c.is_up();
        for container in inventory.ours().iter().filter(same) {
            if inventory.is_leftover(container) {
                client.drop_leftover(container).await;
            }
        }
        Ok(())
    }
}

/// A release without its volumes that have no name of ours: they are mounted by the names that they have
/// by now.
fn without_volumes(release: &Release) -> Release {
    let mut table = settings::table(release, settings::CONTAINER);
    table.retain(|row, _| settings::kind(row) != "volume");
    settings::with_table(release, settings::CONTAINER, table)
}

/// The same volume, and nothing copied into it: docker would copy the image's files into one that the
/// service has emptied.
fn without_copying(bind: &mut String) {
    let mode = bind.splitn(3, ':').nth(2);
    let (between, said) = match mode {
        Some(mode) => (',', mode.split(',').any(|one| one == "nocopy")),
        None => (':', false),
    };
    // docker takes no option twice.
    if !said {
        bind.push(between);
        bind.push_str("nocopy");
    }
}

/// The volumes that dockerd made without a name of ours, each to be mounted by its own where it
/// was. What is mounted there already has a name, in whichever of dockerd's two forms it was asked for.
fn anonymous_volumes(host: &HostConfig, old: &Container) -> Result<Vec<String>, BackendError> {
    let binds = host.binds.iter().flatten();
    let binds = binds.filter_map(|bind| bind.split(':').nth(1));
    let mounts = host.mounts.iter().flatten();
    let mounts = mounts.filter_map(|mount| mount.target.as_deref());
    let all = binds.chain(mounts);
    let recorded: Vec<&str> = all.map(|target| target.trim_end_matches('/')).collect();
    let mut out = Vec::new();
    for mount in old.inspect.mounts.iter().flatten() {
        let at = mount.destination.clone().unwrap_or_default();
        if mount.typ.as_deref() != Some("volume") || recorded.contains(&at.trim_end_matches('/')) {
            continue;
        }
        let name = mount.name.clone().filter(|n| !n.is_empty());
        let Some(name) = name.filter(|_| !at.is_empty() && !at.contains(':')) else {
            return Err(BackendError::new(
                Kind::Unsupported,
                "the container has a volume that cannot be mounted again, and its data would be \
                 lost to the new one",
            )
            .on(format!("{at} in {}", old.summary.name))
            .advice("restart it instead, or deploy with a named volume there"));
        };
        out.push(format!("{name}:{at}"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_nothing_is_copied_into_already_is_not_told_so_twice() {
        for (bind, anew) in [
            ("data:/data", "data:/data:nocopy"),
            ("data:/data:ro", "data:/data:ro,nocopy"),
            ("data:/data:nocopy", "data:/data:nocopy"),
            ("data:/data:ro,nocopy", "data:/data:ro,nocopy"),
        ] {
            let mut made = bind.to_owned();
            without_copying(&mut made);
            assert_eq!(made, anew);
        }
    }
}
