//! What the target lets an operation do: nothing that a later one would undo, and nothing to what
//! it does not know.

use rollback_core::backend::{End, Evidence, Handle, Operation};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use super::{Placed, State};

impl State {
    /// Keeps the token of who acts, unless a later actor has published here.
    pub(super) fn publish(&mut self, cx: &Context) -> Result<(), BackendError> {
        cx.may_publish(self.published.as_ref())?;
        if let Some(fence) = cx.fence() {
            self.published = Some(fence.clone());
        }
        Ok(())
    }

    /// Whether an operation knows an instance: it is one of its ends, or its deployment made it, or
    /// an earlier one of the same history did. A later one, or one that took its place in the order
    /// after a backup was put back, it cannot know.
    fn knows(&self, op: &Operation, handle: &Handle) -> bool {
        let is = |end: &End| end.instance().is_some_and(|i| i.handle == *handle);
        let made = |p: &Placed| {
            let is_earlier = p.sequence < op.sequence;
            p.by.as_ref()
                .is_some_and(|by| *by == op.deployment || is_earlier)
        };
        is(&op.from) || is(&op.to) || self.placed.get(handle).is_some_and(made)
    }

    /// Refuses to take the place of what the operation does not know.
    pub(super) fn is_known(&self, op: &Operation) -> Result<(), BackendError> {
        let wanted = self.rolling.as_ref().map(|rolling| &rolling.to);
        match wanted.or(self.live.as_ref()) {
            Some(live) if !self.knows(op, live) => Err(BackendError::new(
                Kind::Conflict,
                "something else is live than this operation knows",
            )
            .on(live)
            .untouched()
            .advice("look at the platform, then adopt or deploy")
            .transient(false)),
            _ => Ok(()),
        }
    }

    /// Whether what is to be made live stands there, whole.
    pub(super) fn is_placed(&mut self, handle: &Handle) -> Result<(), BackendError> {
        let Some(placed) = self.placed.get(handle) else {
            if !self.removed.contains(handle) {
                self.violations
                    .push("switch to what never was there".into());
            }
            return Err(BackendError::new(Kind::Gone, "it is not there"));
        };
        match placed.complete {
            true => Ok(()),
            false => Err(BackendError::new(Kind::Corrupt, "it is half made")),
        }
    }

    /// Makes live what is placed. Where the other need not stop first it stops with `retire`, or, at a
    /// target that does this by itself, now.
    pub(super) fn bring_up(
        &mut self,
        op: &Operation,
        handle: &Handle,
    ) -> Result<Evidence, BackendError> {
        self.is_placed(handle)?;
        if self.managed {
            self.stop_all_but(Some(handle), op);
        }
        self.starts += 1;
        let start = self.starts;
        let placed = self.placed.get_mut(handle);
        let running = placed.map(|placed| {
            placed.was_live = true;
            *placed.running.get_or_insert(start)
        });
        self.live = Some(handle.clone());
        let start = running.unwrap_or(start).to_string();
        Ok(Evidence::default().with("start", start))
    }

    /// Stops everything that the operation knows, but for this.
    pub(super) fn stop_all_but(&mut self, this: Option<&Handle>, op: &Operation) {
        let known: Vec<Handle> = self
            .placed
            .keys()
            .filter(|handle| Some(*handle) != this && self.knows(op, handle))
            .cloned()
            .collect();
        for handle in known {
            if let Some(placed) = self.placed.get_mut(&handle) {
                placed.running = None;
            }
        }
    }
}
