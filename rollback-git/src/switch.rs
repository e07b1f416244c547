//! `switch`: the link is moved, the command is run once, and the release is sealed.

use std::path::PathBuf;

use rollback_core::backend::{End, Evidence, Handle, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind, Chain};
use rollback_process::Engine;

use crate::file::sync_dir;
use crate::inner::Inner;
use crate::link::Current;
use crate::release::{Restart, Switched};
use crate::view::Lazy;
use crate::{error, reserve};

/// Of so many engines that died while the command ran, and that belong to one service which was
/// started anew each time, the command was what restarted it: who crashes by chance does not do so
/// twice at the same place.
const RESTARTED: u32 = 2;
/// After so many deaths of engines the command is not run any more: it does not end well.
const MOST_DEATHS: u32 = 5;

/// A switch whose link has been moved.
#[derive(Debug)]
pub(crate) struct Swapped {
    pub(crate) state: Switched,
    /// What is to be run now, and where.
    pub(crate) command: Option<(Vec<String>, PathBuf)>,
    /// What is left to do after that.
    pub(crate) rest: Rest,
    /// What there is to say of the command that was not run.
    remark: Option<&'static str>,
}

/// What a switch whose link has been moved has left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// What was built in the release since it was taken is its own, and has to be sealed.
    Seal,
    /// Nothing was built there, and all is on record.
    Nothing,
}

impl Swapped {
    pub(crate) fn evidence(self) -> Evidence {
        let none = || "nothing".to_owned();
        let evidence = Evidence::default()
            .with("release", self.state.to.unwrap_or_else(none))
            .with("previous", self.state.previous.unwrap_or_else(none));
        match self.remark {
            Some(remark) => evidence.with("restart", remark),
            None => evidence,
        }
    }
}

impl Switched {
    /// Whether its command was begun and is not known to have ended.
    pub(crate) fn is_half_way(&self) -> bool {
        matches!(self.restart, Restart::Begun { .. })
    }

    /// The same with nothing left to do.
    fn done(&self) -> Self {
        Self {
            restart: Restart::Done,
            ..self.clone()
        }
    }

    fn is_of(&self, op: &Operation, to: Option<&str>) -> bool {
        self.deployment == op.deployment && self.to.as_deref() == to
    }
}

/// What is to be done about the command.
enum Next {
    Run { deaths: u32 },
    Not(Option<&'static str>),
}

impl Inner {
    /// Moves the link, if it is not there yet. Returns what the switch has done so far, and what to
    /// run now.
    pub(crate) fn swap(&self, cx: &Context, op: &Operation) -> Result<Swapped, BackendError> {
        let untouched = BackendError::untouched;
        cx.check().map_err(untouched)?;
        self.link.swappable().map_err(untouched)?;
        let to = match &op.to {
            End::Nothing => None,
            End::Placed(instance) => Some(instance.handle.clone()),
            End::Planned(release) => {
                return Err(BackendError::new(
                    BackendErrorKind::Failed,
                    "the release was not prepared",
                )
                .on(release)
                .untouched());
            }
        };
        let dir = to.as_ref().map(|to| self.place_of(to));
        if let (Some(to), Some(dir)) = (&to, &dir)
            && !self.is_whole(to, dir).map_err(untouched)?
        {
            return Err(error::gone("the release directory is gone", dir.display()).untouched());
        }
        self.root.claim(cx).map_err(untouched)?;
        cx.check().map_err(untouched)?;
        // Nobody publishes between this look at the token and at the link, and the new link.
        let turn = self.root.turn(cx).map_err(untouched)?;
        let current = self.link.swappable().map_err(untouched)?;
        self.is_known(op, &current).map_err(untouched)?;
        let there = match (&current, &dir) {
            (Current::Link(at), Some(dir)) => at == dir,
            (Current::Absent, None) => true,
            _ => false,
        };
        let name = to.as_ref().map(Handle::as_str);
        let mut state = self.begun(op, name, &current).map_err(untouched)?;
        if !there {
            // What was said of an earlier swap is void once the link has moved again.
            state.restart = Restart::Due;
        }
        if there && state.restart == Restart::Done {
            // Whoever did it may not have lived to make it durable.
            sync_dir(&self.root.state())?;
            sync_dir(self.root.path())?;
            return Ok(Swapped {
                state,
                command: None,
                rest: Rest::Seal,
                remark: None,
            });
        }
        let command = self.command(&state, dir.as_ref());
        let next = self.next(&state, command.as_ref(), to.is_none())?;
        cx.check().map_err(untouched)?;
        let is_new = self.is_new(name).map_err(untouched)?;
        self.keep_way_back(is_new).map_err(untouched)?;
        let rest = self.take_live(cx, op, name, &next).map_err(untouched)?;
        cx.check().map_err(untouched)?;
        state.restart = match next {
            Next::Run { deaths } => Restart::Begun {
                by: Engine::this(),
                deaths,
            },
            // With the link all is done: that is written once.
            Next::Not(None) => Restart::Done,
            Next::Not(Some(_)) => state.restart,
        };
        // Makes the token durable, too: it is in the same directory.
        self.releases.write_switched(&state).map_err(untouched)?;
        // What was written since may have taken it.
        self.keep_way_back(is_new).map_err(untouched)?;
        cx.check().map_err(untouched)?;
        match &dir {
            // Whoever moved it may not have lived to make it durable.
            _ if there => sync_dir(self.root.path())?,
            Some(dir) => self.link.point(dir)?,
            None => self.link.remove()?,
        }
        drop(turn);
        tracing::debug!(workload = %op.workload, to = ?state.to, "the link was moved");
        Ok(match next {
            Next::Run { .. } => Swapped {
                state,
                command,
                rest,
                remark: None,
            },
            Next::Not(remark) => Swapped {
                state,
                command: None,
                rest,
                remark,
            },
        })
    }

    /// Refuses to take the place of what the operation does not know: neither end is it, and no
    /// deployment made it. A person has linked to it meanwhile, and would not see it go.
    fn is_known(&self, op: &Operation, current: &Current) -> Result<(), BackendError> {
        let Current::Link(at) = current else {
            return Ok(());
        };
        let is = |end: &End| {
            end.instance()
                .is_some_and(|i| self.place_of(&i.handle) == *at)
        };
        // What leads nowhere serves nobody.
        if !at.is_dir() || is(&op.from) || is(&op.to) || self.releases.name_of(at).is_some() {
            return Ok(());
        }
        Err(BackendError::new(
            BackendErrorKind::Conflict,
            "something else is live than this operation knows",
        )
        .on(at.display())
        .advice("look at what `current` leads to, then adopt it or deploy")
        .transient(false))
    }

    /// What this very switch has done so far, by this value's knowledge or by the record.
    fn begun(
        &self,
        op: &Operation,
        to: Option<&str>,
        current: &Current,
    ) -> Result<Switched, BackendError> {
        let remembered = self.restarted.lock().unwrap_or_else(|e| e.into_inner());
        let remembered = remembered.clone().filter(|s| s.is_of(op, to));
        let recorded = self.releases.switched()?.filter(|s| s.is_of(op, to));
        // The record alone knows whether another switch came in between.
        let same = recorded.is_some();
        Ok(remembered
            .filter(|_| same)
            .or(recorded)
            .unwrap_or_else(|| Switched {
                deployment: op.deployment.clone(),
                previous: match current {
                    Current::Link(at) => Some(self.handle_of(at).as_str().to_owned()),
                    _ => None,
                },
                to: to.map(str::to_owned),
                restart: Restart::Due,
            }))
    }

    /// What follows this swap, and where it is run: nothing is stopped that was never begun.
    fn command(&self, state: &Switched, dir: Option<&PathBuf>) -> Option<(Vec<String>, PathBuf)> {
        let (argv, dir) = match (dir, &state.previous) {
            (Some(dir), _) => (&self.config.restart, dir.clone()),
            (None, Some(previous)) => (&self.config.stop, self.place_of(&Handle::new(previous))),
            (None, None) => return None,
        };
        (!argv.is_empty()).then(|| (argv.clone(), dir))
    }

    fn next(
        &self,
        state: &Switched,
        command: Option<&(Vec<String>, PathBuf)>,
        to_nothing: bool,
    ) -> Result<Next, BackendError> {
        let Some((argv, _)) = command else {
            let serves_on =
                to_nothing && state.previous.is_some() && !self.config.restart.is_empty();
            return Ok(Next::Not(serves_on.then_some(
                "no stop command is configured: what the former release started runs on",
            )));
        };
        let (by, deaths) = match &state.restart {
            Restart::Due => return Ok(Next::Run { deaths: 0 }),
            Restart::Done => return Ok(Next::Not(None)),
            Restart::Begun { by, deaths } => (by, *deaths),
        };
        let this = Engine::this();
        if *by == this {
            // It has failed, and is tried again.
            return Ok(Next::Run { deaths });
        }
        let deaths = deaths + 1;
        if this.was_restarted_since(by) && (this.is_named_by(argv) || deaths >= RESTARTED) {
            return Ok(Next::Not(Some(
                "it restarted the engine's own service, and so was run",
            )));
        }
        if deaths >= MOST_DEATHS {
            return Err(BackendError::new(
                BackendErrorKind::Failed,
                format!("{deaths} engines in a row have died while the command ran"),
            )
            .on(argv.first().map_or("", String::as_str))
            .advice("run it by hand and see what it does to the engine, then recover"));
        }
        Ok(Next::Run { deaths })
    }

    /// Whether a release was never live. One that was, one that a person has put there, and nothing
    /// may themselves be the way back of a deployment.
    fn is_new(&self, name: Option<&str>) -> Result<bool, BackendError> {
        Ok(match name {
            Some(name) => self.releases.record(name)?.is_some_and(|r| !r.went_live),
            None => false,
        })
    }

    /// Keeps room for going back, without which nothing new goes live. A way back does without.
    fn keep_way_back(&self, is_new: bool) -> Result<(), BackendError> {
        match reserve::keep(&self.root.state()) {
            Err(e) if !is_new => {
                tracing::warn!(error = %Chain::of(&e), "no room can be kept for a way back");
                Ok(())
            }
            kept => kept,
        }
    }

    /// Notes that a release of ours goes live, and, where anything is built there, what was changed
    /// by hand before.
    fn take_live(
        &self,
        cx: &Context,
        op: &Operation,
        name: Option<&str>,
        next: &Next,
    ) -> Result<Rest, BackendError> {
        let alone = match next {
            Next::Not(None) => Rest::Nothing,
            Next::Not(Some(_)) | Next::Run { .. } => Rest::Seal,
        };
        let Some(name) = name else { return Ok(alone) };
        let Some(mut record) = self.releases.record(name)? else {
            return Ok(alone);
        };
        let is_new = !record.went_live;
        if is_new {
            record.went_live = true;
            self.releases.write_record(name, &record)?;
        }
        if alone == Rest::Seal || record.taken_by(&op.deployment) {
            return self
                .taken(cx, &Lazy::default(), op, name, record, None)
                .map(|_| Rest::Seal);
        }
        if !is_new {
            self.releases.sync_note(name)?;
        }
        Ok(alone)
    }

    /// Notes that the command has succeeded, where no disk can fail.
    pub(crate) fn remember(&self, state: &Switched) {
        let done = state.done();
        *self.restarted.lock().unwrap_or_else(|e| e.into_inner()) = Some(done);
    }

    /// The command has succeeded: that first, so that it is not run again. What was built in the
    /// release since it was taken belongs to it.
    pub(crate) fn seal(&self, cx: &Context, state: &Switched) -> Result<(), BackendError> {
        cx.check()?;
        // Whoever has taken over meanwhile may have swept what is written here.
        let _turn = self.root.lock(cx)?;
        if state.restart != Restart::Done {
            self.releases.write_switched(&state.done())?;
        }
        let Some(name) = &state.to else { return Ok(()) };
        let Some(mut record) = self.releases.record(name)? else {
            return Ok(());
        };
        let taken = record.taken.take_if(|taken| taken.by == state.deployment);
        let Some(taken) = taken else {
            return self.releases.sync_notes();
        };
        let since = Some(self.releases.clock()?);
        let looked = self.changes(cx, &Lazy::default(), name, &record, since)?;
        if looked.changes.is_empty() && looked.seal.knows(&looked.scan) {
            return self.releases.write_record(name, &record);
        }
        let seal = looked
            .seal
            .absorbing(&looked.scan, &taken.changed(), &self.ignored);
        match seal.write(&self.releases.seal(name)) {
            // The one that is there says the same, if with older marks: looks take longer.
            Err(e)
                if e.kind() == BackendErrorKind::Exhausted && seal.is_of_the_same(&looked.seal) => {
            }
            written => written?,
        }
        self.releases.write_record(name, &record)
    }
}
