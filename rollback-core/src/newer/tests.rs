//! Every kind that this version has is read as what it is: of each, one value goes through JSON.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::backend::{Evidence, Handle, Instance, Prepared, Rollout, Started};
use crate::deployment::{LiveRecord, Outcome, Settlement};
use crate::diagnosis::{Diagnosis, Words};
use crate::event::{Cause, Event};
use crate::health::{Site, Verdict};
use crate::history::{Epoch, Fence, HistoryId, Holder, Sequence, WasAmended};
use crate::id::{Actor, BackendKind, DeploymentId, ShortText};
use crate::plan::Warning;
use crate::release::{Artifact, Release};
use crate::time::Timestamp;

/// Each value comes back as it was, none as a newer version's, and there is one of each kind.
fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    tag: &str,
    kinds: &[&str],
    values: Vec<T>,
    is_newer: fn(&T) -> bool,
) {
    assert!(!kinds.is_empty(), "the derive names its kinds");
    let mut missing: Vec<&str> = kinds.to_vec();
    for value in values {
        let json = serde_json::to_value(&value).unwrap();
        missing.retain(|kind| json[tag] != **kind);
        let again: T = serde_json::from_value(json).unwrap();
        assert!(!is_newer(&again), "{value:?} was read as {again:?}");
        assert_eq!(again, value);
    }
    assert_eq!(missing, Vec::<&str>::new(), "a kind without a value here");
}

fn id() -> DeploymentId {
    "deploy-20260315-143022-a3f2b901".parse().unwrap()
}

fn why() -> ShortText {
    "the schema moved".parse().unwrap()
}

fn instance() -> Instance {
    let kind: BackendKind = "fake".parse().unwrap();
    let release = Release::new(kind, Artifact::new("v1", "sha256:1"));
    Instance::new(release, Handle::new("h1"))
}

fn fence() -> Box<Fence> {
    let history: HistoryId = "0123456789abcdef".parse().unwrap();
    Box::new(Fence {
        incarnation: history.clone(),
        history,
        sequence: Sequence(7),
        epoch: Epoch(2),
        deployment: id(),
    })
}

#[test]
fn every_event_is_read_as_itself() {
    let name = || "migrate".to_owned();
    let text = || "as it says".to_owned();
    let evidence = || Evidence::default().with("pid", "4711");
    let events = vec![
        Event::PrepareIntended,
        Event::Prepared(Prepared::new(Rollout::Beside, instance())),
        Event::TaskIntended { name: name() },
        Event::TaskDone { name: name() },
        Event::StartIntended,
        Event::Started(Started::new(evidence())),
        Event::SwitchIntended,
        Event::Switched {
            evidence: evidence(),
        },
        Event::Judged {
            site: Site::Live,
            verdict: Verdict::failed("502"),
            notes: vec![text()],
        },
        Event::Diagnosed(Diagnosis::new(
            Vec::new(),
            Words::default().fact("exit_code", 1),
        )),
        Event::RemediationWithheld {
            name: name(),
            why: text(),
        },
        Event::RemediationIntended { name: name() },
        Event::Remediated {
            name: name(),
            did: text(),
        },
        Event::GoingBack(Cause::Cancelled {
            by: Some(Actor::user("ada").unwrap()),
        }),
        Event::Agreed,
        Event::Decided,
        Event::GoingBack(Cause::WithItsGroup {
            workload: "api@web-1".parse().unwrap(),
            deployment: id(),
            why: text(),
        }),
        Event::SwitchBackIntended,
        Event::SwitchedBack {
            evidence: evidence(),
        },
        Event::RetireIntended,
        Event::Retired,
        Event::TakenOver {
            decision: text(),
            by: Some(Holder::this_process(Timestamp::UNIX_EPOCH)),
        },
        Event::Settled(Settlement::new(
            Outcome::Succeeded,
            Verdict::Passed,
            LiveRecord::Known(id()),
            "It is live.",
        )),
        Event::RolledBackBy { deployment: id() },
    ];
    let is_newer = |event: &Event| matches!(event, Event::Newer(_));
    round_trips("event", Event::kinds(), events, is_newer);
}

#[test]
fn every_warning_is_read_as_itself() {
    let deployment = id();
    let text = || "as it says".to_owned();
    let texts = || vec![text()];
    let warnings = vec![
        Warning::NotRestored { what: texts() },
        Warning::Drifted { how: text() },
        Warning::LossyWayBack { losses: texts() },
        Warning::NotKnownHealthy {
            deployment: deployment.clone(),
        },
        Warning::KnownUnhealthy {
            deployment: deployment.clone(),
            diagnostic: text(),
        },
        Warning::GoesBack { to: deployment },
        Warning::MigrationsSince {
            count: 1,
            names: texts(),
        },
        Warning::MigrationsUnknown { why: text() },
        Warning::ReferenceStays {
            reference: text(),
            release: text(),
        },
        Warning::Unreadable { records: texts() },
        Warning::HistoryBehind { published: fence() },
        Warning::PublishedElsewhere { published: fence() },
        Warning::NotJudgedBeside { checks: texts() },
        Warning::Resolved { note: text() },
        Warning::Preflight {
            remark: String::new(),
        },
        Warning::Guard {
            guard: "freeze".parse().unwrap(),
            message: text(),
        },
    ];
    let is_newer = |warning: &Warning| matches!(warning, Warning::Newer(_));
    round_trips("warning", Warning::kinds(), warnings, is_newer);
}

#[test]
fn every_amendment_is_read_as_itself() {
    let artifact = || "sha256:1".to_owned();
    let amendments = vec![
        WasAmended::Held { why: why() },
        WasAmended::HoldLifted {
            of: Actor::user("ada").unwrap(),
            why: why(),
        },
        WasAmended::PolicySet,
        WasAmended::PolicyCleared,
        WasAmended::Abandoned {
            deployment: id(),
            why: why(),
        },
        WasAmended::Recalled {
            artifact: artifact(),
            why: why(),
        },
        WasAmended::RecallCleared {
            artifact: artifact(),
        },
        WasAmended::FloorSet {
            deployment: id(),
            why: why(),
        },
        WasAmended::FloorCleared,
    ];
    let is_newer = |what: &WasAmended| matches!(what, WasAmended::Newer(_));
    round_trips("amended", WasAmended::kinds(), amendments, is_newer);
}

#[test]
fn of_an_unknown_kind_all_is_kept() {
    let json = serde_json::json!({"amended": "weighed", "weight": 5, "of": {"a": [1]}});
    let read: WasAmended = serde_json::from_value(json.clone()).unwrap();
    assert!(matches!(read, WasAmended::Newer(_)), "{read:?}");
    let again: Value = serde_json::to_value(&read).unwrap();
    assert_eq!(again, json);
}
