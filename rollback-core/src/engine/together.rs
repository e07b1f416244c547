//! [`Together`]: how the runs of a group wait for each other, in one process.
//!
//! Nothing of it is durable: it only keeps the runs in step. What becomes of a group after a crash, its
//! coordinator's record alone says ([`group::fate`](crate::group::fate)).

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::context::Cancellation;
use crate::event::Cause;
use crate::group::Fate;
use crate::id::{DeploymentId, WorkloadId};

/// How many members of a group act at once.
const AT_ONCE: usize = 16;

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    /// It is not prepared yet.
    Opened,
    /// It is prepared; no release task of it has run.
    Prepared,
    /// All that can be done before its switch is done.
    Ready,
    /// It is live and healthy, on record.
    Agreed,
}

/// What becomes of the group, as far as this process has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// Every member can go back still.
    Open,
    /// The coordinator writes down that all go forward: nobody turns round any more.
    Deciding,
    /// All go forward.
    Forward,
    /// All go back, because of this member.
    Back(Turned),
    /// The coordinator's run has ended without saying: the store knows, or has to be told.
    Lost,
}

/// What came of turning a group round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turning {
    /// It goes back because of who asked.
    Turned,
    /// It goes back already, for this cause.
    With(Cause),
    /// It is decided, or being decided.
    TooLate,
}

/// Why a group goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turned {
    by: usize,
    why: String,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    at: Vec<At>,
    /// Which of them nothing is waited for any more: they are back where they were, or nobody runs them.
    away: Vec<bool>,
}

/// One member, as the others see it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) workload: WorkloadId,
    pub(super) deployment: DeploymentId,
    /// Which of the others it needs, by their places; in no circle.
    pub(super) needs: Vec<usize>,
}

/// The runs of a group. The first member is the coordinator.
#[derive(Debug)]
pub(super) struct Together {
    members: Vec<Member>,
    state: watch::Sender<State>,
    stops: Vec<Cancellation>,
    room: Semaphore,
}

/// A member's place among the others. Dropping it tells them that nobody runs it any more.
#[derive(Debug)]
pub(super) struct Seat {
    group: Arc<Together>,
    place: usize,
}

/// How a run stands to its group.
#[derive(Debug)]
pub(super) enum InGroup {
    /// The others run in this process.
    Among(Seat),
    /// It was recovered, and this is what becomes of the group.
    Fated(Fate),
}

impl Together {
    /// The seats of these members, in their order.
    pub(super) fn seats(members: Vec<Member>) -> Vec<Seat> {
        let count = members.len();
        let group = Arc::new(Self {
            stops: members.iter().map(|_| Cancellation::new()).collect(),
            members,
            state: watch::Sender::new(State {
                turn: Turn::Open,
                at: vec![At::Opened; count],
                away: vec![false; count],
            }),
            room: Semaphore::new(AT_ONCE),
        });
        let seat = |place| Seat {
            group: Arc::clone(&group),
            place,
        };
        (0..count).map(seat).collect()
    }
}

impl Seat {
    /// What stops its forward path when the group turns round.
    pub(super) fn stop(&self) -> &Cancellation {
        &self.group.stops[self.place]
    }

    pub(super) fn is_coordinator(&self) -> bool {
        self.place == 0
    }

    /// Room to act in.
    pub(super) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.group.room.acquire().await.ok()
    }

    /// It has come so far.
    pub(super) fn reached(&self, at: At) {
        self.group.state.send_modify(|s| s.at[self.place] = at);
    }

    /// Until everybody has come so far; an error: not everybody will.
    pub(super) async fn all(&self, at: At) -> Result<(), Turn> {
        self.until(|s| match &s.turn {
            Turn::Back(_) | Turn::Lost => Some(Err(s.turn.clone())),
            _ => s.at.iter().all(|a| *a >= at).then_some(Ok(())),
        })
        .await
    }

    /// Until what it needs is live and healthy; an error: it will not be.
    pub(super) async fn needs(&self) -> Result<(), Turn> {
        let needs = &self.group.members[self.place].needs;
        self.until(|s| match &s.turn {
            Turn::Back(_) | Turn::Lost => Some(Err(s.turn.clone())),
            _ => {
                let met = needs.iter().all(|need| s.at[*need] == At::Agreed);
                met.then_some(Ok(()))
            }
        })
        .await
    }

    /// For the coordinator, once all have agreed: whether nobody has turned round. From then on nobody
    /// does.
    pub(super) fn begins_to_decide(&self) -> bool {
        self.group.state.send_if_modified(|s| {
            let open = s.turn == Turn::Open;
            if open {
                s.turn = Turn::Deciding;
            }
            open
        })
    }

    /// It is on record.
    pub(super) fn decided(&self) {
        self.group.state.send_modify(|s| s.turn = Turn::Forward);
    }

    /// Until it is known what becomes of the group.
    pub(super) async fn turn(&self) -> Turn {
        self.until(|s| match &s.turn {
            Turn::Open | Turn::Deciding => None,
            turn => Some(turn.clone()),
        })
        .await
    }

    /// Turns the group round, unless it has turned or it is too late.
    pub(super) fn turns(&self, why: impl FnOnce() -> String) -> Turning {
        let turned = self.group.state.send_if_modified(|s| {
            let open = s.turn == Turn::Open;
            if open {
                let (by, why) = (self.place, why());
                s.turn = Turn::Back(Turned { by, why });
            }
            open
        });
        if turned {
            self.stop_others();
            return Turning::Turned;
        }
        match &self.group.state.borrow().turn {
            Turn::Back(turned) => self.cause(turned).map_or(Turning::Turned, Turning::With),
            _ => Turning::TooLate,
        }
    }

    /// Why it goes back with the others; `None`: they go back because of it.
    pub(super) fn cause(&self, turned: &Turned) -> Option<Cause> {
        let by = &self.group.members[turned.by];
        (turned.by != self.place).then(|| Cause::WithItsGroup {
            workload: by.workload.clone(),
            deployment: by.deployment.clone(),
            why: turned.why.clone(),
        })
    }

    /// Until those that need it are back where they were, or nobody runs them.
    pub(super) async fn dependents(&self) {
        let members = &self.group.members;
        self.until(|s| {
            let mut others = members.iter().zip(&s.away);
            let waits = others.any(|(m, away)| m.needs.contains(&self.place) && !away);
            (!waits).then_some(())
        })
        .await;
    }

    /// It is back where it was.
    pub(super) fn is_back(&self) {
        self.group.state.send_modify(|s| s.away[self.place] = true);
    }

    fn stop_others(&self) {
        for (place, stop) in self.group.stops.iter().enumerate() {
            if place != self.place {
                stop.cancel();
            }
        }
    }

    async fn until<T>(&self, ask: impl Fn(&State) -> Option<T>) -> T {
        let mut state = self.group.state.subscribe();
        loop {
            if let Some(answer) = ask(&state.borrow_and_update()) {
                return answer;
            }
            // The sender lives in the group, so the channel cannot close under us.
            let _ = state.changed().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let coordinates = self.is_coordinator();
        let mut turned = false;
        self.group.state.send_modify(|s| {
            s.away[self.place] = true;
            match s.turn {
                Turn::Open | Turn::Deciding if coordinates => s.turn = Turn::Lost,
                Turn::Open => {
                    let why = "its run stopped before it was settled".to_owned();
                    let by = self.place;
                    s.turn = Turn::Back(Turned { by, why });
                    turned = true;
                }
                _ => {}
            }
            turned |= s.turn == Turn::Lost;
        });
        if turned {
            self.stop_others();
        }
    }
}
