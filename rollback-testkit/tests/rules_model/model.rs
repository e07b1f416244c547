//! What a person would say, from the plain facts.

use std::collections::BTreeSet;

use rollback_core::lineage::Standing;
use rollback_core::policy::{Keep, Retention};

use crate::history::{History, Live, Plain};

impl History {
    /// What a rollback goes back to in the end.
    fn restoring(&self, mut i: usize) -> usize {
        while let Some(target) = self.plain[i].restores {
            i = target;
        }
        i
    }

    /// The one that first brought its release: what a rollback goes back to, and what is deployed once
    /// more, came from there.
    pub(crate) fn first(&self, mut i: usize) -> usize {
        while let Some(from) = self.plain[i].restores.or_else(|| self.goes_on(i)) {
            i = from;
        }
        i
    }

    /// What was live already, and was deployed once more.
    fn goes_on(&self, i: usize) -> Option<usize> {
        let p = &self.plain[i];
        let live = p.before.known().filter(|_| i >= self.origins_since)?;
        (!p.adopted && self.plain[live].release == p.release).then_some(live)
    }

    /// What a person would call the way here: what was live, one upon the other. A deploy goes on
    /// top; a rollback stands where its target stood.
    fn way(&self, i: usize) -> Vec<usize> {
        let at = self.first(i);
        let mut way = match self.plain[at].before {
            Live::Known(below) => self.way(below),
            _ => Vec::new(),
        };
        way.push(i);
        way
    }

    pub(crate) fn previous(&self, i: usize) -> Option<usize> {
        let other = |b: &usize| self.plain[*b].release != self.plain[i].release;
        self.way(i).into_iter().rev().skip(1).find(other)
    }

    /// What leads from what is live to what was before it.
    pub(crate) fn to_previous(&self) -> BTreeSet<usize> {
        let Some(live) = self.live.known() else {
            return BTreeSet::new();
        };
        let mut on_the_way = BTreeSet::new();
        for i in self.way(live).into_iter().rev().skip(1) {
            on_the_way.insert(i);
            if self.plain[i].release != self.plain[live].release {
                break;
            }
        }
        on_the_way
    }

    /// The proof that health is judged at all.
    pub(crate) fn newest_judged(&self) -> Option<usize> {
        let live = self.live.known();
        let end = live.map_or(self.plain.len(), |live| self.restoring(live));
        let judged = |i: &usize| self.plain[*i].went_live && self.plain[*i].verdict.is_some();
        (0..end).rev().find(judged)
    }

    /// The newest rollback that went past a deployment.
    pub(crate) fn abandoned_by(&self, i: usize) -> Option<usize> {
        let went_past = |r: &usize| {
            let p = &self.plain[*r];
            p.went_live && p.restores.is_some_and(|target| target < i)
        };
        let mut later = (i + 1..self.plain.len()).rev();
        later.find(went_past).filter(|_| self.plain[i].went_live)
    }

    pub(crate) fn last_healthy(&self, or_unjudged: bool) -> Option<usize> {
        let live = self.live.known();
        let end = live.map_or(self.plain.len(), |live| self.first(live));
        let earlier = || (0..end).rev().filter(|i| self.plain[*i].went_live);
        let can = |i: &usize| {
            let p = &self.plain[*i];
            !p.bad && !p.off && live.is_none_or(|live| self.plain[live].release != p.release)
        };
        let verdict = |i: &usize| self.plain[*i].verdict;
        let healthy = earlier().filter(can).find(|i| verdict(i) == Some(true));
        let nobody_looked = self.newest_judged().is_none();
        healthy.or_else(|| earlier().find(can).filter(|_| or_unjudged && nobody_looked))
    }

    pub(crate) fn standing(&self, i: usize) -> Standing {
        let p = &self.plain[i];
        let went_past = |r: &Plain| r.went_live && r.restores.is_some_and(|target| target < i);
        if self.live == Live::Known(i) {
            Standing::Live
        } else if !p.went_live {
            Standing::NeverLive
        } else if self.plain[i + 1..].iter().any(went_past) {
            Standing::RolledBack
        } else {
            Standing::Superseded
        }
    }

    /// What was live once deployment `i` had been settled.
    pub(crate) fn live_after(&self, i: usize) -> Option<usize> {
        self.plain[i].after.known()
    }

    /// What goes under no rule.
    pub(crate) fn protected(&self) -> BTreeSet<usize> {
        let marked = |p: &Plain| p.pinned || p.in_flight;
        let marked = (0..self.plain.len()).filter(|i| marked(&self.plain[*i]));
        let special = [self.live.known(), self.last_healthy(true)];
        special.into_iter().flatten().chain(marked).collect()
    }

    fn young(&self, i: usize, keep: Keep) -> bool {
        let (then, now) = (self.plain[i].day, self.day);
        // Within a day the clock goes on by seconds: a span of days is over with its last day.
        now - then < u64::from(keep.days)
    }

    /// Records that stay, but for those that only a rollback's provenance needs.
    pub(crate) fn stays(&self, keep: Keep) -> BTreeSet<usize> {
        let n = self.plain.len();
        let ruled = (0..n).filter(|i| n - i <= keep.newest || self.young(*i, keep));
        self.protected().into_iter().chain(ruled).collect()
    }

    /// Of these records, those whose releases stay within reach.
    pub(crate) fn window(&self, stays: &BTreeSet<usize>, rules: &Retention) -> BTreeSet<usize> {
        let mut window: BTreeSet<usize> = self.protected();
        for passed in [true, false] {
            let mut releases = BTreeSet::new();
            for i in stays.iter().rev() {
                let p = &self.plain[*i];
                let good = p.went_live && p.verdict != Some(false);
                if p.off || !p.placed || good != passed || releases.contains(&p.release) {
                    continue;
                }
                if releases.len() < rules.artifacts.newest || self.young(*i, rules.artifacts) {
                    releases.insert(p.release);
                    window.insert(*i);
                }
            }
        }
        window.retain(|i| self.plain[*i].placed);
        window
    }
}
