//! Lineage: what followed what, derived from the records or from summaries of them. Pure.

mod links;
mod retraced;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::deployment::{Deployment, LiveRecord, Origin};
use crate::history::{Sequence, Summarized, Summary};
use crate::id::DeploymentId;
use crate::no_point::NoPoint;
use crate::plan::PassedOver;
use crate::policy::RollbackMode;
use crate::release::Restore;
use crate::request::Goal;
use crate::time::Timestamp;
use crate::withheld::Withheld;
use links::Links;
pub use retraced::Retraced;

/// What has become of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Its release is live.
    Live,
    /// A later deployment took its place.
    Superseded,
    /// A rollback went past it: abandoned.
    RolledBack,
    /// It never settled as live.
    NeverLive,
}

/// Deployments that answer a goal, best first, availability not yet considered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Candidates<'a, R = Deployment> {
    /// The records that answer, the best one first.
    pub candidates: Vec<&'a R>,
    /// What was looked at and ruled out.
    pub passed_over: Vec<PassedOver>,
}

/// One workload's records, or their summaries, and what is live; newest first.
///
/// Made in time linear in the records; what is asked of one of them costs the same however many
/// there are.
#[derive(Debug)]
pub struct Lineage<'a, R = Deployment> {
    records: &'a [R],
    facts: Vec<Cow<'a, Summary>>,
    index: HashMap<&'a DeploymentId, usize>,
    links: Links,
    live: &'a LiveRecord,
    restore: Restore,
    withheld: Withheld,
}

/// What *last healthy* makes of a deployment from before what is live.
enum Judged {
    Healthy,
    Unjudged,
    Not(Why),
}

/// Why a deployment is not meant by *last healthy*.
enum Why {
    NeverLive,
    Bad(String),
    Withheld(NoPoint),
    Off,
    IsLive,
    Unhealthy,
}

impl Why {
    fn text(self) -> String {
        match self {
            Self::NeverLive => "never settled as live".into(),
            Self::Bad(why) => format!("is marked bad: {why}"),
            Self::Withheld(NoPoint::Recalled { why }) => format!("is recalled: {why}"),
            Self::Withheld(NoPoint::BelowFloor { why }) => format!("is below the floor: {why}"),
            Self::Withheld(why) => why.to_string(),
            Self::Off => "was deployed with rollback off".into(),
            Self::IsLive => "is what is live".into(),
            Self::Unhealthy => "failed its health gate".into(),
        }
    }
}

impl<'a, R: Summarized> Lineage<'a, R> {
    /// `records`: all of one workload, newest first.
    pub fn new(records: &'a [R], live: &'a LiveRecord) -> Self {
        let index: HashMap<_, _> = records
            .iter()
            .enumerate()
            .map(|(i, r)| (r.id(), i))
            .collect();
        let facts: Vec<_> = records.iter().map(R::summary).collect();
        Self {
            links: Links::of(&facts, &index),
            records,
            facts,
            index,
            live,
            restore: Restore::Everything,
            withheld: Withheld::default(),
        }
    }

    /// What no automatic rollback goes to; nothing, unless set.
    #[must_use]
    pub fn withholding(self, withheld: Withheld) -> Self {
        Self { withheld, ..self }
    }

    /// Why a release is withheld from rollbacks: by its artifact, or by where it was deployed.
    pub(crate) fn withheld_at(&self, i: usize) -> Option<NoPoint> {
        let artifact = self.facts[i].release.as_ref().map(|r| &*r.artifact);
        self.withheld.why(artifact, self.deployed_at(i))
    }

    /// What a bare rollback of this workload restores; everything, unless set.
    #[must_use]
    pub fn restoring(self, restore: Restore) -> Self {
        Self { restore, ..self }
    }

    /// The records, newest first.
    pub fn records(&self) -> &'a [R] {
        self.records
    }

    /// The record of this id, if it is one of these.
    pub fn get(&self, id: &DeploymentId) -> Option<&'a R> {
        self.at(id).map(|i| &self.records[i])
    }

    /// Where a record is in their order.
    pub(crate) fn at(&self, id: &DeploymentId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// What is known of each record, newest first.
    pub(crate) fn facts(&self) -> &[Cow<'a, Summary>] {
        &self.facts
    }

    /// The live record, where it is known.
    pub fn live(&self) -> Option<&'a R> {
        self.live_at().map(|i| &self.records[i])
    }

    pub(crate) fn live_at(&self) -> Option<usize> {
        self.live.known().and_then(|id| self.at(id))
    }

    /// The deployment that first brought the release of one of these: a rollback leads back to its
    /// target, and so on, and what is live, deployed once more, to where it came from. `None`: it is
    /// none of these.
    pub fn origin(&self, deployment: &DeploymentId) -> Option<Origin> {
        Some(self.origin_at(self.at(deployment)?))
    }

    /// The place of the deployment that a rollback goes back to in the end; its own, if it is none. What a
    /// person has deployed once more is deployed anew.
    fn deployed_at(&self, i: usize) -> Sequence {
        self.facts[self.links.restored[i]].sequence
    }

    /// The same of one of these; `None`: it is none of them.
    pub(crate) fn deployed(&self, id: &DeploymentId) -> Option<Sequence> {
        Some(self.deployed_at(self.at(id)?))
    }

    fn origin_at(&self, i: usize) -> Origin {
        let first = &self.facts[self.links.origin[i]];
        let said = self.facts[i].origin.as_ref().or(first.origin.as_ref());
        let itself = || Origin::new(first.id.clone(), first.sequence, first.replaces.clone());
        said.cloned().unwrap_or_else(itself)
    }

    /// From where `LastHealthy` looks back: before the live release's origin.
    pub fn anchor(&self) -> Sequence {
        let live = self.live_at();
        live.map_or(Sequence(u64::MAX), |i| self.origin_at(i).sequence)
    }

    /// The last release that was live before this deployment's and differs from it, following
    /// provenance: after `D1 D2 rollback→D1`, what D1 followed, not D2.
    pub fn previous(&self, deployment: &'a R) -> Option<&'a R> {
        let i = self.at(deployment.id())?;
        let last = self.way_to_previous(i).pop()?;
        self.differs(last, i).then(|| &self.records[last])
    }

    /// The deployments that lead from this one to its previous, which is the last of them if the
    /// way is whole.
    pub(crate) fn way_to_previous(&self, i: usize) -> Vec<usize> {
        let mut way = Vec::new();
        if self.facts[i].release.is_none() {
            return way;
        }
        let mut origin = self.origin_at(i);
        let mut below = origin.sequence;
        while let Some(before) = origin.replaces.known().and_then(|id| self.at(id)) {
            // Each is older than the one after it: what says otherwise is not followed for ever.
            if self.facts[before].sequence >= below {
                break;
            }
            way.push(before);
            if self.differs(before, i) {
                break;
            }
            below = self.facts[before].sequence;
            origin = self.origin_at(before);
        }
        way
    }

    /// Whether one that went live is another release than this one.
    fn differs(&self, one: usize, from: usize) -> bool {
        let (one, from) = (&self.facts[one], &self.facts[from]);
        one.went_live() && one.release.is_some() && one.digest() != from.digest()
    }

    /// Where a bare rollback goes, by the records alone: whether that release can still be had, the
    /// platform says.
    pub fn last_healthy(&self, or_unjudged: bool) -> Option<&'a R> {
        let found = self.last_healthy_restoring(&self.restore, or_unjudged);
        found.map(|i| &self.records[i])
    }

    /// The last healthy ones that retention keeps within reach: for what a bare rollback
    /// restores, and for the automatic one's default.
    pub(crate) fn last_healthy_ones(&self) -> impl Iterator<Item = usize> {
        [&self.restore, &Restore::Everything]
            .into_iter()
            .filter_map(|restore| self.last_healthy_restoring(restore, true))
    }

    /// Whether these newest records are related among themselves as they are in the whole history: none
    /// of their rollbacks reaches below them, and what is live is among them.
    pub(crate) fn is_closed(&self) -> bool {
        let found = |id: &DeploymentId| self.at(id).is_some();
        self.live.known().is_none_or(found)
            && self
                .facts
                .iter()
                .filter_map(|d| d.restores.as_ref())
                .all(found)
    }

    /// Whether these newest records answer a goal as the whole history would, given what is restored.
    /// Where nothing is found by them, older ones may answer it yet.
    pub(crate) fn answers(&self, goal: &Goal, restore: &Restore) -> bool {
        let is_there = |id: &DeploymentId| self.at(id);
        match goal {
            Goal::LastHealthy => self.last_healthy_restoring(restore, false).is_some(),
            Goal::Previous => self
                .live()
                .is_some_and(|live| self.previous(live).is_some()),
            Goal::To(id) => is_there(id).is_some(),
            Goal::Before(id) => is_there(id).is_some_and(|i| {
                let before = self.facts[i].replaces.known();
                before.is_none_or(|id| is_there(id).is_some())
            }),
            Goal::AsOf(time) => {
                let settled = |d: &Summary| d.settled.as_ref().is_some_and(|s| s.at <= *time);
                self.facts.iter().any(|d| settled(d))
            }
            Goal::Undo | Goal::Redo => self
                .retraced(goal)
                .is_some_and(|retraced| self.answers(&retraced.goal, restore)),
        }
    }

    /// Whether older records than these cannot change which ones are the last healthy.
    pub(crate) fn knows_last_healthy(&self) -> bool {
        [&self.restore, &Restore::Everything]
            .into_iter()
            .all(|restore| self.last_healthy_restoring(restore, false).is_some())
    }

    fn last_healthy_restoring(&self, restore: &Restore, or_unjudged: bool) -> Option<usize> {
        let today = self.live_at().and_then(|i| self.facts[i].release.as_ref());
        let is_live = |i: usize| {
            let own = self.facts[i].release.as_ref().zip(today);
            own.is_some_and(|(own, today)| own.brings_back(today, Some(today), restore))
        };
        let mut newest_unjudged = None;
        for (i, judged) in self.judged(is_live) {
            match judged {
                Judged::Healthy => return Some(i),
                Judged::Unjudged => newest_unjudged = newest_unjudged.or(Some(i)),
                Judged::Not(_) => {}
            }
        }
        newest_unjudged.filter(|_| or_unjudged && self.newest_judged_at().is_none())
    }

    /// The deployments that *last healthy* may mean, newest first: those before what is live that
    /// passed their health gate, are not marked bad, and would not bring back what is live as it
    /// is. With `or_unjudged`, and if no earlier one has any verdict, the earlier ones.
    pub fn healthy(&self, is_live: impl Fn(&R) -> bool, or_unjudged: bool) -> Candidates<'a, R> {
        let (mut healthy, mut unjudged, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
        let mut pass = |i: usize, why: String| {
            passed_over.push(PassedOver {
                deployment: self.facts[i].id.clone(),
                why,
            });
        };
        for (i, judged) in self.judged(|i| is_live(&self.records[i])) {
            match judged {
                Judged::Healthy => healthy.push(&self.records[i]),
                Judged::Unjudged => unjudged.push(i),
                Judged::Not(why) => pass(i, why.text()),
            }
        }
        let candidates = if or_unjudged && self.newest_judged_at().is_none() {
            unjudged.into_iter().map(|i| &self.records[i]).collect()
        } else {
            for i in unjudged {
                pass(i, "has no health verdict; name it to go there".into());
            }
            healthy
        };
        Candidates {
            candidates,
            passed_over,
        }
    }

    /// The one rule of *last healthy*, for each record from before what is live, newest first.
    fn judged(&self, is_live: impl Fn(usize) -> bool) -> impl Iterator<Item = (usize, Judged)> {
        self.before_live().map(move |i| {
            let d = &self.facts[i];
            let judged = if !d.went_live() {
                Judged::Not(Why::NeverLive)
            } else if let Some(why) = &d.bad {
                Judged::Not(Why::Bad(why.to_string()))
            } else if let Some(why) = self.withheld_at(i) {
                Judged::Not(Why::Withheld(why))
            } else if d.rollback == RollbackMode::Off {
                Judged::Not(Why::Off)
            } else if is_live(i) {
                Judged::Not(Why::IsLive)
            } else if d.is_unhealthy() {
                Judged::Not(Why::Unhealthy)
            } else if d.is_healthy() {
                Judged::Healthy
            } else {
                Judged::Unjudged
            };
            (i, judged)
        })
    }

    /// The records from before what is live first came, newest first.
    fn before_live(&self) -> impl Iterator<Item = usize> {
        self.older_than(self.anchor())
    }

    fn older_than(&self, sequence: Sequence) -> std::ops::Range<usize> {
        let first = self.facts.partition_point(|d| d.sequence >= sequence);
        first..self.facts.len()
    }

    /// The newest deployment before what is live that any health gate has judged: the proof that health is
    /// judged here. One of the same release, deployed once more since, is proof enough.
    pub fn newest_judged(&self) -> Option<&'a R> {
        self.newest_judged_at().map(|i| &self.records[i])
    }

    pub(crate) fn newest_judged_at(&self) -> Option<usize> {
        let live = self.live_at();
        let live = live.map_or(Sequence(u64::MAX), |i| self.deployed_at(i));
        self.older_than(live)
            .find(|i| self.facts[*i].went_live() && self.facts[*i].is_judged())
    }

    /// The deployment that was live at a time.
    ///
    /// `None` also where the records of that time are no longer all there: what came next on
    /// record must have found live what this one left.
    pub fn as_of(&self, time: Timestamp) -> Option<&'a R> {
        let settled = |d: &Summary| d.settled.as_ref().is_some_and(|s| s.at <= time);
        let at = self.facts.iter().position(|d| settled(d))?;
        let live = &self.facts[at].settled.as_ref()?.live;
        let found_by_next = match at.checked_sub(1).and_then(|next| self.facts.get(next)) {
            Some(next) => &next.replaces,
            None => self.live,
        };
        let known = live.known().filter(|_| live == found_by_next)?;
        self.get(known)
    }

    /// The deployment that took this one's place: the next one that went live after it.
    pub fn replaced_by(&self, deployment: &R) -> Option<&'a R> {
        let i = self.at(deployment.id())?;
        let next = match self.facts[i].went_live() {
            true => self.links.replaced_by[i],
            false => self.rolled_back_by(i),
        };
        next.map(|i| &self.records[i])
    }

    fn rolled_back_by(&self, i: usize) -> Option<usize> {
        let by = self.facts[i].rolled_back_by.as_ref();
        by.and_then(|id| self.at(id))
    }

    /// What has become of a deployment, which is one of the records.
    pub fn standing(&self, deployment: &R) -> Standing {
        if self.live.known() == Some(deployment.id()) {
            return Standing::Live;
        }
        let Some(i) = self.at(deployment.id()) else {
            return Standing::NeverLive;
        };
        let (d, abandoned) = (&self.facts[i], self.links.abandoned_by[i].is_some());
        match (d.went_live(), d.rolled_back_by.is_some(), abandoned) {
            (false, true, _) | (true, _, true) => Standing::RolledBack,
            (false, false, _) => Standing::NeverLive,
            (true, _, false) => Standing::Superseded,
        }
    }

    /// What went past a deployment: the newest rollback that did, if it had been live; else the
    /// automatic one that put right what it broke.
    pub fn abandoned_by(&self, deployment: &R) -> Option<&'a R> {
        let i = self.at(deployment.id())?;
        let by = match self.facts[i].went_live() {
            true => self.links.abandoned_by[i],
            false => self.rolled_back_by(i),
        };
        by.map(|i| &self.records[i])
    }

    /// The newest rollback that went past one that had been live.
    pub(crate) fn abandoned_at(&self, i: usize) -> Option<usize> {
        self.links.abandoned_by[i].filter(|_| self.facts[i].went_live())
    }
}
