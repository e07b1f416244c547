//! What becomes of a group: whether all its members go forward, or all go back. Pure.
//!
//! The decision is one event, [`Event::Decided`](crate::event::Event::Decided), on the coordinator's
//! record. Until it is there every member can go back, and whoever finds it missing may rule it out;
//! once it is there every member goes forward.

use crate::deployment::Deployment;
use crate::event::Cause;
use crate::health::Verdict;
use crate::recover::Decision;

/// What becomes of every member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They go, or stay, forward.
    Forward,
    /// They go back, for this cause.
    Back(Cause),
}

/// What the coordinator's record says of its group. `None`: neither yet. Who runs it may still decide;
/// once nobody does, it has to be ruled out on that record before anything else is done.
pub fn fate(record: &Deployment) -> Option<Fate> {
    if record.has_decided() {
        return Some(Fate::Forward);
    }
    match record.cause() {
        Some(Cause::Interrupted) => Some(Fate::Back(Cause::Interrupted)),
        Some(cause @ Cause::WithItsGroup { .. }) => Some(Fate::Back(cause.clone())),
        Some(cause) => Some(Fate::Back(Cause::WithItsGroup {
            workload: record.workload().clone(),
            deployment: record.id().clone(),
            why: cause.to_string(),
        })),
        // It was left as it was found, or given up.
        None if record.settlement().is_some() => Some(Fate::Back(Cause::Interrupted)),
        None => None,
    }
}

/// Why recovery takes this member back: because of itself, where it was the one that failed.
pub fn cause(member: &Deployment, group: &Cause) -> Cause {
    match (member.verdict(), group) {
        (Verdict::Failed { diagnostic }, _) => Cause::Unhealthy {
            diagnostic: diagnostic.clone(),
        },
        (_, Cause::WithItsGroup { deployment, .. }) if deployment == member.id() => {
            Cause::Interrupted
        }
        _ => group.clone(),
    }
}

/// What recovery does with a member that it would do this with alone.
pub fn decide(alone: Decision, fate: &Fate) -> Decision {
    match (fate, alone) {
        (
            Fate::Back(_),
            Decision::Prepare | Decision::Switch | Decision::Gate | Decision::Conclude,
        ) => Decision::GoBack,
        _ => alone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{LiveRecord, Membership, Opening, Outcome, Settlement, Trigger};
    use crate::event::{Event, TimedEvent};
    use crate::history::Sequence;
    use crate::id::{Actor, DeploymentId, GroupId};
    use crate::time::Timestamp;

    fn coordinator() -> Deployment {
        let at = Timestamp::UNIX_EPOCH;
        let id = DeploymentId::generate(at);
        let group = Membership::new(GroupId::of(id.clone()), "shop".parse().unwrap());
        let workload = "api@web-1".parse().unwrap();
        let who = Actor::user("ada").unwrap();
        let new = Opening::new(id, workload, Trigger::Deploy, who, at).in_group(group);
        Deployment::open(new, Sequence(1))
    }

    fn said(event: Option<Event>) -> Option<Fate> {
        let events = event.map(|e| TimedEvent::new(Timestamp::UNIX_EPOCH, e));
        let events: Vec<TimedEvent> = events.into_iter().collect();
        let record = coordinator().with(&events).unwrap();
        fate(&record)
    }

    #[test]
    fn what_its_coordinator_does_not_say_is_not_decided() {
        assert_eq!(said(None), None);
        let interrupted = Some(Fate::Back(Cause::Interrupted));
        assert_eq!(
            said(Some(Event::GoingBack(Cause::Interrupted))),
            interrupted
        );
        let why = "full".to_owned();
        let failed = said(Some(Event::GoingBack(Cause::StepFailed { error: why })));
        let Some(Fate::Back(Cause::WithItsGroup { workload, why, .. })) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (workload.to_string().as_str(), &*why),
            ("api@web-1", "full")
        );
        let left = Settlement::new(
            Outcome::Interrupted,
            Verdict::Unknown,
            LiveRecord::Unknown,
            "",
        );
        assert_eq!(said(Some(Event::Settled(left))), interrupted);
    }

    #[test]
    fn until_it_is_decided_nothing_goes_forward_and_nothing_that_is_left_alone_is_touched() {
        use Decision as D;
        let back = Fate::Back(Cause::Interrupted);
        for alone in [D::GoBack, D::Prepare, D::Switch, D::Gate, D::Conclude] {
            assert_eq!(decide(alone, &back), D::GoBack);
        }
        for alone in [D::ContinueBack, D::Drop, D::PutBack, D::Leave, D::Observe] {
            assert_eq!(decide(alone, &back), alone);
            assert_eq!(decide(alone, &Fate::Forward), alone);
        }
        for alone in [D::Switch, D::Gate, D::Conclude] {
            assert_eq!(decide(alone, &Fate::Forward), alone);
        }
    }
}
