//! One unit's files: what is in place, what can be put there. All of it blocks.

use std::collections::BTreeMap;

use rollback_core::backend::{Availability, End, Handle, Instance, Operation, Reuse, WayBack};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::id::DeploymentId;
use rollback_core::release::{Facet, FacetValue, Release};

use crate::config::SystemdConfig;
use crate::error::file_error;
use crate::files::{self, Found, Fragment};
use crate::release::{check_unit, release, sha256};
use crate::shelf::{Installed, Shelf, Shelved};

/// The unit's files in the search path, and its releases on the shelf.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) config: SystemdConfig,
    pub(crate) shelf: Shelf,
}

/// What is in place, by file and by record.
pub(crate) struct InPlace {
    /// What the record says, with the differences that the files show.
    pub(crate) instance: Instance,
    /// The record; `None`: somebody else made it.
    pub(crate) installed: Option<Installed>,
    pub(crate) way_back: WayBack,
    fragment: Fragment,
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
    /// What is in place. `enablement` is the manager's word for it.
    pub(crate) fn in_place(&self, enablement: &str) -> Result<Option<InPlace>, BackendError> {
        let fragment = match files::find(&self.config)? {
            Found::Nothing => return Ok(None),
            Found::Masked(path) => {
                return Err(BackendError::new(Kind::Unsupported, "the unit is masked")
                    .on(path.display())
                    .advice("unmask it first"));
            }
            Found::Fragment(fragment) => fragment,
        };
        let drop_ins = files::drop_ins(&self.config)?;
        if let Some(installed) = self.shelf.installed()?
            && let Some(shelved) = self.shelf.get(&installed.handle)?
        {
            return self
                .ours(fragment, &drop_ins, enablement, installed, shelved)
                .map(Some);
        }
        Ok(Some(InPlace {
            instance: self.found(&fragment, &drop_ins)?,
            installed: None,
            way_back: WayBack::Exact,
            fragment,
        }))
    }

    fn ours(
        &self,
        fragment: Fragment,
        drop_ins: &BTreeMap<String, String>,
        enablement: &str,
        installed: Installed,
        shelved: Shelved,
    ) -> Result<InPlace, BackendError> {
        let recorded = shelved.release;
        let mut seen = recorded.clone();
        let changed = digest(&fragment.content) != recorded.artifact().digest;
        if changed {
            seen = release("changed by hand", &fragment.content, &self.shelf.key()?);
        }
        if *drop_ins != installed.drop_ins {
            seen = seen.with_facet("drop-ins", table(drop_ins));
        }
        if let Some(before) = &installed.enablement
            && before != enablement
        {
            let state = BTreeMap::from([("state".to_owned(), enablement.to_owned())]);
            seen = seen.with_facet("enablement", table(&state));
        }
        let way_back = if !changed {
            WayBack::Exact
        } else if self.shelf.content(&recorded)?.is_some() {
            WayBack::Lossy(vec!["what was changed in the unit by hand".to_owned()])
        } else {
            WayBack::None("the unit was changed, and what it was is not on the shelf".to_owned())
        };
        Ok(InPlace {
            instance: Instance {
                release: seen,
                handle: installed.handle.clone(),
            },
            installed: Some(installed),
            way_back,
            fragment,
        })
    }

    /// A unit that somebody else made.
    fn found(
        &self,
        fragment: &Fragment,
        drop_ins: &BTreeMap<String, String>,
    ) -> Result<Instance, BackendError> {
        let shown = files::below_root(&self.config, &fragment.path);
        let shown = shown.display().to_string();
        let mut made = release(&shown, &fragment.content, &self.shelf.key()?);
        if !drop_ins.is_empty() {
            made = made.with_facet("drop-ins", table(drop_ins));
        }
        let name = sha256(format!("{shown}\0{}", made.digest()).as_bytes());
        Ok(Instance {
            release: made,
            handle: Handle::new(format!("found-{}", &name[..24])),
        })
    }

    /// Shelves what is in place, so that it can be put back. Says how well.
    fn capture(&self, enablement: &str) -> Result<WayBack, BackendError> {
        let Some(place) = self.in_place(enablement)? else {
            return Ok(WayBack::Exact);
        };
        let InPlace {
            instance, fragment, ..
        } = place;
        if place.way_back == WayBack::Exact {
            self.shelf
                .keep_content(&instance.release, &fragment.content)?;
        }
        if place.installed.is_none() {
            let shelved = Shelved {
                release: instance.release.clone(),
                by: None,
                found_at: Some(files::below_root(&self.config, &fragment.path)),
                link: fragment.link,
                enablement: Some(enablement.to_owned()),
                was_live: true,
            };
            self.shelf.put(&instance.handle, &shelved)?;
        }
        Ok(place.way_back)
    }

    /// Everything of `prepare` that the manager is not needed for.
    pub(crate) fn prepare(
        &self,
        cx: &Context,
        op: &Operation,
        enablement: &str,
    ) -> Result<(Instance, WayBack), BackendError> {
        self.writable()?;
        cx.check()?;
        let way_back = self.capture(enablement)?;
        cx.check()?;
        let wanted = op.to.release().ok_or_else(|| {
            BackendError::new(Kind::InvalidReference, "there is nothing to prepare")
        })?;
        let content = self.content(wanted)?;
        let to = match &op.to {
            End::Placed(instance)
                if (op.reuse == Reuse::Kept
                    || instance.handle.as_str() == op.deployment.as_str())
                    && self.shelf.get(&instance.handle)?.is_some() =>
            {
                instance.clone()
            }
            _ => Instance {
                release: wanted.clone(),
                handle: Handle::new(op.deployment.as_str()),
            },
        };
        self.shelf.keep_content(wanted, &content)?;
        cx.check()?;
        if self.shelf.get(&to.handle)?.is_none() {
            let shelved = Shelved {
                release: wanted.clone(),
                by: Some(op.deployment.clone()),
                found_at: None,
                link: None,
                enablement: None,
                was_live: false,
            };
            self.shelf.put(&to.handle, &shelved)?;
        }
        Ok((to, way_back))
    }

    /// Refuses before anything is changed what would fail after it.
    fn writable(&self) -> Result<(), BackendError> {
        if let Some(hiding) = files::hides_ours(&self.config) {
            return Err(BackendError::new(
                Kind::Unsupported,
                "the manager would load another file instead of ours",
            )
            .on(hiding.display())
            .advice("remove it first"));
        }
        let own = files::own_path(&self.config);
        let dir = own.parent().unwrap_or(&own);
        rustix::fs::access(dir, rustix::fs::Access::WRITE_OK)
            .map_err(|e| file_error("units cannot be written here", dir, e.into()))
    }

    /// Puts an instance's file in place, the record of it first: from then on it is ours to
    /// finish. The restart's evidence is still missing in what is returned.
    pub(crate) fn place(
        &self,
        cx: &Context,
        by: &DeploymentId,
        to: &Instance,
    ) -> Result<(Placed, Shelved, Installed), BackendError> {
        let gone = || BackendError::new(Kind::Gone, "this instance is not on the shelf");
        let ready = || {
            let shelved = self.shelf.get(&to.handle)?;
            let shelved = shelved.ok_or_else(|| gone().on(&to.handle))?;
            Ok((shelved, self.content(&to.release)?))
        };
        let (mut shelved, content) = ready().map_err(BackendError::untouched)?;
        cx.check()?;
        shelved.was_live = true;
        self.shelf.put(&to.handle, &shelved)?;
        cx.check()?;
        let installed = Installed {
            handle: to.handle.clone(),
            by: by.clone(),
            invocation: None,
            drop_ins: files::drop_ins(&self.config)?,
            enablement: None,
        };
        self.shelf.set_installed(Some(&installed))?;
        cx.check()?;
        let placed = self.put(&shelved, &content)?;
        Ok((placed, shelved, installed))
    }

    fn put(&self, shelved: &Shelved, content: &[u8]) -> Result<Placed, BackendError> {
        let own = files::own_path(&self.config);
        let still = |path: &std::path::Path| {
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

    /// The content of a release that is to be placed: shelved, or read once more from its source
    /// if that is unchanged.
    fn content(&self, wanted: &Release) -> Result<Vec<u8>, BackendError> {
        if let Some(content) = self.shelf.content(wanted)? {
            return Ok(content);
        }
        let reference = &wanted.artifact().reference;
        let content = self.read_source(reference).ok();
        content
            .filter(|c| digest(c) == wanted.artifact().digest)
            .ok_or_else(|| {
                BackendError::new(
                    Kind::Gone,
                    "the unit's content is not on the shelf any more",
                )
                .on(wanted)
                .advice("deploy a unit file that exists")
            })
    }

    /// Reads and checks what a reference names.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Release, BackendError> {
        let content = self.read_source(reference)?;
        check_unit(reference, &content)?;
        Ok(release(reference, &content, &self.shelf.key()?))
    }

    fn read_source(&self, reference: &str) -> Result<Vec<u8>, BackendError> {
        let invalid = |why: &str| {
            BackendError::new(
                Kind::InvalidReference,
                format!("this is no unit file's name: {why}"),
            )
            .on(reference.chars().take(80).collect::<String>())
            .advice("name a file in the sources directory")
        };
        if reference.trim().is_empty() || reference.len() > 255 {
            return Err(invalid("it is empty or too long"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        if !reference.chars().all(plain) || reference.starts_with(['.', '-']) {
            return Err(invalid("use ASCII letters, digits, '.', '_', '@' and '-'"));
        }
        let path = self.config.sources.join(reference);
        files::read(&path)?.ok_or_else(|| {
            BackendError::new(Kind::NotFound, "no such unit file")
                .on(path.display())
                .advice("check the name, or put the file there first")
        })
    }

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

    /// Removes from the shelf what is neither in the window nor in place.
    pub(crate) fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let installed = self.shelf.installed()?.map(|i| i.handle);
        for (instance, _) in self.shelf.all()? {
            let kept = Some(&instance.handle) == installed.as_ref()
                || window.iter().any(|w| w.handle == instance.handle);
            if !kept {
                self.shelf.drop_instance(&instance.handle)?;
                cx.check()?;
            }
        }
        self.shelf.sweep_contents()
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", sha256(content))
}

fn table(rows: &BTreeMap<String, String>) -> Facet {
    let plain = |(k, v): (&String, &String)| (k.clone(), FacetValue::Plain(v.clone()));
    Facet::Table(rows.iter().map(plain).collect())
}
