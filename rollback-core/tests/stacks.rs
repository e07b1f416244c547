//! Several workloads move as one: all of them, or none.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use rollback_core::deployment::{Membership, Part};
use rollback_core::engine::{GroupReport, Way};
use rollback_core::error::Error;
use rollback_core::event::Cause;
use rollback_core::history::{Holder, Version};
use rollback_core::id::{GroupId, StackName};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_core::stack::{Stack, StackGoal, StackPlan, StackRequest};
use support::{Shelf, me};

struct Shop {
    engine: RollbackEngine,
    store: MemoryStore,
    shelves: BTreeMap<WorkloadId, Shelf>,
}

fn shop() -> StackName {
    "shop".parse().unwrap()
}

fn id(name: &str) -> WorkloadId {
    format!("{name}@shop-1").parse().unwrap()
}

const ALL: [&str; 3] = ["api", "db", "web"];

impl Shop {
    /// `web` needs `api`, which needs `db`.
    fn new() -> Self {
        let store = MemoryStore::new();
        let mut builder = RollbackEngine::builder(store.clone());
        let mut shelves = BTreeMap::new();
        for name in ALL {
            let shelf = Shelf::of(id(name).to_string().as_str());
            let mut workload = Workload::new(shelf.clone()).auto_rollback();
            workload = match name {
                "web" => workload.depends_on(id("api")),
                "api" => workload.depends_on(id("db")),
                _ => workload,
            };
            builder = builder.workload(workload);
            shelves.insert(id(name), shelf);
        }
        let engine = builder.stack(Stack::new(shop(), ALL.map(id))).build();
        Self {
            engine: engine.unwrap(),
            store,
            shelves,
        }
    }

    fn shelf(&self, name: &str) -> &Shelf {
        &self.shelves[&id(name)]
    }

    /// What is live on `api`, `db` and `web`.
    fn live(&self) -> [String; 3] {
        ALL.map(|name| self.shelf(name).live().unwrap_or_else(|| "nothing".into()))
    }

    async fn run(&self, request: StackRequest) -> Result<GroupReport, Error> {
        Ok(self.engine.run_stack(request).await?.await)
    }

    async fn deploy(&self, references: &[(&str, &str)]) -> GroupReport {
        self.run(deploy(references)).await.unwrap()
    }

    async fn everything(&self, reference: &str) -> GroupReport {
        self.deploy(&ALL.map(|name| (name, reference))).await
    }

    async fn rollback(&self, goal: StackGoal) -> Result<GroupReport, Error> {
        self.run(StackRequest::rollback(shop(), goal, me())).await
    }

    async fn newest(&self, name: &str) -> Deployment {
        let page = self.engine.list(&Query::workload(&id(name))).await.unwrap();
        page.deployments.into_iter().next().unwrap()
    }
}

fn deploy(references: &[(&str, &str)]) -> StackRequest {
    let references = references.iter().map(|(name, r)| (id(name), *r));
    StackRequest::deploy(shop(), references, me())
}

#[tokio::test]
async fn all_go_live_and_what_others_need_goes_first() {
    let s = Shop::new();
    let mut notices = s.engine.subscribe();
    let report = s.everything("v1").await;
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let mut switched = Vec::new();
    let mut decided = None;
    let mut settled = 0;
    while let Ok(notice) = notices.try_recv() {
        match notice.event.map(|e| e.event) {
            Some(Event::SwitchIntended) => switched.push(notice.workload.to_string()),
            Some(Event::Decided) => decided = Some((notice.workload.to_string(), switched.len())),
            Some(Event::Settled(_)) => settled += usize::from(decided.is_some()),
            _ => {}
        }
    }
    assert_eq!(switched, ["db@shop-1", "api@shop-1", "web@shop-1"]);
    assert_eq!(decided, Some(("api@shop-1".to_owned(), 3)));
    assert_eq!(settled, 3);
}

#[tokio::test]
async fn if_one_is_sick_all_go_back_and_say_because_of_whom() {
    let s = Shop::new();
    s.everything("v1").await;
    let report = s
        .deploy(&[("api", "v2"), ("db", "v2"), ("web", "sick-v2")])
        .await;
    assert!(!report.succeeded());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let web = s.newest("web").await;
    assert_eq!(web.outcome(), Some(Outcome::FailedAndRolledBack));
    for name in ["api", "db"] {
        let other = s.newest(name).await;
        assert_eq!(other.outcome(), Some(Outcome::Cancelled));
        let Some(Cause::WithItsGroup {
            deployment,
            workload,
            why,
        }) = other.cause()
        else {
            panic!("{:?}", other.cause())
        };
        assert_eq!((deployment, workload), (web.id(), &id("web")));
        assert!(why.contains("sick-v2 is sick"), "{why}");
        // It was healthy itself, and no rollback goes to it by that: it was taken back.
        assert_eq!(*other.verdict(), Verdict::Passed);
    }
    let first = report.summary();
    assert!(first.starts_with("web@shop-1: "), "{first}");
}

#[tokio::test]
async fn no_member_is_switched_before_all_are_prepared() {
    let s = Shop::new();
    s.everything("v1").await;
    s.shelf("web").0.lock().unwrap().gone.insert("v2".into());
    let before: Vec<usize> = s
        .shelves
        .values()
        .map(|s| s.0.lock().unwrap().switches)
        .collect();
    let refused = s
        .run(deploy(&[("api", "v2"), ("db", "v2"), ("web", "v2")]))
        .await;
    // What is gone is refused when it is planned, or fails when it is prepared: nothing moves.
    assert!(refused.map_or(true, |report| !report.succeeded()));
    let after: Vec<usize> = s
        .shelves
        .values()
        .map(|s| s.0.lock().unwrap().switches)
        .collect();
    assert_eq!(before, after);
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
}

#[tokio::test]
async fn what_would_not_change_is_left_alone_and_said() {
    let s = Shop::new();
    s.everything("v1").await;
    let plan = s
        .engine
        .preview_stack(&deploy(&[("api", "v2"), ("db", "v1")]))
        .await
        .unwrap();
    let moves: Vec<String> = plan
        .moves()
        .iter()
        .map(|p| p.workload().to_string())
        .collect();
    assert_eq!(moves, ["api@shop-1"]);
    assert_eq!(plan.stays()[&id("db")].why.as_str(), "it is live already");
    assert_eq!(
        plan.stays()[&id("web")].why.as_str(),
        "nothing was asked for it"
    );
    let text = plan.to_string();
    assert!(
        text.contains("web@shop-1 stays as it is: nothing was asked for it"),
        "{text}"
    );
    // It goes through JSON and back, and is carried out from there.
    let json = serde_json::to_string(&plan).unwrap();
    let again: StackPlan = serde_json::from_str(&json).unwrap();
    assert_eq!(again, plan);
    let report = s.engine.execute_stack(again).await.unwrap().await;
    assert!(report.succeeded());
    assert_eq!(s.live(), ["v2", "v1", "v1"]);
    let group = s.engine.group(report.id()).await.unwrap();
    assert_eq!(group.way, Way::Forward);
    let Part::Stays { live, .. } = &group.roll.parts[&id("web")] else {
        panic!("{group:?}")
    };
    assert_eq!(live.known(), Some(s.newest("web").await.id()));
}

#[tokio::test]
async fn nothing_to_move_is_an_error_that_says_why_for_each() {
    let s = Shop::new();
    s.everything("v1").await;
    let e = s.run(deploy(&[("api", "v1")])).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyLive);
    let text = e.to_string();
    assert!(text.contains("api@shop-1: it is live already"), "{text}");
}

#[tokio::test]
async fn a_stack_goes_back_to_where_all_were_healthy() {
    let s = Shop::new();
    s.everything("v1").await;
    s.deploy(&[("api", "v2"), ("db", "v2")]).await;
    s.deploy(&[("web", "v3")]).await;
    assert_eq!(s.live(), ["v2", "v2", "v3"]);
    // The group before the last: of its members, and of what it left alone.
    let report = s.rollback(StackGoal::LastHealthy).await.unwrap();
    assert!(report.succeeded(), "{}", report.summary());
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    assert_eq!(report.members().len(), 1);
}

#[tokio::test]
async fn a_sick_group_is_passed_over() {
    let s = Shop::new();
    s.everything("v1").await;
    s.everything("v2").await;
    s.deploy(&[("api", "v3"), ("web", "sick-v3")]).await;
    s.everything("v4").await;
    s.rollback(StackGoal::LastHealthy).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v2"]);
}

#[tokio::test]
async fn the_last_group_is_undone_and_what_it_left_alone_stays() {
    let s = Shop::new();
    s.everything("v1").await;
    s.everything("v2").await;
    let last = s.deploy(&[("api", "v3")]).await;
    s.engine
        .deploy(&id("web"), "v9", me())
        .await
        .unwrap()
        .await
        .unwrap();
    s.rollback(StackGoal::Before(last.id().clone()))
        .await
        .unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v9"]);
}

#[tokio::test]
async fn a_stack_goes_back_to_a_named_group_and_to_a_time() {
    let s = Shop::new();
    let first = s.everything("v1").await;
    let then = s.newest("web").await.settled_at().unwrap();
    s.everything("v2").await;
    s.everything("v3").await;
    s.rollback(StackGoal::To(first.id().clone())).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    s.everything("v4").await;
    s.rollback(StackGoal::AsOf(then)).await.unwrap();
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let group = &s.engine.groups(&shop(), 1).await.unwrap()[0];
    assert_eq!(group.roll.goal, Some(StackGoal::AsOf(then)));
    let redeployed = StackRequest::redeploy(shop(), first.id().clone(), me());
    s.everything("v5").await;
    assert!(s.run(redeployed).await.unwrap().succeeded());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
}

#[tokio::test]
async fn groups_are_listed_newest_first() {
    let s = Shop::new();
    let mut ids = Vec::new();
    for version in ["v1", "v2", "sick-v3", "v4"] {
        ids.push(s.everything(version).await.id().clone());
    }
    let groups = s.engine.groups(&shop(), 3).await.unwrap();
    let listed: Vec<_> = groups.iter().map(|g| (g.id.clone(), g.way)).collect();
    assert_eq!(
        listed,
        [
            (ids[3].clone(), Way::Forward),
            (ids[2].clone(), Way::Back),
            (ids[1].clone(), Way::Forward)
        ]
    );
    assert!(groups[0].is_healthy() && !groups[1].is_healthy());
    assert_eq!(groups[0].members.len(), 3);
}

#[tokio::test]
async fn a_member_that_is_taken_keeps_all_of_them_from_being_touched() {
    let s = Shop::new();
    s.everything("v1").await;
    let plan = s
        .engine
        .preview_stack(&deploy(&[("api", "v2"), ("db", "v2"), ("web", "v2")]))
        .await
        .unwrap();
    // Somebody else is at `web` when it comes to that.
    let version = s.store.workload(&id("web")).await.unwrap().version;
    let other = Opening::new(
        DeploymentId::generate(SystemClock.now()),
        id("web"),
        Trigger::Deploy,
        me(),
        SystemClock.now(),
    );
    let holder = Holder::this_process(SystemClock.now());
    let held = s.store.begin(&other, &holder, version).await.unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(e.to_string().contains("web@shop-1"), "{e}");
    assert_eq!(e.conflict().unwrap().deployment, other.id);
    for name in ["api", "db"] {
        let record = s.newest(name).await;
        assert_eq!(record.outcome(), Some(Outcome::Refused));
        let state = s.store.workload(&id(name)).await.unwrap();
        assert!(state.in_flight.is_none());
    }
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    drop(held);
}

#[tokio::test]
async fn a_member_that_moved_since_the_plan_is_named() {
    let s = Shop::new();
    s.everything("v1").await;
    let request = deploy(&[("api", "v2"), ("db", "v2")]);
    let plan = s.engine.preview_stack(&request).await.unwrap();
    s.engine
        .deploy(&id("db"), "v7", me())
        .await
        .unwrap()
        .await
        .unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Stale);
    assert!(e.to_string().contains("db@shop-1"), "{e}");
    assert_eq!(s.live(), ["v1", "v7", "v1"]);
    // Asked for anew it is planned anew.
    assert!(s.deploy(&[("api", "v2"), ("db", "v2")]).await.succeeded());
}

#[tokio::test]
async fn what_cannot_go_back_moves_only_by_name() {
    let s = Shop::new();
    s.everything("v1").await;
    let why = Some("its database was migrated".to_owned());
    s.shelf("db").0.lock().unwrap().no_way_back = why;
    let request = || deploy(&[("api", "v2"), ("db", "v2")]);
    let e = s.run(request()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused);
    let text = e.to_string();
    assert!(
        text.contains("way-back") && text.contains("its database was migrated"),
        "{text}"
    );
    assert!(text.contains("db@shop-1"), "{text}");
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    let named = request().without_way_back(id("db"));
    assert!(s.run(named).await.unwrap().succeeded());
    assert_eq!(s.live(), ["v2", "v2", "v1"]);
    // Alone it may move as ever.
    s.engine
        .deploy(&id("db"), "v3", me())
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cancelled_group_goes_back_whole() {
    let s = Shop::new();
    s.everything("v1").await;
    let mut notices = s.engine.subscribe();
    // `web` is not ready yet: the others are live, and wait.
    s.shelf("web").0.lock().unwrap().not_yet = 1_000;
    let run = s
        .engine
        .run_stack(deploy(&ALL.map(|name| (name, "v2"))))
        .await
        .unwrap();
    while let Ok(notice) = notices.recv().await {
        let agreed = notice.event.is_some_and(|e| e.event == Event::Agreed);
        if agreed && notice.workload == id("api") {
            break;
        }
    }
    run.cancel();
    let report = run.await;
    assert!(!report.succeeded());
    assert_eq!(s.live(), ["v1", "v1", "v1"]);
    for name in ALL {
        assert_eq!(
            s.newest(name).await.outcome(),
            Some(Outcome::Cancelled),
            "{name}"
        );
    }
    assert_eq!(s.engine.group(report.id()).await.unwrap().way, Way::Back);
}

#[tokio::test]
async fn what_cannot_be_asked_of_a_stack_is_refused() {
    let s = Shop::new();
    let e = s.rollback(StackGoal::LastHealthy).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::NoGroup { .. })), "{e}");
    let e = s.rollback(StackGoal::Previous).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::NoGroup { .. })), "{e}");
    let unknown: GroupId = "deploy-20260101-000000-abcd".parse().unwrap();
    let e = s
        .rollback(StackGoal::To(unknown.clone()))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert_eq!(
        s.engine.group(&unknown).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let foreign = StackRequest::deploy(shop(), [(id("cron"), "v1")], me());
    let e = s.run(foreign).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
    assert!(e.to_string().contains("cron@shop-1"), "{e}");
    let other = StackRequest::rollback("other".parse().unwrap(), StackGoal::Previous, me());
    let e = s.run(other).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotRegistered);
    assert!(e.to_string().contains("there are shop"), "{e}");
}

#[tokio::test]
async fn a_stack_that_cannot_be_is_not_built() {
    let build = |stacks: Vec<Stack>| {
        let mut builder = RollbackEngine::builder(MemoryStore::new());
        for name in ["api", "db"] {
            let shelf = Shelf::of(id(name).to_string().as_str());
            builder = builder.workload(Workload::new(shelf));
        }
        for stack in stacks {
            builder = builder.stack(stack);
        }
        builder.build().map(drop)
    };
    let stack =
        |name: &str, of: &[&str]| Stack::new(name.parse().unwrap(), of.iter().map(|n| id(n)));
    assert!(build(vec![stack("a", &["api"]), stack("b", &["db"])]).is_ok());
    for wrong in [
        vec![stack("a", &[])],
        vec![stack("a", &["api", "web"])],
        vec![stack("a", &["api"]), stack("b", &["api", "db"])],
        vec![stack("a", &["api"]), stack("a", &["db"])],
    ] {
        let e = build(wrong).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{e}");
    }
}

#[tokio::test]
async fn of_many_that_run_by_themselves_one_that_fails_stops_none() {
    let s = Shop::new();
    let requests = [
        Request::deploy(id("db"), "v1", me()),
        Request::deploy(id("cron"), "v1", me()),
        Request::deploy(id("api"), "sick-v1", me()),
        Request::deploy(id("web"), "missing", me()),
    ];
    let ended = s.engine.run_all(requests, 1).await;
    let names: Vec<String> = ended.iter().map(|(w, _)| w.service().to_string()).collect();
    assert_eq!(names, ["db", "cron", "api", "web"]);
    assert!(ended[0].1.as_ref().unwrap().succeeded());
    let kind = |nth: usize| ended[nth].1.as_ref().unwrap_err().kind();
    assert_eq!(kind(1), ErrorKind::NotRegistered);
    assert_eq!(ended[2].1.as_ref().unwrap().outcome(), Outcome::Failed);
    assert_eq!(kind(3), ErrorKind::NotFound);
}

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
async fn a_plan_from_elsewhere_moves_nothing_that_does_not_belong_to_its_stack() {
    let s = Shop::new();
    let plan = s
        .engine
        .preview_stack(&deploy(&[("api", "v1"), ("db", "v1")]))
        .await
        .unwrap();
    let mut json = serde_json::to_value(&plan).unwrap();
    json["moves"][0]["new"]["workload"] = "cron@shop-1".into();
    let forged: StackPlan = serde_json::from_value(json).unwrap();
    let e = s.engine.execute_stack(forged).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest, "{e}");
    assert_eq!(s.live(), ["nothing", "nothing", "nothing"]);
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

#[tokio::test]
async fn going_back_twice_went_forward_again() {
    let s = Shop::new();
    for version in ["v1", "v2", "v3"] {
        s.everything(version).await;
    }
    for expected in ["v2", "v1"] {
        s.rollback(StackGoal::LastHealthy).await.unwrap();
        assert_eq!(s.live(), [expected, expected, expected]);
    }
    let e = s.rollback(StackGoal::LastHealthy).await.unwrap_err();
    assert!(matches!(e.refusal(), Some(Refusal::NoGroup { .. })), "{e}");
}

#[tokio::test]
async fn a_workload_that_was_never_deployed_kept_its_stack_from_going_back() {
    let s = Shop::new();
    s.engine
        .deploy(&id("db"), "v1", me())
        .await
        .unwrap()
        .await
        .unwrap();
    s.deploy(&[("api", "v1"), ("db", "v2")]).await;
    s.deploy(&[("api", "v2"), ("db", "v3")]).await;
    s.rollback(StackGoal::LastHealthy).await.unwrap();
    assert_eq!(s.live(), ["v1", "v2", "nothing"]);
}

#[tokio::test]
async fn a_newer_group_was_passed_over_for_an_older_one_of_a_quieter_workload() {
    let s = Shop::new();
    s.everything("v1").await;
    s.everything("v2").await;
    s.deploy(&[("web", "v3")]).await;
    for n in 0..70 {
        let run = s.engine.deploy(&id("web"), format!("w{n}"), me()).await;
        run.unwrap().await.unwrap();
    }
    let groups = s.engine.groups(&shop(), 2).await.unwrap();
    let moved: Vec<usize> = groups.iter().map(|g| g.members.len()).collect();
    assert_eq!(moved, [1, 3]);
    s.rollback(StackGoal::Previous).await.unwrap();
    assert_eq!(s.live(), ["v2", "v2", "v2"]);
}

#[tokio::test]
async fn what_was_to_stay_and_has_moved_is_named() {
    let s = Shop::new();
    s.everything("v1").await;
    let request = deploy(&[("api", "v2")]);
    let plan = s.engine.preview_stack(&request).await.unwrap();
    s.engine
        .deploy(&id("web"), "v9", me())
        .await
        .unwrap()
        .await
        .unwrap();
    let e = s.engine.execute_stack(plan).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Stale);
    assert!(e.to_string().contains("web@shop-1"), "{e}");
    assert_eq!(s.live(), ["v1", "v1", "v9"]);
}

#[tokio::test]
async fn a_member_that_is_run_alone_was_not_asked_about_its_neighbours() {
    let s = Shop::new();
    let request = deploy(&ALL.map(|name| (name, "v1")));
    let plan = s.engine.preview_stack(&request).await.unwrap();
    let web = plan.moves().iter().find(|p| *p.workload() == id("web"));
    let run = s.engine.execute(web.unwrap().clone()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Refused, "{}", report.summary());
    assert!(
        report
            .summary()
            .contains("api@shop-1: nothing is live on it")
    );
}
