//! What stands at the deploy root, as it is on disk now. Changes nothing.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rollback_core::backend::{
    Availability, End, Evidence, Handle, Instance, Live, Observation, Running, Sighting, WayBack,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::{Artifact, Facet, FacetValue, Release};

use crate::backend::Inner;
use crate::client::{self, Client};
use crate::error;
use crate::link::Current;
use crate::release::{Note, Record};
use crate::scan::Scan;
use crate::seal::Seal;
use crate::tree::{self, differences};

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
    pub(crate) changes: BTreeMap<PathBuf, &'static str>,
}

impl Inner {
    pub(crate) fn observe(
        &self,
        cx: &Context,
        candidates: &[End],
    ) -> Result<Observation, BackendError> {
        cx.check()?;
        self.root.owner()?;
        let lazy = Lazy::default();
        if !self.root.path().is_dir() {
            // Whether it was there once, the repository knows.
            lazy.get(self)?;
        }
        let live = self.live(cx, &lazy)?;
        let live_handle = match &live {
            Live::One(sighting) => Some(sighting.instance.handle.clone()),
            _ => None,
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
            availability.push(self.availability(cx, &lazy, end)?);
        }
        Ok(Observation {
            live,
            standbys,
            availability,
            published: self.root.published()?,
        })
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
            if let Some(instance) = self.look(cx, lazy, &self.handle_of(&target))? {
                return Ok(Live::One(Sighting {
                    evidence: Evidence::default().with("release", instance.handle.as_str()),
                    instance,
                    running: Running::NotApplicable,
                    way_back: WayBack::Exact,
                }));
            }
        }
        Ok(Live::Nothing)
    }

    fn availability(
        &self,
        cx: &Context,
        lazy: &Lazy,
        end: &End,
    ) -> Result<Availability, BackendError> {
        use BackendErrorKind as Kind;
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
    ) -> Result<Option<Instance>, BackendError> {
        let dir = self.place_of(handle);
        if !self.is_whole(handle, &dir)? {
            return Ok(None);
        }
        let looked = match self.releases.note(handle.as_str())? {
            Note::Sound(record) => self.look_at_own(cx, lazy, handle, &record),
            Note::Damaged => self.look_at_unknown(cx, &dir),
            Note::Missing => self.look_at_foreign(cx, &dir),
        };
        match looked {
            Ok(release) => Ok(Some(Instance {
                release,
                handle: handle.clone(),
            })),
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
    ) -> Result<Release, BackendError> {
        let release = self.release(&record.reference, &record.commit);
        match self.changes(cx, lazy, handle.as_str(), record, None) {
            Ok(looked) => Ok(changed(release, &looked.changes)),
            // Without seal and commit it still serves; what belongs there is not known.
            Err(e) if e.kind() == BackendErrorKind::Gone => {
                Ok(release.with_facet("tree", Facet::Text("unknown".into())))
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
        let scan = Scan::of(cx, &self.releases.dir(name), &self.ignored, &seal, since)?;
        let changes = differences(&seal.files(), &scan.files, &self.ignored);
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
                Ok(changed(
                    release,
                    &differences(&files, &scan.files, &self.ignored),
                ))
            }
            None => self.look_at_unknown(cx, dir),
        }
    }

    fn look_at_unknown(&self, cx: &Context, dir: &Path) -> Result<Release, BackendError> {
        let digest = tree::digest(&self.look_again(cx, dir)?.files);
        Ok(self.release(&digest, &digest))
    }

    /// Looks at a directory that has no seal. What was read before and has not changed since is not
    /// read again by this value.
    fn look_again(&self, cx: &Context, dir: &Path) -> Result<Scan, BackendError> {
        let mut earlier = self.earlier.lock().unwrap_or_else(|e| e.into_inner());
        let scan = match &*earlier {
            Some((of, scan)) if of == dir => Scan::of(cx, dir, &self.ignored, scan, None)?,
            _ => Scan::of(cx, dir, &self.ignored, &(), None)?,
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
            .map(|(name, _)| Handle::new(name))
            .filter(|other| Some(other) != own.as_ref());
        for handle in own.iter().cloned().chain(others) {
            cx.check()?;
            if let Some(found) = self.look(cx, lazy, &handle)?
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

/// The release with what was changed by hand.
fn changed(release: Release, changes: &BTreeMap<PathBuf, &'static str>) -> Release {
    if changes.is_empty() {
        return release;
    }
    let row = |(path, how): (&PathBuf, &&str)| {
        let path = path.to_string_lossy().into_owned();
        (path, FacetValue::Plain((*how).to_owned()))
    };
    let table = changes.iter().take(MAX_CHANGES).map(row).collect();
    release.with_facet("tree", Facet::Table(table))
}
