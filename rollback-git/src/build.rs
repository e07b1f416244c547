//! `prepare`: a release is taken where it stands, or written from its commit.

use rollback_core::backend::{Handle, Instance, Operation, Prepared, Reuse, Rollout, Tasks};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::Release;

use crate::client;
use crate::ignore::Ignored;
use crate::inner::Inner;
use crate::release::{Note, Record, Taken};
use crate::root::Owner;
use crate::scan::Scan;
use crate::seal::Seal;
use crate::view::{HAND_MADE, Lazy, Looked, Standing};
use crate::{durable, error, tree};

impl Inner {
    pub(crate) fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        cx.check()?;
        self.root.owner()?;
        self.root.admits(cx)?;
        self.link.swappable()?;
        let Some(release) = op.to.release() else {
            return Err(BackendError::new(
                BackendErrorKind::InvalidReference,
                "there is no release to prepare",
            ));
        };
        let lazy = Lazy::default();
        if !self.root.path().is_dir() {
            // Whether it was there once, the repository knows.
            lazy.get(self)?;
        }
        let owner = self.root.claim(cx)?;
        cx.check()?;
        let standing = match self.own(op, release)? {
            Some(handle) => Some(Standing::unseen(handle)),
            None => self.standing(cx, &lazy, &op.to, may_take(op))?,
        };
        let handle = match standing {
            Some(standing) => self.take(cx, &lazy, op, &owner, standing)?,
            None => self.build(cx, &lazy, op, &owner, release)?,
        };
        cx.check()?;
        // There is time for it now: nothing that is live waits.
        self.releases.empty_trash(cx);
        let to = Instance::new(release.clone(), handle);
        Ok(Prepared::new(Rollout::Replace, to).way_back(self.way_back(&op.from)?))
    }

    /// What this very deployment has made or taken before, and has not sealed yet: what has changed
    /// there since is its own. Its release tasks are not run again, so that without what they built
    /// it would go live without it.
    fn own(&self, op: &Operation, release: &Release) -> Result<Option<Handle>, BackendError> {
        let Some(instance) = op.to.instance() else {
            return Ok(None);
        };
        let name = instance.handle.as_str();
        let Some(record) = self.releases.record(name)? else {
            return Ok(None);
        };
        let is_own = record.taken_by(&op.deployment)
            && may_take(op)(&record)
            && record.commit == release.artifact().digest;
        Ok((is_own && self.releases.stands(name)?).then(|| instance.handle.clone()))
    }

    /// Takes what stands. Its commit need not be there: only what is built anew needs it.
    fn take(
        &self,
        cx: &Context,
        lazy: &Lazy,
        op: &Operation,
        owner: &Owner,
        standing: Standing,
    ) -> Result<Handle, BackendError> {
        let Standing { handle, looked } = standing;
        let name = handle.as_str();
        let Some(record) = self.releases.record(name)? else {
            return Ok(handle);
        };
        let record = if record.taken_by(&op.deployment) {
            self.releases.sync_note(name)?;
            record
        } else if looked.as_ref().is_some_and(|looked| self.rests(op, looked)) {
            // As durable as the settlement of who made it; `switch` makes sure of it.
            record
        } else {
            self.taken(cx, lazy, op, name, record, looked)?
        };
        // The pin may have been lost since; the directory's own deployment holds it.
        match (lazy.get(self), client::commit_id(&record.commit)) {
            (Ok(client), Some(commit)) if client.has(commit) => {
                let pins = client.pins(&self.root);
                pins.add(owner, &record.deployment, commit)?;
            }
            _ => cx.say(format!("{name} stands, and its commit cannot be kept")),
        }
        Ok(handle)
    }

    /// Whether nothing of its own will come of taking it: nothing is built there, and its seal has
    /// nothing to learn. Then it is not taken down, and need not be sealed: what changes there from
    /// this look on is seen as what it is, somebody else's doing.
    fn rests(&self, op: &Operation, looked: &Looked) -> bool {
        op.tasks == Tasks::None
            && self.config.restart.is_empty()
            && looked.changes.is_empty()
            && looked.seal.knows(&looked.scan)
    }

    /// Notes what has been changed by hand before this deployment has anything done there, by this
    /// look or by one of its own. What was noted before is as durable afterwards.
    pub(crate) fn taken(
        &self,
        cx: &Context,
        lazy: &Lazy,
        op: &Operation,
        name: &str,
        mut record: Record,
        looked: Option<Looked>,
    ) -> Result<Record, BackendError> {
        if record.taken_by(&op.deployment) {
            return Ok(record);
        }
        let looked = looked.map_or_else(|| self.changes(cx, lazy, name, &record, None), Ok);
        let looked = match looked {
            Ok(looked) => looked,
            // What belongs there is not known, so nothing can be told from it.
            Err(e) if e.kind() == BackendErrorKind::Gone => {
                return self.releases.sync_notes().map(|()| record);
            }
            Err(e) => return Err(e),
        };
        record.taken = Some(Taken::new(&op.deployment, looked.changed()));
        self.releases.write_record(name, &record)?;
        Ok(record)
    }

    fn build(
        &self,
        cx: &Context,
        lazy: &Lazy,
        op: &Operation,
        owner: &Owner,
        release: &Release,
    ) -> Result<Handle, BackendError> {
        let artifact = release.artifact();
        if !release.facets().is_empty() {
            return Err(error::gone(HAND_MADE, artifact.short()));
        }
        let commit = client::commit_id(&artifact.digest)
            .ok_or_else(|| error::gone("its directory is gone or changed", artifact.short()))?;
        cx.say("checking the commit");
        let client = lazy.get(self)?;
        let closure = client.files(cx, commit)?;
        let name = self.free_name(op, artifact.short())?;
        cx.check()?;
        self.releases.remove(&name)?;
        let mut record = Record {
            deployment: op.deployment.clone(),
            commit: artifact.digest.clone(),
            reference: artifact.reference.clone(),
            complete: false,
            went_live: false,
            taken: Some(Taken::new(&op.deployment, [])),
        };
        self.releases.write_record(&name, &record)?;
        cx.check()?;
        let pins = client.pins(&self.root);
        durable::sync(cx, client.repository(), commit, &closure, &pins.commits()?)?;
        pins.add(owner, &op.deployment, commit)?;
        cx.check()?;
        let files = closure.files;
        cx.say(format!("writing {} files", files.len()));
        let dir = self.releases.dir(&name);
        tree::write(cx, client.repository(), &files, &dir)?;
        cx.check()?;
        let since = Some(self.releases.clock()?);
        let scan = Scan::of(cx, &dir, &Ignored::default(), &Scan::default(), since)?;
        if scan.files() != files {
            return Err(
                error::corrupt("what was written is not what was read", dir.display())
                    .advice("check the disk"),
            );
        }
        self.releases.publish(&name)?;
        Seal::of(&files)
            .marked(&scan)
            .write(&self.releases.seal(&name))?;
        cx.check()?;
        record.complete = true;
        self.releases.write_record(&name, &record)?;
        Ok(Handle::new(name))
    }

    /// A name that is unused, or is a leftover of this very deployment that was never live.
    fn free_name(&self, op: &Operation, short: &str) -> Result<String, BackendError> {
        let base = format!("{}-{short}", op.sequence);
        let id = op.deployment.as_str().rsplit('-').next().unwrap_or("");
        let mut name = base.clone();
        for n in 1u32.. {
            let free = match self.releases.note(&name)? {
                Note::Sound(r) => r.deployment == op.deployment && !r.went_live,
                Note::Damaged => false,
                Note::Missing => self.releases.dir(&name).symlink_metadata().is_err(),
            };
            if free {
                break;
            }
            name = format!("{base}-{id}-{n}");
        }
        Ok(name)
    }
}

/// Which release directories an operation may take.
fn may_take(op: &Operation) -> impl Fn(&Record) -> bool {
    let own = op.deployment.clone();
    let reuse = op.reuse;
    move |record| reuse == Reuse::Kept || record.deployment == own
}
