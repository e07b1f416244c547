//! What becomes of a member whose group nobody runs.

use rollback_core::deployment::Membership;
use rollback_core::event::Cause;
use rollback_core::history::{Holder, Version};
use rollback_core::id::GroupId;
use rollback_core::prelude::*;

use crate::shop::{Shop, id, shop};
use crate::support::me;

/// A process that died: it had opened a group of something that is not known here, and of `web`, whose
/// deployment of v2 has come to this event.
struct Died {
    coordinator: DeploymentId,
    web: DeploymentId,
}

/// What a deployment says that comes to the end of its gate.
fn until_agreed(new: &Opening) -> [Event; 6] {
    let release = new.to.release().unwrap().clone();
    let instance = Instance::new(release, Handle::new(new.id.as_str()));
    let judged = Event::Judged {
        site: Site::Live,
        verdict: Verdict::Passed,
        notes: Vec::new(),
    };
    let switched = Event::Switched {
        evidence: Evidence::default(),
    };
    [
        Event::PrepareIntended,
        Event::Prepared(Prepared::new(Rollout::Replace, instance)),
        Event::SwitchIntended,
        switched,
        judged,
        Event::Agreed,
    ]
}

impl Died {
    async fn at(s: &Shop, last: Event) -> Self {
        Box::pin(s.everything("v1")).await;
        let now = SystemClock.now();
        let holder = Holder::this_process(now);
        let open = |workload: WorkloadId| {
            let id = DeploymentId::generate(now);
            Opening::new(id, workload, Trigger::Deploy, me(), now)
        };
        let release = Release::new("shelf".parse().unwrap(), Artifact::new("v2", "v2"));
        let mut coordinator = open("aaa@elsewhere".parse().unwrap());
        coordinator.to = End::Planned(release.clone());
        let group = Membership::new(GroupId::of(coordinator.id.clone()), shop());
        let coordinator = coordinator.in_group(group.clone());
        let leads = s
            .store
            .begin(&coordinator, &holder, Version(0))
            .await
            .unwrap();

        let live = s.newest("web").await;
        let former = live.instance().unwrap().clone();
        let mut web = open(id("web"));
        web.from = End::Placed(former);
        web.to = End::Planned(release.clone());
        web.fallback = LiveRecord::Known(live.id().clone());
        let web = web.in_group(group);
        let version = s.store.workload(&id("web")).await.unwrap().version;
        let begun = s.store.begin(&web, &holder, version).await.unwrap();
        let instance = Instance::new(release, Handle::new(web.id.as_str()));
        let decided = last == Event::Decided;
        let last = if decided { Event::Agreed } else { last };
        for event in until_agreed(&web) {
            let was_last = event == last;
            let event = TimedEvent::new(now, event);
            s.store.append(&begun.lease, &[event]).await.unwrap();
            if was_last {
                break;
            }
        }
        if decided {
            for event in until_agreed(&coordinator)
                .into_iter()
                .chain([Event::Decided])
            {
                let event = TimedEvent::new(now, event);
                s.store.append(&leads.lease, &[event]).await.unwrap();
            }
            // Somebody asked for a stop, too late.
            s.store.request_cancel(&web.id, &me()).await.unwrap();
        }
        if last == Event::Agreed {
            s.shelf("web").0.lock().unwrap().live = Some(instance);
        }
        Self {
            coordinator: coordinator.id.clone(),
            web: web.id.clone(),
        }
    }

    /// What recovery makes of `web`.
    async fn recover(&self, s: &Shop) -> Result<Outcome, String> {
        let mut recovered = s.engine.recover().await.unwrap().into_iter();
        let web = recovered.find(|r| r.workload == id("web")).unwrap();
        assert_eq!(web.deployment.as_ref(), Some(&self.web));
        web.result.map(|r| r.outcome()).map_err(|e| e.to_string())
    }
}

#[tokio::test]
async fn an_agreed_member_whose_coordinator_nobody_runs_rules_the_group_out_and_goes_back() {
    let s = Shop::new();
    let died = Died::at(&s, Event::Agreed).await;
    assert_eq!(s.live(), ["v1", "v1", "v2"]);
    assert_eq!(died.recover(&s).await, Ok(Outcome::Interrupted));
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let coordinator = s.store.get(&died.coordinator).await.unwrap().unwrap();
    assert_eq!(coordinator.cause(), Some(&Cause::Interrupted));
    assert!(
        coordinator.settlement().is_none(),
        "the rest is for who knows it"
    );
}

#[tokio::test]
async fn a_member_that_has_not_agreed_goes_back_and_asks_nobody() {
    let s = Shop::new();
    let died = Died::at(&s, Event::PrepareIntended).await;
    assert_eq!(died.recover(&s).await, Ok(Outcome::Interrupted));
    let coordinator = s.store.get(&died.coordinator).await.unwrap().unwrap();
    assert!(coordinator.events().is_empty());
}

#[tokio::test]
async fn an_agreed_member_is_not_moved_where_the_decision_is_lost() {
    let s = Shop::new();
    let died = Died::at(&s, Event::Agreed).await;
    let elsewhere: WorkloadId = "aaa@elsewhere".parse().unwrap();
    let abandoned = s
        .engine
        .abandon(&elsewhere, "its host is gone".parse().unwrap(), me());
    abandoned.await.unwrap();
    s.store
        .forget(std::slice::from_ref(&died.coordinator))
        .await
        .unwrap();
    let said = died.recover(&s).await.unwrap_err();
    assert!(said.contains("is gone; nothing was done"), "{said}");
    assert_eq!(s.live(), ["v1", "v1", "v2"]);
}

#[tokio::test]
async fn a_decided_member_was_taken_back_alone_by_who_had_cancelled_it_too_late() {
    let s = Shop::new();
    let died = Died::at(&s, Event::Decided).await;
    // A reboot: it is switched again, and judged.
    s.shelf("web").0.lock().unwrap().stopped = true;
    assert_eq!(died.recover(&s).await, Ok(Outcome::Succeeded));
    assert_eq!(s.live(), ["v1", "v1", "v2"]);
}

#[tokio::test]
async fn a_decided_member_that_cannot_be_finished_was_taken_back_alone() {
    let s = Shop::new();
    let died = Died::at(&s, Event::Decided).await;
    {
        let mut web = s.shelf("web").0.lock().unwrap();
        web.stopped = true;
        web.switch_fails.insert("v2".into());
    }
    assert_eq!(died.recover(&s).await, Ok(Outcome::Degraded));
    let web = s.store.get(&died.web).await.unwrap().unwrap();
    assert_eq!(web.cause(), None);
    let said = &web.settlement().unwrap().summary;
    assert!(
        said.starts_with("Its group went live, and this member could not"),
        "{said}"
    );
}
