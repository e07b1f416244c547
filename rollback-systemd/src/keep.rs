//! What is kept on the shelf, and what goes. All of it blocks.

use std::fs;
use std::path::{Path, PathBuf};

use rollback_core::backend::{Availability, End, Instance};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, Chain};
use rollback_core::id::DeploymentId;

use crate::error::file_error;
use crate::files;
use crate::record::Shelved;
use crate::release::MAX_UNIT;
use crate::search;
use crate::unit::{Unit, named};

impl Unit {
    /// How near a candidate is.
    pub(crate) fn availability(&self, end: &End) -> Result<Availability, BackendError> {
        let Some(wanted) = end.release() else {
            return Ok(Availability::Local);
        };
        let stands = match end.instance() {
            Some(instance) => self.shelf.get(&instance.handle)?.is_some(),
            None => false,
        };
        let here = self.shelf.content(wanted)?.is_some();
        Ok(match (stands && here, self.content(wanted)) {
            (true, _) => Availability::Standby,
            (false, Ok(_)) => Availability::Local,
            (false, Err(_)) => {
                Availability::Gone("its content is not on the shelf any more".into())
            }
        })
    }

    /// Removes what this deployment shelved and never made live.
    pub(crate) fn discard(&self, cx: &Context, by: &DeploymentId) -> Result<(), BackendError> {
        let _held = self.shelf.hold(cx)?;
        let installed = self.shelf.installed()?.map(|i| i.handle);
        for (instance, shelved) in self.shelf.all()? {
            let ours = shelved.by.as_ref() == Some(by);
            if ours && !shelved.was_live && Some(&instance.handle) != installed.as_ref() {
                // Forward, `to` is ours and live; only a way back finds one that never was.
                self.shelf.drop_instance(&instance.handle)?;
                cx.check()?;
            }
        }
        Ok(())
    }

    /// Keeps the unit's own file, which is about to be overwritten or removed, unless the shelf has
    /// it: a person may have made it since the deployment was prepared. What cannot be shelved gets
    /// another name. Under the lock.
    pub(crate) fn keep_unknown(&self) -> Result<(), BackendError> {
        let own = search::own_path(&self.config);
        if own.symlink_metadata().is_err() {
            return Ok(());
        }
        let Err(error) = self.shelve_unknown(&own) else {
            return Ok(());
        };
        // What was put aside before is kept, too.
        let names = (1..).map(|n| own.with_extension(format!("service.by-hand-{n}")));
        let mut free = names.filter(|name: &PathBuf| name.symlink_metadata().is_err());
        let Some(aside) = free.next() else {
            return Err(error);
        };
        tracing::warn!(unit = %own.display(), aside = %aside.display(), error = %Chain::of(&error), "it is put aside");
        fs::rename(&own, &aside).map_err(|e| file_error("the unit cannot be put aside", &own, e))
    }

    fn shelve_unknown(&self, own: &Path) -> Result<(), BackendError> {
        let link = fs::read_link(own).ok();
        // A mask.
        if link.as_deref() == Some(Path::new("/dev/null")) {
            return Ok(());
        }
        // A link that leads nowhere says nothing.
        let Some(content) = files::read(own)? else {
            return Ok(());
        };
        if content.len() > MAX_UNIT {
            return Err(search::too_large(own));
        }
        let key = self.shelf.key()?;
        let has = |(instance, _): &(Instance, Shelved)| {
            key.made(&instance.release.artifact().digest, &content)
        };
        if content.is_empty() || self.shelf.all()?.iter().any(has) {
            return Ok(());
        }
        let release = self.describe("changed by hand", &content)?;
        self.shelf.keep_content(&release, &content)?;
        let handle = named("edited", &release.artifact().digest);
        let shelved = Shelved {
            release,
            by: None,
            found_at: Some(search::below_root(&self.config, own)),
            link,
            enablement: None,
            was_live: false,
            drop_ins: None,
            edited: true,
            loaded: None,
        };
        self.shelf.put(&handle, &shelved)
    }

    /// Removes from the shelf what is neither in the window nor in place, and what killed
    /// processes left.
    pub(crate) fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let _held = self.shelf.hold(cx)?;
        self.sweep()?;
        let installed = self.shelf.installed()?.map(|i| i.handle);
        for (instance, shelved) in self.shelf.all()? {
            let kept = shelved.edited
                || Some(&instance.handle) == installed.as_ref()
                || window.iter().any(|w| w.handle == instance.handle);
            if !kept {
                self.shelf.drop_instance(&instance.handle)?;
                cx.check()?;
            }
        }
        self.shelf.forget_edited()?;
        self.shelf.sweep_contents()
    }

    /// Removes what killed processes left half-written. The lock is held.
    pub(crate) fn sweep(&self) -> Result<(), BackendError> {
        self.shelf.sweep()?;
        let own = search::own_path(&self.config);
        let Some(dir) = own.parent() else {
            return Ok(());
        };
        let (unit, copies) = (self.config.unit.as_str(), self.copies()?);
        files::sweep(dir, |name| {
            files::temporary_of(name) == Some(unit) || name.starts_with(&copies)
        })
    }
}
