//! Recovery's decisions: what an unfinished deployment and the platform say together. Pure.

use std::fmt;

use crate::backend::{End, Instance, Live, Observation, Operation, Running, Sighting};
use crate::deployment::{Deployment, LiveRecord, Phase, TriggerKind};
use crate::history::Fence;

/// Where the run path is entered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Nothing live was touched: go back, and settle as interrupted.
    GoBack,
    /// An automatic rollback that had not switched: prepare again, and go on. Going back would
    /// leave live what is known to be sick.
    Prepare,
    /// It had turned round already: finish that.
    ContinueBack,
    /// The switch, or a remediation, was begun: do it again (it converges), judge, and so on.
    Switch,
    /// It is live and not judged: judge it.
    Gate,
    /// It is live and judged: act on the verdict.
    Conclude,
    /// An adoption that was not settled: nothing was changed, settle as interrupted.
    Drop,
    /// It was live, and somebody has put the former release back by hand: touch nothing, say so.
    PutBack,
    /// Something that this deployment does not know is live: touch nothing, say so.
    Leave,
    /// A newer version of this library has begun it, and what it is about may be more than is known
    /// here: touch nothing, settle by what is live.
    Observe,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GoBack => "nothing live was touched: go back",
            Self::Prepare => "the live release failed its gate: go on with the automatic rollback",
            Self::ContinueBack => "finish going back",
            Self::Switch => "the switch was begun: finish it, then judge",
            Self::Gate => "it is live: judge it",
            Self::Conclude => "it is live and judged: conclude",
            Self::Drop => "nothing was changed: settle",
            Self::PutBack => "the former release was put back by hand: touch nothing",
            Self::Leave => "something else is live: touch nothing",
            Self::Observe => "a newer version began it: touch nothing, settle by what is live",
        })
    }
}

/// Whether what is live is neither end of an operation, or was published after `fence`: somebody
/// else has put it there.
pub fn is_foreign(op: &Operation, fence: Option<&Fence>, observed: &Observation) -> bool {
    let fenced_off = |own: &Fence| {
        let published = observed.published.as_ref();
        published.is_some_and(|published| !own.admits(published))
    };
    let own = |live: &Instance| {
        let is = |end: &End| end.instance().is_some_and(|end| end.handle == live.handle);
        is(&op.to) || is(&op.from)
    };
    // Before `prepare` has placed it, the end may be among what is seen, and cannot be told.
    let placed = op.to.instance().is_some();
    fence.is_some_and(fenced_off)
        || match &observed.live {
            Live::Nothing => false,
            Live::One(s) => !own(&s.instance),
            // What it takes the place of may be older than either end.
            Live::RollingOut(rolling) => !own(&rolling.to.instance),
            Live::Mixed(all, _) => placed && all.iter().any(|s| !own(&s.instance)),
        }
}

/// Decides. Never guesses: what neither record nor platform knows is left alone, whatever was to be
/// done. `fence` is the token of whoever takes over.
pub fn decide(deployment: &Deployment, fence: Option<&Fence>, observed: &Observation) -> Decision {
    if deployment.trigger().kind() == TriggerKind::Adopt {
        return Decision::Drop;
    }
    let op = deployment.operation();
    let to = op.to.instance();
    // A release that is deployed over itself may be placed where it is: then what is live does not
    // tell one end from the other.
    let tells = !op.is_in_place();
    if is_foreign(&op, fence, observed) {
        return Decision::Leave;
    }
    if deployment.is_newer() {
        return Decision::Observe;
    }
    // What is being rolled out by itself is as good as live: it will be, unless somebody acts.
    let shows = |end: &End| end.instance().is_some_and(|i| observed.leads_to(i));
    // An end that is not yet, or no more, this deployment's to make live was made so by a person.
    if tells && !deployment.switch_began() && shows(&op.to) {
        return Decision::Leave;
    }
    let is_ahead = deployment.cause().is_none() && deployment.switched().is_some();
    if tells && is_ahead && shows(&op.from) {
        return Decision::PutBack;
    }
    if deployment.cause().is_some() {
        return Decision::ContinueBack;
    }
    if !deployment.switch_began() {
        let automatic = deployment.trigger().kind() == TriggerKind::AutomaticRollback;
        return match deployment.task_in_doubt() {
            None if automatic => Decision::Prepare,
            _ => Decision::GoBack,
        };
    }
    let Some(sighting) = to.and_then(|to| observed.sighting_of(to)) else {
        return Decision::Switch;
    };
    match deployment.phase() {
        // It was stopped since, as by a reboot. That says nothing of the release: it is put in
        // place again, and then judged. What is known to be sick need not be.
        _ if stopped(sighting) && !deployment.verdict().is_failed() => Decision::Switch,
        Phase::Switched => Decision::Gate,
        // What a remediation has left half-way, its platform knows how to put right: a container
        // that was stopped to be started again, say.
        Phase::Remediating => Decision::Switch,
        // A failed verdict may have been about to be remedied: judge again, it costs a look.
        Phase::Judged if deployment.verdict().is_failed() => Decision::Gate,
        // What was judged is not what runs now.
        Phase::Judged | Phase::Agreed | Phase::Retiring | Phase::Retired
            if started_since(deployment, sighting) =>
        {
            Decision::Gate
        }
        Phase::Judged | Phase::Agreed | Phase::Retiring | Phase::Retired => Decision::Conclude,
        _ => Decision::Switch,
    }
}

/// What is live of a deployment's two ends, as far as a look alone tells.
pub fn live_by_look(deployment: &Deployment, observed: &Observation) -> LiveRecord {
    let op = deployment.operation();
    let shows = |end: &End| end.instance().is_some_and(|i| observed.shows(i));
    match &observed.live {
        Live::Nothing => LiveRecord::Nothing,
        // Of two ends that are one, it is the former that is known.
        _ if shows(&op.from) => deployment.opening().fallback.clone(),
        _ if shows(&op.to) => LiveRecord::Known(deployment.id().clone()),
        _ => LiveRecord::Unknown,
    }
}

fn stopped(sighting: &Sighting) -> bool {
    matches!(sighting.running, Running::No(_))
}

/// Whether what runs is not what the switch has started: its evidence is another. So it is after a
/// reboot, and also where a restart hook or a remediation has started it: a look more costs nothing.
fn started_since(deployment: &Deployment, sighting: &Sighting) -> bool {
    let Some(switched) = deployment.switched() else {
        return false;
    };
    let now = &sighting.evidence.0;
    switched
        .0
        .iter()
        .any(|(name, value)| now.get(name).is_some_and(|now| now != value))
}
