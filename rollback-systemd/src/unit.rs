//! One unit's files: what is in place, what can be put there. All of it blocks.

use std::collections::BTreeMap;

use rollback_core::backend::{End, Handle, Instance, Operation, Reuse};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::release::{Artifact, Facet, FacetValue, Release};

use crate::config::SystemdConfig;
use crate::error::file_error;
use crate::key::unkeyed;
use crate::record::{Installed, Shelved};
use crate::release::release;
use crate::search::{self, DropIns, Found, Fragment};
use crate::shelf::{Format, Shelf};

/// The facet that says whether it is enabled, where that is not as it was made.
pub(crate) const ENABLEMENT: &str = "enablement";

/// The facet that names the drop-ins, where they are not those that were accepted.
const DROP_INS: &str = "drop-ins";

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
    pub(crate) fragment: Fragment,
    /// Whether its file is another one than was put there.
    edited: bool,
    /// Drop-ins that belong to it.
    accepted: BTreeMap<String, String>,
}

/// What `prepare` made ready.
pub(crate) struct Ready {
    pub(crate) to: Instance,
    pub(crate) content: Vec<u8>,
}

impl Unit {
    /// What is in place. `enablement` is the manager's word for it.
    pub(crate) fn in_place(&self, enablement: &str) -> Result<Option<InPlace>, BackendError> {
        let fragment = match search::find(&self.config)? {
            Found::Nothing => return Ok(None),
            Found::Masked(path) => {
                return Err(BackendError::new(Kind::Unsupported, "the unit is masked")
                    .on(path.display())
                    .advice("unmask it first"));
            }
            Found::Fragment(fragment) => fragment,
        };
        let drop_ins = DropIns::find(&self.config)?;
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
            fragment,
            edited: false,
            accepted: drop_ins.recorded(&self.shelf.key()?),
        }))
    }

    fn ours(
        &self,
        fragment: Fragment,
        drop_ins: &DropIns,
        enablement: &str,
        installed: Installed,
        shelved: Shelved,
    ) -> Result<InPlace, BackendError> {
        let key = self.shelf.key()?;
        let recorded = shelved.release;
        let edited = !key.made(&recorded.artifact().digest, &fragment.content);
        let mut seen = if edited {
            self.describe("changed by hand", &fragment.content)?
        } else {
            recorded
        };
        if !drop_ins.are(&installed.drop_ins, &key) {
            let rows = table(drop_ins.recorded(&key), FacetValue::Fingerprint);
            seen = seen.with_facet(DROP_INS, rows);
        }
        if let Some(before) = &installed.enablement
            && before != enablement
        {
            let state = FacetValue::Plain(enablement.to_owned());
            let state = BTreeMap::from([("state".to_owned(), state)]);
            seen = seen.with_facet(ENABLEMENT, Facet::Table(state));
        }
        Ok(InPlace {
            instance: Instance::new(seen, installed.handle.clone()),
            accepted: installed.drop_ins.clone(),
            installed: Some(installed),
            fragment,
            edited,
        })
    }

    /// A unit that somebody else made.
    fn found(&self, fragment: &Fragment, drop_ins: &DropIns) -> Result<Instance, BackendError> {
        let key = self.shelf.key()?;
        let path = search::below_root(&self.config, &fragment.path);
        // What was found before keeps its name, whichever version found it.
        for (instance, shelved) in self.shelf.all()? {
            let same = shelved.by.is_none()
                && !shelved.edited
                && shelved.found_at.as_ref() == Some(&path)
                && shelved.link == fragment.link
                && key.made(&instance.release.artifact().digest, &fragment.content)
                && drop_ins.are(
                    &recorded_drop_ins(&instance.release).unwrap_or_default(),
                    &key,
                );
            if same {
                return Ok(instance);
            }
        }
        let shown = path.display().to_string();
        let mut made = self.describe(&shown, &fragment.content)?;
        let before = self.shelf.format()? == Format::Unkeyed;
        let facet = if before {
            made = as_before(&made, &fragment.content);
            table(drop_ins.unkeyed(), FacetValue::Plain)
        } else {
            table(drop_ins.recorded(&key), FacetValue::Fingerprint)
        };
        if !drop_ins.is_empty() {
            made = made.with_facet(DROP_INS, facet);
        }
        let name = format!("{shown}\0{}", made.digest());
        let name = if before {
            unkeyed(name.as_bytes())
        } else {
            key.digest(name.as_bytes())
        };
        Ok(Instance::new(made, named("found", &name)))
    }

    /// The release of a content, by whatever name.
    pub(crate) fn describe(
        &self,
        reference: &str,
        content: &[u8],
    ) -> Result<Release, BackendError> {
        let key = self.shelf.key()?;
        Ok(release(reference, content, &key, &self.config.plain_env))
    }

    /// Shelves what is in place, so that it can be put back exactly.
    fn capture(&self, op: &Operation, enablement: &str) -> Result<(), BackendError> {
        let Some(place) = self.in_place(enablement)? else {
            return Ok(());
        };
        let fragment = &place.fragment;
        self.shelf
            .keep_content(&place.instance.release, &fragment.content)?;
        if place.installed.is_some() && !place.edited {
            return Ok(());
        }
        let key = self.shelf.key()?;
        let planned = op.from.instance().filter(|from| {
            place.installed.is_none()
                && key.made(&from.release.artifact().digest, &fragment.content)
        });
        let (handle, release) = match planned {
            // By the name that the plan has for it, also if a drop-in came meanwhile.
            Some(from) => (from.handle.clone(), from.release.clone()),
            // What a person made of ours is kept as well when it is not gone back to: nobody
            // else has it.
            None if place.edited => {
                let release = place.instance.release;
                (named("edited", &release.artifact().digest), release)
            }
            None => (place.instance.handle, place.instance.release),
        };
        let shelved = Shelved {
            release,
            by: None,
            found_at: Some(search::below_root(&self.config, &fragment.path)),
            link: fragment.link.clone(),
            enablement: Some(enablement.to_owned()),
            was_live: true,
            drop_ins: Some(place.accepted),
            edited: place.edited,
            loaded: None,
        };
        self.shelf.put(&handle, &shelved)
    }

    /// Everything of `prepare` that the manager is not needed for.
    pub(crate) fn prepare(
        &self,
        cx: &Context,
        op: &Operation,
        enablement: &str,
    ) -> Result<Ready, BackendError> {
        self.writable()?;
        let _held = self.shelf.hold(cx)?;
        self.sweep()?;
        cx.check()?;
        let accepted = self.accepted(op, enablement)?;
        self.capture(op, enablement)?;
        // What was found by an earlier version is on the shelf by the name that it has on record.
        self.shelf.set_keyed()?;
        cx.check()?;
        let wanted = op.to.release().ok_or_else(|| {
            BackendError::new(Kind::InvalidReference, "there is nothing to prepare")
        })?;
        let content = self.content(wanted)?;
        let kept = match &op.to {
            End::Placed(instance)
                if op.reuse == Reuse::Kept
                    || instance.handle.as_str() == op.deployment.as_str() =>
            {
                let shelved = self.shelf.get(&instance.handle)?;
                shelved.map(|shelved| (instance.clone(), shelved))
            }
            _ => None,
        };
        self.shelf.keep_content(wanted, &content)?;
        cx.check()?;
        let (to, mut shelved) = match kept {
            Some(kept) => kept,
            None => {
                let to = Instance::new(wanted.clone(), Handle::new(op.deployment.as_str()));
                let shelved = match self.shelf.get(&to.handle)? {
                    Some(shelved) => shelved,
                    None => Shelved::made(wanted.clone(), op.deployment.clone()),
                };
                (to, shelved)
            }
        };
        shelved.drop_ins = Some(accepted);
        self.shelf.put(&to.handle, &shelved)?;
        Ok(Ready { to, content })
    }

    /// The drop-ins that somebody accepted by this operation: those that were there when it was
    /// planned. Later ones stay drift.
    fn accepted(
        &self,
        op: &Operation,
        enablement: &str,
    ) -> Result<BTreeMap<String, String>, BackendError> {
        if let Some(planned) = op.from.release().and_then(recorded_drop_ins) {
            return Ok(planned);
        }
        match (&op.from, self.in_place(enablement)?) {
            // They were those that belong to it, or the plan would have shown others.
            (End::Placed(_), Some(place)) if place.installed.is_some() => Ok(place.accepted),
            // It was found with none.
            (End::Placed(_), Some(_)) => Ok(BTreeMap::new()),
            _ => Ok(DropIns::find(&self.config)?.recorded(&self.shelf.key()?)),
        }
    }

    /// Refuses before anything is changed what would fail after it.
    fn writable(&self) -> Result<(), BackendError> {
        if let Some(hiding) = search::hides_ours(&self.config) {
            return Err(BackendError::new(
                Kind::Unsupported,
                "the manager would load another file instead of ours",
            )
            .on(hiding.display())
            .advice("remove it first"));
        }
        let own = search::own_path(&self.config);
        let dir = own.parent().unwrap_or(&own);
        rustix::fs::access(dir, rustix::fs::Access::WRITE_OK)
            .map_err(|e| file_error("units cannot be written here", dir, e.into()))
    }
}

/// The same release by the digest that an earlier version gave it.
pub(crate) fn as_before(made: &Release, content: &[u8]) -> Release {
    let artifact = Artifact::new(made.artifact().reference.clone(), unkeyed(content));
    let bare = Release::new(made.backend().clone(), artifact);
    let facets = made.facets().iter();
    facets.fold(bare, |r, (name, facet)| {
        r.with_facet(name.clone(), facet.clone())
    })
}

/// A handle by what it stands for.
pub(crate) fn named(kind: &str, digest: &str) -> Handle {
    let digits = digest.rsplit(':').next().unwrap_or(digest);
    Handle::new(format!("{kind}-{}", &digits[..digits.len().min(24)]))
}

/// The drop-ins that a release says it was seen with, if it says so.
fn recorded_drop_ins(release: &Release) -> Option<BTreeMap<String, String>> {
    let Facet::Table(rows) = release.facets().get(DROP_INS)? else {
        return None;
    };
    let row = |(path, value): (&String, &FacetValue)| match value {
        FacetValue::Plain(v) | FacetValue::Fingerprint(v) => Some((path.clone(), v.clone())),
        _ => None,
    };
    Some(rows.iter().filter_map(row).collect())
}

fn table(rows: BTreeMap<String, String>, value: fn(String) -> FacetValue) -> Facet {
    Facet::Table(rows.into_iter().map(|(k, v)| (k, value(v))).collect())
}
