//! The oracle: a fresh process that recovers, holds what it finds against what was acknowledged,
//! deploys once more, and looks for what was left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rollback_core::deployment::{Deployment, LiveRecord};
use rollback_core::engine::RollbackEngine;
use rollback_core::history::Sequence;
use rollback_core::prelude::*;

use crate::debris;
use crate::dice::Dice;
use crate::ground::{CLEANED, Ground, SITES, Site};
use crate::ledger::{Ledger, Line, Told};
use crate::site;

/// What recovery of everything may take at most, and each deployment after it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);

/// Something that must not be.
#[derive(Debug, Clone)]
pub(crate) struct Breach {
    /// What kind of thing, for counting.
    pub(crate) class: String,
    /// What exactly.
    pub(crate) what: String,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Breaches(pub(crate) Vec<Breach>);

impl Breaches {
    /// Adds one.
    pub(crate) fn add(&mut self, class: &str, what: impl ToString) {
        self.0.push(Breach {
            class: class.to_owned(),
            what: what.to_string(),
        });
    }

    fn unless(&mut self, holds: bool, class: &str, what: impl FnOnce() -> String) {
        if !holds {
            self.add(class, what());
        }
    }
}

/// What has happened to the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// They were killed and stopped: nothing else may have gone wrong for them.
    Kills,
    /// Their disk was cut off: any call of theirs may have failed, but they must not panic.
    Cut,
}

/// Recovers, and says all that is wrong.
pub(crate) async fn judge(ground: &Ground, seed: u64, after: After) -> Breaches {
    let mut breaches = Breaches::default();
    let told = Told::read(&ground.log).unwrap_or_default();
    for (class, what) in &told.wrong {
        if after == After::Kills || class == "panic" {
            breaches.add(class, what);
        }
    }
    let store = match ground.open().await {
        Ok(store) => store,
        Err(e) => {
            breaches.add("the history cannot be opened", e);
            return breaches;
        }
    };
    let engine = ground.engine(store);
    recover(&engine, &mut breaches).await;
    for site in &SITES {
        at_rest(ground, &engine, site, &told, &mut breaches).await;
    }
    nothing_lost(&engine, &told, &mut breaches).await;
    settings_hold(ground, &engine, &told, &mut breaches).await;
    for fault in engine.verify().await.unwrap_or_default() {
        breaches.add("verify", fault);
    }
    let mut dice = Dice::new(seed);
    for site in &SITES {
        goes_on(ground, &engine, site, &mut dice, &mut breaches).await;
    }
    // A restart command of a killed program may still be about to undo this.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for site in &SITES {
        at_rest(ground, &engine, site, &told, &mut breaches).await;
        let records = all(&engine, &site.id(), &mut breaches).await;
        debris::after(ground, site, &records, &mut breaches);
    }
    debris::anywhere(ground, &mut breaches);
    for fault in engine.verify().await.unwrap_or_default() {
        breaches.add("verify", fault);
    }
    breaches
}

/// Recovers until nothing is in flight that nobody holds. Once is not always enough: a child of a
/// killed program that has yet to become what it was started as seems to hold the lease for it.
async fn recover(engine: &RollbackEngine, breaches: &mut Breaches) {
    let began = Instant::now();
    for _ in 0..40 {
        match tokio::time::timeout(PATIENCE, engine.recover()).await {
            Err(_) => {
                return breaches.add("recovery does not end", format!("{PATIENCE:?} are over"));
            }
            Ok(Err(e)) => return breaches.add("recovery fails", e),
            Ok(Ok(recovered)) => {
                for one in recovered {
                    if let Err(e) = one.result {
                        let took = began.elapsed().as_secs();
                        let cause = std::error::Error::source(&e).map(ToString::to_string);
                        breaches.add(
                            "a workload is not recovered",
                            format!("{}: {e} ({cause:?}), after {took} s", one.workload),
                        );
                    }
                }
            }
        }
        let states = engine.workloads().await.unwrap_or_default().states;
        if states.iter().all(|state| state.in_flight.is_none()) || !breaches.0.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Exactly one is live, it is the one on record, it is whole and it serves.
async fn at_rest(
    ground: &Ground,
    engine: &RollbackEngine,
    site: &Site,
    told: &Told,
    breaches: &mut Breaches,
) {
    let id = site.id();
    debris::all_whole(ground, site, breaches);
    let state = match engine.state(&id).await {
        Ok(state) => state,
        Err(e) => return breaches.add("a state cannot be read", e),
    };
    breaches.unless(state.in_flight.is_none(), "something is in flight", || {
        format!("{id}: {:?}", state.in_flight)
    });
    let records = all(engine, &id, breaches).await;
    in_order(&id, &records, &state.live, breaches);
    let current = match site::current(&ground.root(site)) {
        Ok(current) => current,
        Err(e) => return breaches.add("the link cannot be read", e),
    };
    let live = match &state.live {
        LiveRecord::Nothing => {
            return breaches.unless(current.is_none(), "live is not on record", || {
                format!("{id}: nothing is on record, and current leads to {current:?}")
            });
        }
        LiveRecord::Unknown => {
            return breaches.add("live is unknown", format!("{id}: current is {current:?}"));
        }
        LiveRecord::Known(live) => live,
    };
    let Some(record) = records.iter().find(|d| d.id() == live) else {
        return breaches.add("the live record is gone", format!("{id}: {live}"));
    };
    let handle = record.instance().map(|i| i.handle.to_string());
    let name = current.as_ref().map(|dir| {
        let own = dir.parent() == Some(&ground.root(site).join("releases"));
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if own {
            name.into_owned()
        } else {
            format!("foreign:{}", dir.display())
        }
    });
    breaches.unless(name == handle, "live is not what is on record", || {
        format!("{id}: current leads to {name:?}, {live} is on record at {handle:?}")
    });
    let Some(dir) = current else { return };
    let version = match site::version_in(&dir) {
        Ok(version) => version,
        Err(e) => return breaches.add("the live release is not whole", e),
    };
    let sick = fs::read_to_string(dir.join("health")).is_ok_and(|h| h == "sick");
    // A rollback to a sick release is what somebody asked for, and so is to adopt it.
    let asked_for = [TriggerKind::Rollback, TriggerKind::Adopt];
    if sick
        && !asked_for.contains(&record.trigger().kind())
        && matches!(engine.last_healthy(&id).await, Ok(Some(_)))
    {
        breaches.add(
            "a sick release stays live",
            format!(
                "{id}: {live}: {:?}",
                record.settlement().map(|s| &s.summary)
            ),
        );
    }
    if site.restarts() {
        let serving = fs::read_to_string(ground.serving(site)).unwrap_or_default();
        breaches.unless(serving == version, "something else serves", || {
            format!(
                "{id}: {version} is live, {serving:?} serves ({:?})",
                told.reported.get(live.as_str())
            )
        });
    }
}

/// Every record of a workload, oldest first, read in small pages.
async fn all(engine: &RollbackEngine, id: &WorkloadId, breaches: &mut Breaches) -> Vec<Deployment> {
    let mut records = Vec::new();
    let mut query = Query::workload(id).limit(5);
    loop {
        let page = match engine.list(&query).await {
            Ok(page) => page,
            Err(e) => {
                breaches.add("the history cannot be listed", e);
                break;
            }
        };
        for record in page.unreadable {
            breaches.add("a record cannot be read", record);
        }
        records.extend(page.deployments);
        query.before = page.next;
        if query.before.is_none() {
            break;
        }
    }
    records.reverse();
    records
}

/// Numbers grow, every record is settled, and each says what was live before it.
fn in_order(id: &WorkloadId, records: &[Deployment], live: &LiveRecord, breaches: &mut Breaches) {
    let ids: BTreeSet<&DeploymentId> = records.iter().map(Deployment::id).collect();
    let mut last: Option<(Sequence, &LiveRecord)> = None;
    for d in records {
        let Some(settlement) = d.settlement() else {
            breaches.add("a record is unfinished", format!("{id}: {}", d.id()));
            continue;
        };
        if let Some((sequence, before)) = last {
            breaches.unless(sequence < d.sequence(), "out of order", || {
                format!("{id}: {sequence:?} before {:?}", d.sequence())
            });
            let replaces = &d.opening().replaces;
            // One that was forgotten may have been live in between.
            let known = replaces.known().is_some_and(|r| ids.contains(r));
            breaches.unless(!known || replaces == before, "lineage", || {
                format!(
                    "{id}: {} replaces {replaces:?}, and {before:?} was live",
                    d.id()
                )
            });
        }
        last = Some((d.sequence(), &settlement.live));
    }
    if let Some((_, settled)) = last {
        breaches.unless(settled == live, "live is not what was settled last", || {
            format!("{id}: {live:?}, settled last was {settled:?}")
        });
    }
}

/// What was acknowledged is there, unless retention may have let it go.
async fn nothing_lost(engine: &RollbackEngine, told: &Told, breaches: &mut Breaches) {
    let mut records: BTreeMap<String, Deployment> = BTreeMap::new();
    let mut numbers: BTreeSet<Sequence> = BTreeSet::new();
    for site in &SITES {
        for d in all(engine, &site.id(), breaches).await {
            let twice = !numbers.insert(d.sequence());
            breaches.unless(!twice, "a number was given twice", || {
                format!("{:?} {}", d.sequence(), d.id())
            });
            records.insert(d.id().to_string(), d);
        }
    }
    let acknowledged: BTreeSet<&str> = told.begun.iter().map(|(id, _)| id.as_str()).collect();
    for site in &SITES {
        let workload = site.id().to_string();
        let own = || records.values().filter(|d| *d.workload() == site.id());
        let unheard = own().filter(|d| !acknowledged.contains(d.id().as_str()));
        let unheard: Vec<Sequence> = unheard.map(Deployment::sequence).collect();
        let begun: Vec<&String> = told
            .begun
            .iter()
            .filter(|(_, of)| *of == workload)
            .map(|(id, _)| id)
            .collect();
        let mut before = Sequence(0);
        for (nth, id) in begun.iter().enumerate() {
            if let Some(d) = records.get(*id) {
                before = d.sequence();
                continue;
            }
            // Retention lets one go when enough newer ones are there, and those never become fewer
            // again.
            let newer = begun[nth..].iter().filter(|id| records.contains_key(**id));
            let newer = newer.count() + unheard.iter().filter(|s| **s > before).count();
            breaches.unless(
                newer >= CLEANED,
                "an acknowledged deployment is lost",
                || format!("{id} of {workload}, {newer} are newer"),
            );
            let pinned = told.settings.get(&format!("pin {id}"));
            breaches.unless(
                pinned.is_none_or(|pinned| pinned == "no"),
                "a pinned deployment is lost",
                || (*id).clone(),
            );
        }
    }
    for (id, d) in &records {
        let mut written: BTreeMap<&str, usize> = BTreeMap::new();
        for event in d.events() {
            *written.entry(event.event.name()).or_default() += 1;
        }
        for (event, times) in told.events.get(id).into_iter().flatten() {
            let found = written.get(event.as_str()).copied().unwrap_or_default();
            breaches.unless(found >= *times, "an acknowledged event is lost", || {
                format!("{id}: {event} was acknowledged {times} times, {found} are there")
            });
        }
        if let Some(reported) = told.reported.get(id) {
            let outcome = d.outcome().map_or("none", |o| o.as_str());
            breaches.unless(outcome == reported, "an outcome is not as reported", || {
                format!("{id}: {outcome}, reported {reported}")
            });
        }
        for text in told.notes.get(id).into_iter().flatten() {
            let found = d
                .annotations()
                .notes
                .iter()
                .any(|n| n.text.as_str() == text);
            breaches.unless(found, "an acknowledged note is lost", || {
                format!("{id}: {text}")
            });
        }
    }
}

/// What was set last is set.
async fn settings_hold(
    ground: &Ground,
    engine: &RollbackEngine,
    told: &Told,
    breaches: &mut Breaches,
) {
    let log = fs::read_to_string(&ground.log).unwrap_or_default();
    for (what, value) in &told.settings {
        let Some((kind, of)) = what.split_once(' ') else {
            continue;
        };
        let found = match kind {
            "pin" => match engine.get(&of.parse().unwrap()).await {
                Ok(d) => d.annotations().pinned,
                Err(_) => continue,
            },
            _ => match engine.state(&of.parse().unwrap()).await {
                Ok(state) => state.hold.is_some(),
                Err(_) => continue,
            },
        };
        let found = if found { "yes" } else { "no" };
        breaches.unless(found == value, "an acknowledged setting is lost", || {
            let mut said: Vec<&str> = log.lines().filter(|line| line.contains(what)).collect();
            let said = said.split_off(said.len().saturating_sub(6));
            format!("{what} was set to {value}, and is {found}: {said:?}")
        });
    }
}

/// A next deployment works, and so does a rollback to any rollback point that was healthy.
async fn goes_on(
    ground: &Ground,
    engine: &RollbackEngine,
    site: &Site,
    dice: &mut Dice,
    breaches: &mut Breaches,
) {
    let (id, me) = (site.id(), Actor::user("oracle").unwrap());
    match engine.lift_hold(&id, &me).await {
        // Before the next round nobody else says what is held.
        Ok(_) => Ledger::open(&ground.log).unwrap().add(&Line::Set {
            by: 0,
            what: format!("hold {id}"),
            value: "no".to_owned(),
            ok: true,
        }),
        Err(e) => breaches.add("a hold cannot be lifted", e),
    }
    let history = engine.history(&Query::workload(&id)).await;
    let points: Vec<DeploymentId> = history
        .map(|h| h.rows)
        .unwrap_or_default()
        .into_iter()
        .filter(|row| row.is_rollback_point() && row.deployment.verdict().is_good())
        .map(|row| row.deployment.id().clone())
        .collect();
    if let Some(point) = dice.one_of(&points) {
        let goal = Goal::To(point.clone());
        let request = Request::rollback(id.clone(), goal, me.clone());
        ends_well(
            engine,
            request,
            "a rollback point cannot be gone back to",
            breaches,
        )
        .await;
    }
    let live = site::current(&ground.root(site)).ok().flatten();
    let live = live.and_then(|dir| fs::read_to_string(dir.join("version")).ok());
    let other = if live.as_deref() == Some("v0") {
        "v1"
    } else {
        "v0"
    };
    let request = Request::deploy(id, other, me);
    ends_well(engine, request, "the next deployment fails", breaches).await;
}

async fn ends_well(
    engine: &RollbackEngine,
    request: Request,
    class: &str,
    breaches: &mut Breaches,
) {
    let asked = format!("{request:?}");
    let asked = asked.get(..160).unwrap_or(&asked);
    let run = async { engine.run(request).await?.await };
    match tokio::time::timeout(PATIENCE, run).await {
        Err(_) => breaches.add(class, format!("{asked}: {PATIENCE:?} are over")),
        Ok(Err(e)) if e.kind() == ErrorKind::AlreadyLive => {}
        Ok(Err(e)) => {
            let cause = std::error::Error::source(&e).map(ToString::to_string);
            breaches.add(class, format!("{e} ({cause:?})"));
        }
        Ok(Ok(report)) => breaches.unless(report.succeeded(), class, || report.summary()),
    }
}
