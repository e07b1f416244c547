//! What stands at the deploy root, as it is on disk now. Changes nothing.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use rollback_core::backend::{
    Availability, End, Evidence, Handle, Instance, Live, Observation, Running, Sighting, WayBack,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::{Artifact, Facet, FacetValue, Release};

use crate::client::{self, Client};
use crate::error;
use crate::inner::Inner;
use crate::link::Current;
use crate::listing::Relative;
use crate::release::{Note, Record};
use crate::scan::Scan;
use crate::seal::Seal;
use crate::tree::{self, Differences, differences};

/// How the handle of a directory begins that was not made here.
const FOREIGN: &str = "foreign:";
/// Most changed paths that a sighting names.
const MAX_CHANGES: usize = 200;
/// How often what is live is looked for that vanishes while it is looked at.
const LOOKS: usize = 3;

/// Why a release with changes made by hand cannot be built anew.
pub(crate) const HAND_MADE: &str = "it was changed by hand, and those changes are in no commit";

/// The repository, opened when it is needed: what stands needs none.
#[derive(Default)]
pub(crate) struct Lazy {
    client: OnceCell<Client>,
}

impl Lazy {
    pub(crate) fn get(&self, inner: &Inner) -> Result<&Client, BackendError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = inner.client()?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// A release directory, and how it differs from what belongs there.
pub(crate) struct Looked {
    pub(crate) seal: Seal,
    pub(crate) scan: Scan,
    pub(crate) changes: Differences,
}

/// Where a release stands, and the look that told so, so that it need not be looked at again.
pub(crate) struct Standing {
    pub(crate) handle: Handle,
    pub(crate) looked: Option<Looked>,
}

impl Standing {
    /// What was not looked at.
    pub(crate) fn unseen(handle: Handle) -> Self {
        let looked = None;
        Self { handle, looked }
    }
}

impl Looked {
    /// The paths that differ.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Relative> {
        self.changes.iter().map(|(path, _)| path)
    }
}

impl Inner {
    pub(crate) fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        cx.check()?;
        self.root.owner()?;
        let lazy = Lazy::default();
        if !self.root.path().is_dir() {
            // Whether it was there once, the repository knows.
            lazy.get(self)?;
        }
        let live = self.live(cx, &lazy)?;
        Ok(Observation::new(live, self.root.published()?))
    }

    fn live(&self, cx: &Context, lazy: &Lazy) -> Result<Live, BackendError> {
        for _ in 0..LOOKS {
            let target = match self.link.read()? {
                Current::Solid => {
                    let why = "`current` is not a symbolic link: move it aside and link to it";
                    return Ok(Live::Mixed(Vec::new(), why.into()));
                }
                Current::Link(target) if target.is_dir() => target,
                _ => break,
            };
            // It may have been switched from and removed meanwhile.
            if let Some((instance, _)) = self.look(cx, lazy, &self.handle_of(&target))? {
                let evidence = Evidence::default().with("release", instance.handle.as_str());
                let sighting = Sighting::new(instance, Running::NotApplicable);
                return Ok(Live::One(sighting.evidence(evidence)));
            }
        }
        Ok(Live::Nothing)
    }

    pub(crate) fn availability(
        &self,
        cx: &Context,
        end: &End,
    ) -> Result<Availability, BackendError> {
        use BackendErrorKind as Kind;
        cx.check()?;
        self.root.owner()?;
        let lazy = &Lazy::default();
        if !self.root.path().is_dir() {
            // Whether it was there once, the repository knows.
            lazy.get(self)?;
        }
        let Some(release) = end.release() else {
            return Ok(Availability::Standby);
        };
        if self.standing(cx, lazy, end, |_| true)?.is_some() {
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
        match lazy.get(self).and_then(|client| client.files(cx, commit)) {
            Ok(_) => Ok(Availability::Local),
            // A disk that is not mounted has lost nothing.
            Err(e) if e.kind() == Kind::Unreachable => Ok(Availability::Remote),
            Err(e) if matches!(e.kind(), Kind::Cancelled | Kind::DeadlineExceeded) => Err(e),
            Err(e) => Ok(Availability::Gone(e.untouched().to_string())),
        }
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
    fn look(
        &self,
        cx: &Context,
        lazy: &Lazy,
        handle: &Handle,
    ) -> Result<Option<(Instance, Option<Looked>)>, BackendError> {
        let dir = self.place_of(handle);
        if !self.is_whole(handle, &dir)? {
            return Ok(None);
        }
        let looked = match self.releases.note(handle.as_str())? {
            Note::Sound(record) => self.look_at_own(cx, lazy, handle, &record),
            Note::Damaged => self
                .look_at_unknown(cx, &dir)
                .map(|release| (release, None)),
            Note::Missing => self
                .look_at_foreign(cx, &dir)
                .map(|release| (release, None)),
        };
        match looked {
            Ok((release, looked)) => Ok(Some((Instance::new(release, handle.clone()), looked))),
            // It was removed while it was looked at.
            Err(_) if !dir.is_dir() => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn look_at_own(
        &self,
        cx: &Context,
        lazy: &Lazy,
        handle: &Handle,
        record: &Record,
    ) -> Result<(Release, Option<Looked>), BackendError> {
        let release = self.release(&record.reference, &record.commit);
        match self.changes(cx, lazy, handle.as_str(), record, None) {
            Ok(looked) => Ok((changed(release, &looked.changes), Some(looked))),
            // Without seal and commit it still serves; what belongs there is not known.
            Err(e) if e.kind() == BackendErrorKind::Gone => {
                let release = release.with_facet("tree", Facet::Text("unknown".into()));
                Ok((release, None))
            }
            Err(e) => Err(e),
        }
    }

    /// How a release of ours differs from its seal; from its commit, where that cannot be read.
    /// `since` as for [`Scan::of`].
    pub(crate) fn changes(
        &self,
        cx: &Context,
        lazy: &Lazy,
        name: &str,
        record: &Record,
        since: Option<crate::scan::Instant>,
    ) -> Result<Looked, BackendError> {
        let seal = match Seal::read(&self.releases.seal(name))? {
            Some(seal) => seal,
            None => {
                let commit = client::commit_id(&record.commit)
                    .ok_or_else(|| error::gone("its seal is lost", name))?;
                Seal::of(&lazy.get(self)?.files(cx, commit)?.files)
            }
        };
        let dir = self.releases.dir(name);
        let scan = Scan::of(cx, &dir, &self.ignored, seal.known(), since)?;
        let changes = seal.differences(&scan, &self.ignored);
        Ok(Looked {
            seal,
            scan,
            changes,
        })
    }

    fn look_at_foreign(&self, cx: &Context, dir: &Path) -> Result<Release, BackendError> {
        match client::checkout(cx, dir) {
            Some((commit, files)) => {
                let scan = self.look_again(cx, dir)?;
                let release = self.release(&commit.to_string(), &commit.to_string());
                let changes = differences(&files, |content| *content, &scan, &self.ignored);
                Ok(changed(release, &changes))
            }
            None => self.look_at_unknown(cx, dir),
        }
    }

    fn look_at_unknown(&self, cx: &Context, dir: &Path) -> Result<Release, BackendError> {
        let digest = tree::digest(&self.look_again(cx, dir)?);
        Ok(self.release(&digest, &digest))
    }

    /// Looks at a directory that has no seal. What was read before and has not changed since is not
    /// read again by this value.
    fn look_again(&self, cx: &Context, dir: &Path) -> Result<Scan, BackendError> {
        let mut earlier = self.earlier.lock().unwrap_or_else(|e| e.into_inner());
        let scan = match &*earlier {
            Some((of, scan)) if of == dir => Scan::of(cx, dir, &self.ignored, scan, None)?,
            _ => Scan::of(cx, dir, &self.ignored, &Scan::default(), None)?,
        };
        *earlier = Some((dir.to_owned(), scan.clone()));
        Ok(scan)
    }

    /// Where exactly this release stands: its own place, or any of ours with the same digest.
    pub(crate) fn standing(
        &self,
        cx: &Context,
        lazy: &Lazy,
        end: &End,
        may_take: impl Fn(&Record) -> bool,
    ) -> Result<Option<Standing>, BackendError> {
        let Some(release) = end.release() else {
            return Ok(None);
        };
        let is_it = |handle: &Handle| -> Result<Option<Standing>, BackendError> {
            cx.check()?;
            let found = self.look(cx, lazy, handle)?;
            let same = found.filter(|(found, _)| found.release.digest() == release.digest());
            Ok(same.map(|(instance, looked)| Standing {
                handle: instance.handle,
                looked,
            }))
        };
        let own = match end.instance() {
            Some(instance) => match self.releases.record(instance.handle.as_str())? {
                Some(record) if !may_take(&record) => None,
                _ => Some(instance.handle.clone()),
            },
            None => None,
        };
        if let Some(own) = &own
            && let Some(standing) = is_it(own)?
        {
            return Ok(Some(standing));
        }
        let others = self
            .releases
            .records()?
            .into_iter()
            .filter(|(_, r)| r.commit == release.artifact().digest && may_take(r))
            .map(|(name, _)| Handle::new(name))
            .filter(|other| Some(other) != own.as_ref());
        for other in others {
            if let Some(standing) = is_it(&other)? {
                return Ok(Some(standing));
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

/// The release with what was changed by hand.
fn changed(release: Release, changes: &Differences) -> Release {
    if changes.is_empty() {
        return release;
    }
    let row = |(path, how): &(Relative, &str)| {
        let path = path.as_path().to_string_lossy().into_owned();
        (path, FacetValue::Plain((*how).to_owned()))
    };
    let table = changes.iter().take(MAX_CHANGES).map(row).collect();
    release.with_facet("tree", Facet::Table(table))
}
