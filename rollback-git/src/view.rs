//! What stands at the deploy root, as it is on disk now. Changes nothing.

use std::path::{Path, PathBuf};

use rollback_core::backend::{
    Availability, End, Evidence, Handle, Instance, Live, Observation, Running, Sighting, WayBack,
};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::release::{Artifact, Facet, FacetValue, Release};

use crate::backend::Inner;
use crate::client::{self, Client};
use crate::link::Current;
use crate::release::Record;
use crate::{error, tree};

/// How the handle of a directory begins that was not made here.
const FOREIGN: &str = "foreign:";
/// Most changed paths that a sighting names.
const MAX_CHANGES: usize = 200;

/// Why a release with changes made by hand cannot be built anew.
pub(crate) const HAND_MADE: &str = "it was changed by hand, and those changes are in no commit";

impl Inner {
    pub(crate) fn observe(
        &self,
        cx: &Context,
        candidates: &[End],
    ) -> Result<Observation, BackendError> {
        cx.check()?;
        let client = Client::open(&self.config)?;
        let mut live_handle = None;
        let live = match self.link.read()? {
            Current::Solid => Live::Mixed(
                Vec::new(),
                "`current` is not a symbolic link: move it aside and link to it".into(),
            ),
            Current::Link(target) if target.is_dir() => {
                let handle = self.handle_of(&target);
                let instance = self
                    .look(&client, &handle)?
                    .ok_or_else(|| error::corrupt("the live release vanished", target.display()))?;
                live_handle = Some(handle);
                Live::One(Sighting {
                    evidence: Evidence::default().with("release", instance.handle.as_str()),
                    instance,
                    running: Running::NotApplicable,
                    way_back: WayBack::Exact,
                })
            }
            _ => Live::Nothing,
        };
        let mut standbys = Vec::new();
        for (name, record) in self.releases.records()? {
            let handle = Handle::new(&name);
            if self.releases.stands(&name)? && Some(&handle) != live_handle.as_ref() {
                let release = self.release(&record.reference, &record.commit);
                standbys.push(Instance { release, handle });
            }
        }
        let mut availability = Vec::new();
        for end in candidates {
            cx.check()?;
            availability.push(self.availability(&client, end)?);
        }
        Ok(Observation {
            live,
            standbys,
            availability,
            published: None,
        })
    }

    fn availability(&self, client: &Client, end: &End) -> Result<Availability, BackendError> {
        let Some(release) = end.release() else {
            return Ok(Availability::Standby);
        };
        if self.standing(client, end, |_| true)?.is_some() {
            return Ok(Availability::Standby);
        }
        if !release.facets().is_empty() {
            return Ok(Availability::Gone(HAND_MADE.into()));
        }
        let Some(commit) = client::commit_id(&release.artifact().digest) else {
            return Ok(Availability::Gone(
                "its directory is gone or changed".into(),
            ));
        };
        Ok(match client.files(commit) {
            Ok(_) => Availability::Local,
            Err(e) => Availability::Gone(e.untouched().to_string()),
        })
    }

    pub(crate) fn release(&self, reference: &str, digest: &str) -> Release {
        Release::new(self.kind.clone(), Artifact::new(reference, digest))
    }

    pub(crate) fn live_name(&self) -> Result<Option<String>, BackendError> {
        Ok(match self.link.read()? {
            Current::Link(target) => self.releases.name_of(&target),
            _ => None,
        })
    }

    pub(crate) fn handle_of(&self, target: &Path) -> Handle {
        match self.releases.name_of(target) {
            Some(name) => Handle::new(name),
            None => Handle::new(format!("{FOREIGN}{}", target.display())),
        }
    }

    pub(crate) fn place_of(&self, handle: &Handle) -> PathBuf {
        match handle.as_str().strip_prefix(FOREIGN) {
            Some(path) => path.into(),
            None => self.releases.dir(handle.as_str()),
        }
    }

    pub(crate) fn is_whole(&self, handle: &Handle, dir: &Path) -> Result<bool, BackendError> {
        if handle.as_str().starts_with(FOREIGN) {
            return Ok(dir.is_dir());
        }
        self.releases.stands(handle.as_str())
    }

    /// The instance as it is on disk now, changes by hand included; `None` if it does not stand.
    fn look(&self, client: &Client, handle: &Handle) -> Result<Option<Instance>, BackendError> {
        let dir = self.place_of(handle);
        if !self.is_whole(handle, &dir)? {
            return Ok(None);
        }
        let mut unlike_recorded = false;
        let (reference, commit, files) = match self.releases.record(handle.as_str())? {
            Some(record) => {
                let files = client::commit_id(&record.commit).map(|c| client.files(c));
                match files {
                    Some(Ok(files)) => (record.reference, record.commit, Some(files)),
                    // Without the commit it still serves; only which files changed is not known.
                    _ => {
                        unlike_recorded = record.content != Some(tree::digest(&dir)?);
                        (record.reference, record.commit, None)
                    }
                }
            }
            None => match client::checkout(&dir) {
                Some((commit, files)) => (commit.to_string(), commit.to_string(), Some(files)),
                None => {
                    let digest = tree::digest(&dir)?;
                    (digest.clone(), digest, None)
                }
            },
        };
        let mut release = self.release(&reference, &commit);
        if unlike_recorded {
            release = release.with_facet("tree", Facet::Text("changed".into()));
        }
        if let Some(files) = files {
            let changed = tree::differences(&files, &dir)?;
            if !changed.is_empty() {
                let row = |(path, how): (String, &str)| (path, FacetValue::Plain(how.into()));
                let table = changed.into_iter().take(MAX_CHANGES).map(row).collect();
                release = release.with_facet("tree", Facet::Table(table));
            }
        }
        Ok(Some(Instance {
            release,
            handle: handle.clone(),
        }))
    }

    /// Where exactly this release stands: its own place, or any of ours with the same digest.
    pub(crate) fn standing(
        &self,
        client: &Client,
        end: &End,
        may_take: impl Fn(&Record) -> bool,
    ) -> Result<Option<Handle>, BackendError> {
        let Some(release) = end.release() else {
            return Ok(None);
        };
        let own = match end.instance() {
            Some(instance) => match self.releases.record(instance.handle.as_str())? {
                Some(record) if !may_take(&record) => None,
                _ => Some(instance.handle.clone()),
            },
            None => None,
        };
        let others = self
            .releases
            .records()?
            .into_iter()
            .filter(|(_, r)| r.commit == release.artifact().digest && may_take(r))
            .map(|(name, _)| Handle::new(name));
        for handle in own.into_iter().chain(others) {
            if let Some(found) = self.look(client, &handle)?
                && found.release.digest() == release.digest()
            {
                return Ok(Some(handle));
            }
        }
        Ok(None)
    }

    pub(crate) fn way_back(&self, from: &End) -> Result<WayBack, BackendError> {
        let End::Placed(instance) = from else {
            return Ok(WayBack::Exact);
        };
        let dir = self.place_of(&instance.handle);
        Ok(if self.is_whole(&instance.handle, &dir)? {
            WayBack::Exact
        } else {
            WayBack::None(format!("{} is gone", dir.display()))
        })
    }
}
