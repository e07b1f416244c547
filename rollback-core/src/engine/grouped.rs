//! The run path of a member of a group: where it waits for the others, and what it does with them.

use super::runner::{Runner, Step};
use super::together::{At, InGroup, Seat, Turn, Turning};
use super::{fate, guards};
use crate::backend::WayBack;
use crate::error::Error;
use crate::event::{Cause, Event};
use crate::group::Fate;
use crate::id::GuardName;
use crate::plan::Refusal;

impl Runner {
    /// Its place among the others that run in this process.
    pub(super) fn seat(&self) -> Option<&Seat> {
        match &self.group {
            Some(InGroup::Among(seat)) => Some(seat),
            _ => None,
        }
    }

    /// Whether it is recovered, and its group went live.
    pub(super) fn is_decided(&self) -> bool {
        matches!(&self.group, Some(InGroup::Fated(Fate::Forward)))
    }

    /// Waits until all of its group have come so far, and until what it needs is live before it switches.
    /// `Some`: it goes back.
    pub(super) async fn meets(&mut self, at: At) -> Result<Option<Step>, Error> {
        let Some(seat) = self.seat() else {
            return Ok(None);
        };
        seat.reached(at);
        let met = async {
            seat.all(at).await?;
            match at {
                At::Ready => seat.needs().await,
                _ => Ok(()),
            }
        };
        let turn = tokio::select! {
            biased;
            met = met => match met {
                Ok(()) => return Ok(None),
                Err(turn) => turn,
            },
            () = self.asked_to_stop() => {
                return self.go_back(Cause::Cancelled { by: None }).await.map(Some);
            }
            over = self.tenure.over() => return Err(self.over(over)),
        };
        self.turned(turn).await.map(Some)
    }

    /// Why it may not move with its group, now that it is known how it could be put back.
    pub(super) fn cannot_go_back(&self, way_back: &WayBack) -> Option<String> {
        let WayBack::None(why) = way_back else {
            return None;
        };
        let guard = GuardName::way_back();
        let forced = self.deployment.opening().forced.contains(&guard);
        let refuses = self.deployment.group().is_some() && !forced;
        let why = || Refusal::Guard {
            guard,
            why: guards::no_way_back(why),
        };
        refuses.then(|| why().to_string())
    }

    async fn asked_to_stop(&self) {
        tokio::select! {
            () = self.cancellation.cancelled() => {}
            () = self.tenure.cancel_requested() => {}
        }
    }

    /// It is live and healthy: on, if all of its group are.
    pub(super) async fn agree(&mut self) -> Result<Step, Error> {
        match &self.group {
            None | Some(InGroup::Fated(Fate::Forward)) => return Ok(Step::Retire),
            Some(InGroup::Fated(Fate::Back(cause))) => {
                let cause = cause.clone();
                return self.go_back(cause).await;
            }
            Some(InGroup::Among(_)) => {}
        }
        // From here on it is not its own to go back.
        self.journal(Event::Agreed).await?;
        if self.deployment.coordinates().is_some() {
            return self.decide().await;
        }
        let Some(seat) = self.seat() else {
            return Ok(Step::Retire);
        };
        seat.reached(At::Agreed);
        let turn = tokio::select! {
            biased;
            turn = seat.turn() => turn,
            () = self.asked_to_stop() => match seat.turns(|| "cancelled".to_owned()) {
                Turning::TooLate => tokio::select! {
                    turn = seat.turn() => turn,
                    over = self.tenure.over() => return Err(self.over(over)),
                },
                Turning::Turned | Turning::With(_) => {
                    return self.go_back(Cause::Cancelled { by: None }).await;
                }
            },
            over = self.tenure.over() => return Err(self.over(over)),
        };
        self.turned(turn).await
    }

    /// Puts on record that all go forward, once all have agreed. If that cannot be done, whether it was is
    /// for whoever asks the store.
    async fn decide(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.meets(At::Agreed).await? {
            return Ok(step);
        }
        if let Some(seat) = self.seat()
            && !seat.begins_to_decide()
        {
            let turn = seat.turn().await;
            return self.turned(turn).await;
        }
        self.journal(Event::Decided).await?;
        if let Some(seat) = self.seat() {
            seat.decided();
        }
        Ok(Step::Retire)
    }

    /// Goes where the group goes.
    async fn turned(&mut self, turn: Turn) -> Result<Step, Error> {
        let fate = match turn {
            Turn::Forward => return Ok(Step::Retire),
            Turn::Back(turned) => {
                let cause = self.seat().and_then(|seat| seat.cause(&turned));
                Fate::Back(cause.unwrap_or(Cause::Cancelled { by: None }))
            }
            // Who has not agreed is needed for the decision: there is none.
            Turn::Open | Turn::Deciding | Turn::Lost if !self.deployment.has_agreed() => {
                Fate::Back(Cause::Interrupted)
            }
            Turn::Open | Turn::Deciding | Turn::Lost => {
                let told = fate::of(&self.inner, &self.deployment);
                tokio::select! {
                    told = told => told?,
                    over = self.tenure.over() => return Err(self.over(over)),
                }
            }
        };
        match fate {
            Fate::Forward => Ok(Step::Retire),
            Fate::Back(cause) => self.go_back(cause).await,
        }
    }

    /// Turns its group round with it, and says why it goes back.
    pub(super) fn turns_its_group(&self, cause: Cause) -> Cause {
        let Some(seat) = self.seat() else {
            return cause;
        };
        match (seat.turns(|| cause.to_string()), &cause) {
            // The others have stopped it: nobody else has.
            (Turning::With(others), Cause::Cancelled { by: None }) => others,
            (Turning::TooLate, Cause::Cancelled { by: None }) => Cause::Interrupted,
            _ => cause,
        }
    }

    /// What needs it goes back before it does.
    pub(super) async fn waits_for_dependents(&self) -> Result<(), Error> {
        let Some(seat) = self.seat() else {
            return Ok(());
        };
        tokio::select! {
            biased;
            () = seat.dependents() => Ok(()),
            over = self.tenure.over() => Err(self.over(over)),
        }
    }
}
