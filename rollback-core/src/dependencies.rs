//! Dependencies: who needs whom, and who is in no state to be built upon. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deployment::{Deployment, LiveRecord, Outcome};
use crate::history::WorkloadState;
use crate::id::WorkloadId;

/// The declared graph: each workload and what it needs. Cycles are allowed; they make their
/// members dependents of each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    needs: BTreeMap<WorkloadId, BTreeSet<WorkloadId>>,
}

impl Graph {
    /// Declares that `workload` needs `other`. That it needs itself goes without saying.
    pub fn declare(&mut self, workload: WorkloadId, other: WorkloadId) {
        if workload != other {
            self.needs.entry(workload).or_default().insert(other);
        }
    }

    /// What a workload needs directly.
    pub fn needs(&self, workload: &WorkloadId) -> impl Iterator<Item = &WorkloadId> {
        self.needs.get(workload).into_iter().flatten()
    }

    /// Who needs a workload directly.
    pub fn needed_by<'a>(
        &'a self,
        workload: &'a WorkloadId,
    ) -> impl Iterator<Item = &'a WorkloadId> {
        self.needs
            .iter()
            .filter(move |(_, needs)| needs.contains(workload))
            .map(|(dependent, _)| dependent)
    }

    /// Who is affected when a workload changes: its dependents, theirs, and so on; never itself.
    pub fn affected_by(&self, workload: &WorkloadId) -> BTreeSet<WorkloadId> {
        let mut affected = BTreeSet::new();
        let mut next = vec![workload];
        while let Some(at) = next.pop() {
            for dependent in self.needed_by(at) {
                if dependent != workload && affected.insert(dependent.clone()) {
                    next.push(dependent);
                }
            }
        }
        affected
    }

    /// These workloads, each after those of them that it needs, directly or through others, and with them.
    /// In a circle one has to be first: it is then said to need none of those that come after it.
    pub fn in_order(&self, of: &BTreeSet<WorkloadId>) -> Vec<(WorkloadId, BTreeSet<WorkloadId>)> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for workload in of {
            self.visit(workload, of, &mut seen, &mut order);
        }
        order
    }

    fn visit(
        &self,
        workload: &WorkloadId,
        of: &BTreeSet<WorkloadId>,
        seen: &mut BTreeSet<WorkloadId>,
        order: &mut Vec<(WorkloadId, BTreeSet<WorkloadId>)>,
    ) {
        if !seen.insert(workload.clone()) {
            return;
        }
        let needs = self.needs_among(workload, of);
        for other in &needs {
            self.visit(other, of, seen, order);
        }
        let before = |w: &WorkloadId| order.iter().any(|(earlier, _)| earlier == w);
        let needs = needs.into_iter().filter(before).collect();
        order.push((workload.clone(), needs));
    }

    /// Which of these a workload needs, directly or through others.
    fn needs_among(
        &self,
        workload: &WorkloadId,
        of: &BTreeSet<WorkloadId>,
    ) -> BTreeSet<WorkloadId> {
        let mut found = BTreeSet::new();
        let mut next = vec![workload];
        while let Some(at) = next.pop() {
            for other in self.needs(at) {
                if other != workload && found.insert(other.clone()) {
                    next.push(other);
                }
            }
        }
        found.retain(|w| of.contains(w));
        found
    }
}

/// How a neighbour stands to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The workload needs it.
    Dependency,
    /// It needs the workload.
    Dependent,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dependency => "dependency",
            Self::Dependent => "dependent",
        })
    }
}

/// Why a neighbour is in no state to go ahead with; `None` when it is. `live` is the record of
/// what is live on it.
pub fn trouble(
    relation: Relation,
    state: &WorkloadState,
    live: Option<&Deployment>,
) -> Option<String> {
    let what = if let Some(in_flight) = &state.in_flight {
        format!("{} is in flight", in_flight.deployment)
    } else {
        match (&state.live, live) {
            // Who needs this and does not run is not affected.
            (LiveRecord::Nothing, _) if relation == Relation::Dependent => return None,
            (LiveRecord::Nothing, _) => "nothing is live on it".to_owned(),
            (LiveRecord::Unknown, _) => "what is live on it is not known".to_owned(),
            (LiveRecord::Known(id), Some(live)) if live.outcome() == Some(Outcome::Degraded) => {
                format!("it is degraded since {id}")
            }
            (LiveRecord::Known(id), Some(live)) if live.verdict().is_failed() => {
                format!("it is unhealthy since {id}")
            }
            (LiveRecord::Known(_), _) => return None,
        }
    };
    Some(format!("{relation} {}: {what}", state.workload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_down_the_line_is_affected_and_a_cycle_ends() {
        let id = |s: &str| -> WorkloadId { s.parse().unwrap() };
        let mut graph = Graph::default();
        graph.declare(id("web@a"), id("api@a"));
        graph.declare(id("api@a"), id("db@a"));
        graph.declare(id("db@a"), id("web@a"));
        graph.declare(id("cron@a"), id("api@a"));
        let affected: Vec<String> = graph
            .affected_by(&id("db@a"))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(affected, ["api@a", "cron@a", "web@a"]);
        assert_eq!(graph.needs(&id("cron@a")).count(), 1);
    }

    #[test]
    fn each_comes_after_what_it_needs_also_through_one_that_is_not_among_them() {
        let id = |s: &str| -> WorkloadId { s.parse().unwrap() };
        let mut graph = Graph::default();
        graph.declare(id("api@a"), id("pool@a"));
        graph.declare(id("pool@a"), id("db@a"));
        graph.declare(id("cron@a"), id("api@a"));
        // A circle is cut where it is entered.
        graph.declare(id("x@a"), id("y@a"));
        graph.declare(id("y@a"), id("x@a"));
        let of = ["api@a", "cron@a", "db@a", "x@a", "y@a"].map(id);
        let told: Vec<String> = graph
            .in_order(&of.into_iter().collect())
            .iter()
            .map(|(w, needs)| {
                let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
                format!("{w} after {}", needs.join("+"))
            })
            .collect();
        assert_eq!(
            told,
            [
                "db@a after ",
                "api@a after db@a",
                "cron@a after api@a+db@a",
                "y@a after ",
                "x@a after y@a"
            ]
        );
    }
}
