//! Putting an instance's file in place, and writing down what that did. All of it blocks.

use std::path::Path;

use rollback_core::backend::Instance;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::id::DeploymentId;

use crate::files;
use crate::lock::Held;
use crate::record::{Former, Installed, Shelved};
use crate::search::{self, DropIns};
use crate::unit::Unit;

/// What was put in place.
pub(crate) struct Placing {
    pub(crate) how: Placed,
    pub(crate) shelved: Shelved,
    /// The record of it, without the restart's evidence.
    pub(crate) installed: Installed,
    /// The invocation that is of this very file already: it was never replaced.
    pub(crate) runs: Option<String>,
}

/// How a release came to be in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// As a file of ours.
    Written,
    /// As the link that it was.
    Linked,
    /// By removing what hid it.
    Uncovered,
}

impl Unit {
    /// Puts an instance's file in place, the record of it first: from then on it is ours to
    /// finish. `invocation` is what runs now.
    pub(crate) fn place(
        &self,
        cx: &Context,
        by: &DeploymentId,
        to: &Instance,
        invocation: &str,
    ) -> Result<Placing, BackendError> {
        let gone = || BackendError::new(Kind::Gone, "this instance is not on the shelf");
        let ready = || {
            let held = self.shelf.publish(cx)?;
            let shelved = self.shelf.get(&to.handle)?;
            let shelved = shelved.ok_or_else(|| gone().on(&to.handle))?;
            Ok((held, shelved, self.content(&to.release)?))
        };
        let (_held, mut shelved, content) = ready().map_err(BackendError::untouched)?;
        self.sweep()?;
        cx.check()?;
        let before = self.shelf.installed()?;
        let former = match before.as_ref().filter(|i| i.invocation.is_none()) {
            // What ran before a switch that was not finished still does, unless that had begun to
            // restart it and its invocation, which would tell, is not known.
            Some(unfinished) => unfinished
                .former
                .clone()
                .filter(|f| unfinished.before.is_none() || !f.invocation.is_empty()),
            None => self.former(invocation)?,
        };
        shelved.was_live = true;
        self.shelf.put(&to.handle, &shelved)?;
        cx.check()?;
        let drop_ins = match (&shelved.drop_ins, before) {
            (Some(accepted), _) => accepted.clone(),
            (None, Some(before)) => before.drop_ins,
            (None, None) => DropIns::find(&self.config)?.recorded(&self.shelf.key()?),
        };
        let key = self.shelf.key()?;
        let runs = former
            .as_ref()
            .filter(|f| f.handle == to.handle && key.made(&f.digest, &content))
            .map(|f| f.invocation.clone());
        let installed = Installed {
            handle: to.handle.clone(),
            by: by.clone(),
            invocation: None,
            drop_ins,
            enablement: None,
            former,
            before: None,
            restarts: None,
            boot: None,
            done: false,
        };
        self.shelf.set_installed(Some(&installed))?;
        cx.check()?;
        self.keep_unknown()?;
        cx.check()?;
        Ok(Placing {
            how: self.put(&shelved, &content)?,
            shelved,
            installed,
            runs,
        })
    }

    /// What is in place before something else is put there, and what runs.
    fn former(&self, invocation: &str) -> Result<Option<Former>, BackendError> {
        let key = self.shelf.key()?;
        Ok(self.in_place("")?.map(|place| Former {
            handle: place.instance.handle,
            digest: key.digest(&place.fragment.content),
            invocation: invocation.to_owned(),
        }))
    }

    fn put(&self, shelved: &Shelved, content: &[u8]) -> Result<Placed, BackendError> {
        let own = search::own_path(&self.config);
        let still = |path: &Path| {
            let now = files::read(path).ok().flatten();
            now.is_some_and(|now| now == content)
        };
        // A vendor's unit is shadowed, never written: to put it back, stop shadowing it; unless
        // the vendor has changed it since.
        if let Some(at) = &shelved.found_at {
            let at = self.config.root.join(at);
            if at != own && still(&at) {
                return files::remove(&own).map(|()| Placed::Uncovered);
            }
        }
        if let Some(to) = &shelved.link
            && own.parent().is_some_and(|dir| still(&dir.join(to)))
        {
            return files::link(&own, to).map(|()| Placed::Linked);
        }
        files::write(&own, content, 0o644).map(|()| Placed::Written)
    }

    /// Writes down what is in place, and how far it came; nobody else gets in between until what
    /// is returned is dropped.
    pub(crate) fn note(&self, cx: &Context, installed: &Installed) -> Result<Held, BackendError> {
        let held = self.shelf.publish(cx)?;
        self.shelf.set_installed(Some(installed))?;
        Ok(held)
    }

    /// Removes the unit's own file.
    pub(crate) fn remove(&self, cx: &Context) -> Result<(), BackendError> {
        let _held = self.shelf.publish(cx)?;
        self.sweep()?;
        self.keep_unknown()?;
        cx.check()?;
        files::remove(&search::own_path(&self.config))?;
        cx.check()
    }

    /// Writes down that nothing of ours is in place.
    pub(crate) fn note_nothing(&self, cx: &Context) -> Result<(), BackendError> {
        let _held = self.shelf.publish(cx)?;
        self.shelf.set_installed(None)
    }
}
