//! Making an instance live, and taking down what is.

use rollback_core::backend::{End, Evidence, Instance, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::id::DeploymentId;

use crate::backend::{SystemdBackend, evidence};
use crate::lock::Held;
use crate::manager::Bus;
use crate::place::Placed;
use crate::record::{Installed, Shelved};
use crate::search;
use crate::state::UnitState;

impl SystemdBackend {
    /// The whole of a switch.
    pub(crate) async fn switched(
        &self,
        cx: &Context,
        op: &Operation,
    ) -> Result<Evidence, BackendError> {
        if let End::Planned(release) = &op.to {
            let what = "this release was not prepared";
            return Err(BackendError::new(Kind::Failed, what)
                .on(release)
                .untouched());
        }
        let bus = Bus::connect(self.config()).await?;
        // Whatever is left to do: from now on nobody who was here before does anything.
        drop(self.publishing(cx).await.map_err(BackendError::untouched)?);
        match op.to.instance() {
            Some(to) => self.put_live(cx, &bus, &op.deployment, to).await,
            None => self.take_down(cx, &bus).await,
        }
    }

    /// Puts an instance's file in place and restarts the unit, unless what runs is of that very
    /// file already.
    async fn put_live(
        &self,
        cx: &Context,
        bus: &Bus,
        by: &DeploymentId,
        to: &Instance,
    ) -> Result<Evidence, BackendError> {
        let state = bus.state().await?;
        if let Some(installed) = self.done(cx, bus, &state, by, to).await? {
            self.prove(cx, bus, installed, &state).await?;
            return Ok(evidence(&state));
        }
        let invocation = state.invocation;
        let (by, to) = (by.clone(), to.clone());
        let placing = self
            .files(cx, move |unit, cx| unit.place(cx, &by, &to, &invocation))
            .await?;
        let mut installed = placing.installed;
        cx.check()?;
        // First, so that one reload is for both.
        self.set_enabled(cx, bus, &placing.shelved).await?;
        cx.check()?;
        bus.reload().await?;
        cx.check()?;
        // Before the restart: what the manager did not load must not be started either.
        let mut state = bus.state().await?;
        self.verify(&state, placing.how)?;
        let same = placing.runs.as_ref() == Some(&state.invocation);
        let untouched = same && state.job.is_none() && (state.runs() || state.rests());
        if !untouched {
            installed.before = Some(state.invocation.clone());
            // A restart that the manager counts comes after this one.
            installed.restarts = Some(0);
            let held = self.note(cx, &installed).await?;
            cx.check()?;
            state = bus.restart(cx, held).await?;
            cx.check()?;
            self.verify(&state, placing.how)?;
        }
        self.prove(cx, bus, installed, &state).await?;
        Ok(evidence(&state))
    }

    /// What is in place, if it is what `to` and this deployment made it, restarted and all.
    async fn done(
        &self,
        cx: &Context,
        bus: &Bus,
        state: &UnitState,
        by: &DeploymentId,
        to: &Instance,
    ) -> Result<Option<Installed>, BackendError> {
        let (by, to) = (by.clone(), to.clone());
        let placed = self.files(cx, move |unit, _| {
            let key = unit.shelf.key()?;
            let place = unit.in_place("")?;
            Ok(place
                .filter(|p| key.made(&to.release.artifact().digest, &p.fragment.content))
                .and_then(|p| p.installed)
                .filter(|i| i.handle == to.handle && i.by == by))
        });
        let Some(installed) = placed.await?.filter(|_| !state.needs_reload) else {
            return Ok(None);
        };
        // An instance that ended by itself since is not restarted either: it is judged. Nor is one
        // that somebody else has restarted since the manager loaded its file: this deployment's
        // own restart, say, which ended the engine that asked for it.
        let now = &state.invocation;
        let since = |before: &String| before != now && !now.is_empty();
        let runs = installed.invocation.as_ref() == Some(now)
            || installed.before.as_ref().is_some_and(since)
            || installed.is_done(state, bus.boot().await?);
        Ok(runs.then_some(installed))
    }

    /// Writes down by what a switch is proven.
    async fn prove(
        &self,
        cx: &Context,
        bus: &Bus,
        mut installed: Installed,
        state: &UnitState,
    ) -> Result<(), BackendError> {
        let boot = bus.boot().await?;
        let own = installed.invocation.as_ref() == Some(&state.invocation);
        if own || installed.is_done(state, boot) {
            return Ok(());
        }
        installed.invocation = Some(state.invocation.clone());
        installed.enablement = Some(state.file_state.clone());
        installed.restarts.get_or_insert(state.restarts);
        installed.boot = Some(boot);
        installed.done = state.rests();
        drop(self.note(cx, &installed).await?);
        Ok(())
    }

    pub(crate) async fn note(
        &self,
        cx: &Context,
        installed: &Installed,
    ) -> Result<Held, BackendError> {
        let installed = installed.clone();
        self.files(cx, move |unit, cx| unit.note(cx, &installed))
            .await
    }

    /// By what right the next effect is made.
    async fn publishing(&self, cx: &Context) -> Result<Held, BackendError> {
        self.files(cx, |unit, cx| unit.shelf.publish(cx)).await
    }

    async fn take_down(&self, cx: &Context, bus: &Bus) -> Result<Evidence, BackendError> {
        let state = bus.state().await?;
        // A unit may run on although its file is gone.
        if state.active != "inactive" {
            bus.stop(cx, self.publishing(cx).await?).await?;
        }
        cx.check()?;
        if self.config().enable && state.file_state == "enabled" {
            let _held = self.publishing(cx).await?;
            bus.set_enabled(false).await?;
            cx.check()?;
        }
        self.files(cx, |unit, cx| unit.remove(cx)).await?;
        bus.reload().await?;
        cx.check()?;
        self.files(cx, |unit, cx| unit.note_nothing(cx)).await?;
        Ok(Evidence::default())
    }

    /// A release of ours is enabled if that was asked for; what was found gets back what it had.
    async fn set_enabled(
        &self,
        cx: &Context,
        bus: &Bus,
        shelved: &Shelved,
    ) -> Result<(), BackendError> {
        let wanted = match shelved.enablement.as_deref() {
            None | Some("enabled") => true,
            Some("disabled") => false,
            Some(_) => return Ok(()),
        };
        if self.config().enable {
            let _held = self.publishing(cx).await?;
            bus.set_enabled(wanted).await?;
        }
        Ok(())
    }

    /// Reads back what the manager made of it: a reload may report success and not have happened
    /// (systemd#43001), and another file may come first.
    fn verify(&self, state: &UnitState, placed: Placed) -> Result<(), BackendError> {
        let own = state.fragment == search::own_name(self.config());
        let ours = match placed {
            Placed::Written => own,
            Placed::Uncovered => !own,
            Placed::Linked => true,
        };
        if ours && !state.needs_reload && state.load == "loaded" {
            return Ok(());
        }
        Err(
            BackendError::new(Kind::Failed, "the manager has not loaded the new unit")
                .on(format!(
                    "{} ({}, from {:?}{}{})",
                    self.config().unit,
                    state.load,
                    state.fragment,
                    if state.load_error.is_empty() {
                        ""
                    } else {
                        ": "
                    },
                    state.load_error
                ))
                .advice("look at that file and at the manager's journal"),
        )
    }
}
