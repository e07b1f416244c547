//! A whole backend: releases are config files, and `live.conf` links to the one that counts.
//!
//! ```text
//! etc/live.conf -> releases/7-busy.conf    the link is the only thing a switch changes
//! etc/releases/7-busy.conf              placed by the deployment with sequence 7
//! etc/releases/7-busy.conf.was-live     it was live once, so it is kept as a way back
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rollback_core::prelude::*;
use sha2::{Digest as _, Sha256};

/// Makes one of the files in `sources` live as `etc/live.conf`. It does only file work of
/// microseconds; a backend that may block uses `spawn_blocking`.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    workload: WorkloadId,
    kind: BackendKind,
    sources: PathBuf,
    etc: PathBuf,
}

impl ConfigFile {
    pub(crate) fn new(
        workload: WorkloadId,
        sources: impl Into<PathBuf>,
        etc: impl Into<PathBuf>,
    ) -> Result<Self, rollback_core::id::InvalidId> {
        Ok(Self {
            workload,
            kind: "config-file".parse()?,
            sources: sources.into(),
            etc: etc.into(),
        })
    }

    fn file(&self, handle: &str) -> PathBuf {
        self.etc.join("releases").join(handle)
    }

    /// The handle that `live.conf` links to.
    fn live(&self) -> Result<Option<String>, BackendError> {
        let link = self.etc.join("live.conf");
        match fs::read_link(&link) {
            Ok(to) => Ok(to.file_name().map(|n| n.to_string_lossy().into_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("cannot read the link", &link, e)),
        }
    }

    /// The release as it is on disk now, not as it once was: that is how drift is seen.
    fn look(&self, handle: &str) -> Option<Instance> {
        let digest = digest(&fs::read(self.file(handle)).ok()?);
        let reference = match handle.split_once('-') {
            Some((sequence, reference)) if sequence.parse::<u64>().is_ok() => reference,
            _ => handle, // not placed by a deployment
        };
        Some(Instance::new(
            Release::new(self.kind.clone(), Artifact::new(reference, digest)),
            Handle::new(handle),
        ))
    }

    /// Every release that stands.
    fn standing(&self) -> Vec<Instance> {
        let entries = fs::read_dir(self.etc.join("releases"))
            .into_iter()
            .flatten();
        let names = entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned());
        names
            .filter(|n| !n.ends_with(".was-live") && !n.starts_with('.'))
            .filter_map(|n| self.look(&n))
            .collect()
    }

    /// Where exactly this release stands.
    fn standby(&self, release: &Release) -> Option<Handle> {
        let same = |i: &Instance| i.release.digest() == release.digest();
        self.standing().into_iter().find(same).map(|i| i.handle)
    }

    /// The bytes a release was resolved to, if its source still has them.
    fn source(&self, release: &Release) -> Option<Vec<u8>> {
        let bytes = fs::read(self.sources.join(&release.artifact().reference)).ok()?;
        (digest(&bytes) == release.artifact().digest).then_some(bytes)
    }

    fn remove(&self, handle: &str) -> Result<(), BackendError> {
        for path in [self.file(&format!("{handle}.was-live")), self.file(handle)] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("cannot remove", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for ConfigFile {
    fn kind(&self) -> BackendKind {
        self.kind.clone()
    }

    fn workload(&self) -> &WorkloadId {
        &self.workload
    }

    // Two workloads at one place would undo each other: the engine refuses them.
    fn place(&self) -> Place {
        Place::new("files", self.etc.display().to_string())
    }

    fn rollout(&self) -> Rollout {
        Rollout::Replace
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    // A name becomes a digest, once. From here on only the digest counts.
    async fn resolve(&self, cx: &Context, reference: &str) -> Result<Release, BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let one_name = Path::new(reference)
            .file_name()
            .is_some_and(|n| n == reference);
        let error = |kind, what: &str| {
            // Ten kilobytes of somebody's input do not belong in an error.
            BackendError::new(kind, what)
                .on(reference.chars().take(40).collect::<String>())
                .advice("name a file in the directory of sources")
                .untouched()
        };
        if !one_name {
            let why = "not the name of a config file";
            return Err(error(BackendErrorKind::InvalidReference, why));
        }
        let bytes = fs::read(self.sources.join(reference)).map_err(|e| match e.kind() {
            io::ErrorKind::NotADirectory => error(BackendErrorKind::Unreachable, "no sources"),
            _ => error(BackendErrorKind::NotFound, "no such config file").because(e),
        })?;
        Ok(Release::new(
            self.kind(),
            Artifact::new(reference, digest(&bytes)),
        ))
    }

    // Look, change nothing, judge nothing.
    async fn observe(&self, cx: &Context) -> Result<Observation, BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let handle = self.live().map_err(BackendError::untouched)?;
        let live = match handle.as_deref().map(|h| self.look(h)) {
            None => Live::Nothing,
            Some(None) => Live::Mixed(Vec::new(), "live.conf links to nothing".into()),
            Some(Some(instance)) => Live::One(Sighting::new(instance, Running::NotApplicable)),
        };
        Ok(Observation::new(live, None))
    }

    // Asked of one candidate after the other, until one can be had.
    async fn availability(&self, cx: &Context, end: &End) -> Result<Availability, BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        Ok(match end.release() {
            None => Availability::Standby,
            Some(r) if self.standby(r).is_some() => Availability::Standby,
            Some(r) if self.source(r).is_some() => Availability::Local,
            Some(_) => Availability::Gone("neither its file nor its source is left".into()),
        })
    }

    // Everything that can fail: here a file is written. What stands already is reused. The name
    // says which deployment made it.
    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let gone = || BackendError::new(BackendErrorKind::Gone, "the release is gone").untouched();
        cx.check().map_err(BackendError::untouched)?;
        // A directory that cannot be read is away; it is not an empty one.
        self.live().map_err(BackendError::untouched)?;
        let release = op.to.release().ok_or_else(gone)?;
        let handle = match self.standby(release) {
            Some(handle) if op.reuse == Reuse::Kept => handle,
            _ => {
                let bytes = self.source(release).ok_or_else(gone)?;
                let name = format!("{}-{}", op.sequence.0, release.artifact().reference);
                write(&self.file(&name), &bytes).map_err(BackendError::untouched)?;
                Handle::new(name)
            }
        };
        let to = Instance::new(release.clone(), handle);
        Ok(Prepared::new(Rollout::Replace, to))
    }

    // Only for releases that can run beside each other.
    async fn start(&self, _cx: &Context, _op: &Operation) -> Result<Started, BackendError> {
        Ok(Started::default())
    }

    // One rename: before it the old file is live, after it the new one. Again is the same.
    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        cx.check().map_err(BackendError::untouched)?;
        let (link, next) = (self.etc.join("live.conf"), self.etc.join("next.conf"));
        let _ = fs::remove_file(&next); // left by a crash
        let Some(to) = op.to.instance() else {
            return match fs::remove_file(&link) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    Err(failed("cannot remove", &link, e))
                }
                _ => sync(&self.etc).map(|()| Evidence::default()),
            };
        };
        if self.look(to.handle.as_str()).is_none() {
            return Err(
                BackendError::new(BackendErrorKind::Gone, "its file is gone")
                    .on(&to.handle)
                    .untouched(),
            );
        }
        write(&self.file(&format!("{}.was-live", to.handle)), b"")?;
        cx.check().map_err(BackendError::untouched)?;
        symlink(Path::new("releases").join(to.handle.as_str()), &next)
            .and_then(|()| fs::rename(&next, &link))
            .map_err(|e| failed("cannot swap", &link, e))?;
        sync(&self.etc)?;
        Ok(Evidence::default().with("live", to.handle.as_str()))
    }

    // What this deployment placed and never made live goes; everything else is a way back.
    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        cx.check()?;
        let (own, live) = (format!("{}-", op.sequence.0), self.live()?);
        for old in self.standing() {
            let name = old.handle.as_str();
            let kept = !name.starts_with(&own)
                || op.to.instance().is_some_and(|to| to.handle == old.handle)
                || live.as_deref() == Some(name)
                || self.file(&format!("{name}.was-live")).exists();
            if !kept {
                cx.check()?;
                self.remove(name)?;
            }
        }
        Ok(())
    }

    // The platform's own view. A backend without one has no opinion and leaves it to checks.
    async fn health(&self, cx: &Context, instance: &Instance) -> Result<View, BackendError> {
        cx.check()?;
        let text = fs::read_to_string(self.file(instance.handle.as_str())).unwrap_or_default();
        Ok(match text.lines().find(|l| l.starts_with("workers = ")) {
            Some(_) => View::Healthy,
            None => View::Failed("the config does not say how many workers".to_owned()),
        })
    }

    // A file is all the configuration there is: its reference says everything.
    async fn configured(
        &self,
        _: &Context,
        _: Option<&Release>,
    ) -> Result<Option<Release>, BackendError> {
        Ok(None)
    }

    // Beyond the window nothing is a way back any more.
    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let live = self.live()?;
        for old in self.standing() {
            cx.check()?;
            let name = old.handle.as_str();
            if live.as_deref() != Some(name) && window.iter().all(|w| w.handle != old.handle) {
                self.remove(name)?;
            }
        }
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// Whole or not at all, and durable.
fn write(path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir)
        .and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        })
        .map_err(|e| failed("cannot write", path, e))?;
    sync(dir)
}

fn sync(dir: &Path) -> Result<(), BackendError> {
    fs::File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| failed("cannot make durable", dir, e))
}

fn failed(what: &str, path: &Path, e: io::Error) -> BackendError {
    BackendError::new(BackendErrorKind::Unreachable, what)
        .on(path.display())
        .because(e)
}
