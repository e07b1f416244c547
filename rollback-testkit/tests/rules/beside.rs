//! The gate before a switch: a successor beside what is live is judged itself, or not at all.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::backend::Addresses;
use rollback_core::prelude::*;

use crate::support::{Setup, api, me};

/// Asks at an address, and finds what it is told to find there.
#[derive(Debug, Clone)]
struct Asking {
    aim: Aim,
    beside: Result<(), &'static str>,
    asked: Arc<Mutex<Vec<(Site, Addresses)>>>,
}

impl Asking {
    fn new(aim: Aim, beside: Result<(), &'static str>) -> Self {
        Self {
            aim,
            beside,
            asked: Arc::default(),
        }
    }

    /// What it was asked about a successor.
    fn beside(&self) -> Vec<Addresses> {
        let asked = self.asked.lock().unwrap();
        let beside = asked.iter().filter(|(site, _)| *site == Site::Beside);
        beside.map(|(_, addresses)| addresses.clone()).collect()
    }
}

#[async_trait]
impl HealthCheck for Asking {
    fn name(&self) -> String {
        "GET /healthz".into()
    }

    fn aim(&self) -> Aim {
        self.aim.clone()
    }

    async fn check(&self, _: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        let asked = (probe.site, probe.addresses.clone());
        self.asked.lock().unwrap().push(asked);
        match (probe.site, self.beside) {
            (Site::Beside, Err(why)) => Err(Unhealthy::new(why)),
            _ => Ok(Healthy::yes()),
        }
    }
}

/// What the gate beside what is live came to.
fn judged_beside(d: &Deployment) -> Option<Verdict> {
    d.events().iter().find_map(|e| match &e.event {
        Event::Judged {
            site: Site::Beside,
            verdict,
            ..
        } => Some(verdict.clone()),
        _ => None,
    })
}

#[tokio::test]
async fn what_was_live_vouched_for_a_successor_that_nobody_had_looked_at() {
    for aim in [Aim::Live, Aim::Port(Some("admin".into()))] {
        let setup = Setup::new().await.beside();
        let check = Asking::new(aim.clone(), Ok(()));
        let b = setup.with(|w| w.check(check.clone()));
        b.deploy("v1").await;
        let report = b.deploy("mute2").await;
        let beside = judged_beside(report.deployment());
        assert_eq!(beside, Some(Verdict::Unknown), "{aim:?}");
        assert_eq!(check.beside(), [], "{aim:?}");
        // At what is live it has an opinion.
        assert_eq!(*report.verdict(), Verdict::Passed);
        b.at_rest().await;
    }
}

#[tokio::test]
async fn a_plan_says_that_a_successor_cannot_be_judged_before_it_is_switched_to() {
    let plan = async |setup: &Setup, aim: Aim| {
        let b = setup.with(|w| w.check(Asking::new(aim, Ok(()))));
        let request = Request::deploy(api(), "v1", me());
        b.engine
            .preview(&request)
            .await
            .unwrap()
            .warnings()
            .to_vec()
    };
    let (beside, replaced) = (Setup::new().await.beside(), Setup::new().await);
    let checks = vec!["GET /healthz".to_owned()];
    let expected = [Warning::NotJudgedBeside { checks }];
    assert_eq!(plan(&beside, Aim::Live).await, expected);
    // As a record has it, too.
    let json = serde_json::to_string(&expected).unwrap();
    let read: Vec<Warning> = serde_json::from_str(&json).unwrap();
    assert_eq!(read, expected);
    assert_eq!(plan(&beside, Aim::Port(None)).await, []);
    assert_eq!(plan(&replaced, Aim::Live).await, []);
}

#[tokio::test]
async fn a_sick_successor_is_found_out_at_its_own_address_and_never_switched_to() {
    let setup = Setup::new().await.beside();
    let check = Asking::new(Aim::Port(None), Err("answered 500"));
    let healthy = setup.with(|w| w.check(Asking::new(Aim::Port(None), Ok(()))));
    healthy.deploy("v1").await;
    let b = setup.with(|w| w.check(check.clone()));
    let report = b.deploy("mute2").await;
    assert_eq!(report.outcome(), Outcome::Failed);
    let d = report.deployment();
    assert!(judged_beside(d).is_some_and(|v| v.is_failed()));
    assert!(!d.switch_began());
    assert_eq!(b.live(), "v1");
    // Where it was asked is on record.
    let asked = check.beside();
    assert!(!asked.is_empty() && asked.iter().all(|at| at == d.addresses()));
    let stored = b.engine.get(d.id()).await.unwrap();
    assert_eq!(stored.addresses(), d.addresses());
    assert!(!stored.addresses().is_empty());
    b.at_rest().await;
}

#[test]
fn a_record_of_before_there_were_addresses_is_read() {
    let old = r#"{"event":"started","evidence":{"pid":"7"}}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    let started = Started::new(Evidence::default().with("pid", "7"));
    assert_eq!(event, Event::Started(started));
    assert_eq!(serde_json::to_string(&event).unwrap(), old);
}
