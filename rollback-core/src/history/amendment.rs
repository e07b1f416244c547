//! What people set on a workload outside of deployments, and the record of who did.

use serde::{Deserialize, Serialize};

use super::{Floor, Hold, PolicySet, Recall, Sequence, StoredPolicy};
use crate::deployment::{Deployment, LiveRecord, Outcome, Settlement};
use crate::event::{Event, TimedEvent};
use crate::health::Verdict;
use crate::id::{Actor, DeploymentId, ShortText};
use crate::newer::{Newer, keeps_newer};
use crate::policy::Policy;
use crate::time::Timestamp;

/// How many amendments a workload's state remembers; the oldest go first.
pub const MAX_AMENDMENTS: usize = 50;

/// One change to what holds for a workload, and who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amendment {
    /// Who makes the change.
    pub by: Actor,
    /// When they do, by the engine's clock.
    pub at: Timestamp,
    /// What is changed.
    pub what: Amend,
}

impl Amendment {
    /// A change that somebody makes now.
    pub fn new(by: Actor, at: Timestamp, what: Amend) -> Self {
        Self { by, at, what }
    }
}

/// What an [`Amendment`] changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Amend {
    /// Nothing but rollbacks goes through from now on.
    Hold {
        /// Why, for whom it keeps from deploying.
        why: ShortText,
    },
    /// The hold is lifted.
    LiftHold,
    /// This policy holds in place of the program's.
    SetPolicy(Box<Policy>),
    /// The program's policy holds again.
    ClearPolicy,
    /// No automatic rollback goes to this artifact, and no other one unless it is forced.
    Recall {
        /// The digest of the artifact, whole, as deployments have it on record.
        artifact: String,
        /// What is wrong with it, for whom it keeps from going back.
        why: ShortText,
    },
    /// It may be gone to again.
    ClearRecall {
        /// The digest that was recalled.
        artifact: String,
    },
    /// No automatic rollback goes below this deployment, and no other one unless it is forced.
    SetFloor {
        /// The oldest deployment that rollbacks still go to.
        deployment: DeploymentId,
        /// Its place in the order.
        sequence: Sequence,
        /// The place of the deployment that it goes back to, if it is a rollback; else its own.
        origin: Sequence,
        /// What stands in the way of older ones, for whom it keeps from going back.
        why: ShortText,
    },
    /// There is no floor any more.
    ClearFloor,
}

/// An amendment as the workload's state remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Amended {
    /// Who made the change.
    pub by: Actor,
    /// When they did, by their engine's clock.
    pub at: Timestamp,
    /// What was done.
    #[serde(flatten)]
    pub what: WasAmended,
}

/// What was done in an [`Amended`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "amended", rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum WasAmended {
    /// The workload was held.
    Held {
        /// Why, in the words of who held it.
        why: ShortText,
    },
    /// A hold was lifted.
    HoldLifted {
        /// Whose it was.
        of: Actor,
        /// Why it had been there.
        why: ShortText,
    },
    /// A policy was set.
    PolicySet,
    /// The policy was cleared.
    PolicyCleared,
    /// A deployment was abandoned.
    Abandoned {
        /// The deployment that was given up.
        deployment: DeploymentId,
        /// Why, in the words of who gave it up.
        why: ShortText,
    },
    /// An artifact was recalled.
    Recalled {
        /// The artifact's digest.
        artifact: String,
        /// Why, in the words of who recalled it.
        why: ShortText,
    },
    /// A recall was taken back.
    RecallCleared {
        /// The artifact's digest.
        artifact: String,
    },
    /// A floor was set.
    FloorSet {
        /// Below which deployment no rollback goes.
        deployment: DeploymentId,
        /// Why, in the words of who set it.
        why: ShortText,
    },
    /// The floor was taken away.
    FloorCleared,
    /// What a newer version of this library did, kept as it is.
    #[serde(skip)]
    Newer(Newer),
}

keeps_newer!(WasAmended, "amended");

/// Giving up a deployment that recovery cannot end: its record is damaged, or what it needs has
/// left the program. What is live is `Unknown` afterwards, until somebody adopts or deploys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandonment {
    /// Who gives it up.
    pub by: Actor,
    /// When they do, by the engine's clock.
    pub at: Timestamp,
    /// Why, in their words; kept with the record and the workload.
    pub why: ShortText,
}

impl Abandonment {
    /// Somebody gives up now what cannot be ended, and says why.
    pub fn new(by: Actor, at: Timestamp, why: ShortText) -> Self {
        Self { by, at, why }
    }
}

impl Abandonment {
    /// How the abandoned deployment is settled, if its record can still be written to.
    pub fn settlement(&self, verdict: &Verdict) -> Settlement {
        Settlement::new(
            Outcome::Interrupted,
            verdict.clone(),
            LiveRecord::Unknown,
            format!(
                "It was abandoned by {}: {}. What is live is not known: look at the platform, then \
                 adopt or deploy.",
                self.by, self.why
            ),
        )
    }

    /// For stores: the event that ends this record.
    pub fn settled(&self, record: &Deployment) -> TimedEvent {
        let settlement = self.settlement(record.verdict());
        TimedEvent::new(self.at, Event::Settled(settlement))
    }
}

/// What people have set on a workload: the part of its state that [`Amendment`]s change. Every store
/// changes it by these rules. Exhaustive: one that it did not keep would be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether deploys are held.
    pub hold: Option<Hold>,
    /// The durable policy, where one was set.
    pub policy: Option<StoredPolicy>,
    /// Artifacts that no automatic rollback goes to.
    pub recalls: Vec<Recall>,
    /// Below what no automatic rollback goes.
    pub floor: Option<Floor>,
    /// Who did what, oldest first; the last [`MAX_AMENDMENTS`].
    pub amendments: Vec<Amended>,
}

impl Settings {
    /// Makes a change, and notes who made it. Lifting a hold where there is none is no change.
    pub fn amend(&mut self, amendment: &Amendment) {
        let (by, at) = (&amendment.by, amendment.at);
        let what = match &amendment.what {
            Amend::Hold { why } => {
                self.hold = Some(Hold {
                    by: by.clone(),
                    why: why.clone(),
                    since: at,
                });
                WasAmended::Held { why: why.clone() }
            }
            Amend::LiftHold => match self.hold.take() {
                Some(hold) => WasAmended::HoldLifted {
                    of: hold.by,
                    why: hold.why,
                },
                None => return,
            },
            Amend::SetPolicy(policy) => {
                self.policy = Some(StoredPolicy {
                    policy: policy.as_ref().clone(),
                    set: Some(PolicySet { by: by.clone(), at }),
                });
                WasAmended::PolicySet
            }
            Amend::ClearPolicy => match self.policy.take() {
                Some(_) => WasAmended::PolicyCleared,
                None => return,
            },
            Amend::Recall { artifact, why } => {
                self.recalls.retain(|r| r.artifact != *artifact);
                self.recalls.push(Recall {
                    artifact: artifact.clone(),
                    why: why.clone(),
                    by: by.clone(),
                    at,
                });
                WasAmended::Recalled {
                    artifact: artifact.clone(),
                    why: why.clone(),
                }
            }
            Amend::ClearRecall { artifact } => {
                let before = self.recalls.len();
                self.recalls.retain(|r| r.artifact != *artifact);
                if self.recalls.len() == before {
                    return;
                }
                WasAmended::RecallCleared {
                    artifact: artifact.clone(),
                }
            }
            Amend::SetFloor {
                deployment,
                sequence,
                origin,
                why,
            } => {
                self.floor = Some(Floor {
                    deployment: deployment.clone(),
                    sequence: *sequence,
                    origin: *origin,
                    why: why.clone(),
                    by: by.clone(),
                    at,
                });
                WasAmended::FloorSet {
                    deployment: deployment.clone(),
                    why: why.clone(),
                }
            }
            Amend::ClearFloor => match self.floor.take() {
                Some(_) => WasAmended::FloorCleared,
                None => return,
            },
        };
        self.note(by, at, what);
    }

    /// Notes that a deployment was abandoned.
    pub fn abandoned(&mut self, deployment: &DeploymentId, abandonment: &Abandonment) {
        let what = WasAmended::Abandoned {
            deployment: deployment.clone(),
            why: abandonment.why.clone(),
        };
        self.note(&abandonment.by, abandonment.at, what);
    }

    fn note(&mut self, by: &Actor, at: Timestamp, what: WasAmended) {
        self.amendments.push(Amended {
            by: by.clone(),
            at,
            what,
        });
        let over = self.amendments.len().saturating_sub(MAX_AMENDMENTS);
        self.amendments.drain(..over);
    }
}
