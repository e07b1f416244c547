//! What a unit that failed had logged is on record, and its secrets are not.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rollback_core::backend::Backend;
use rollback_core::diagnosis::{Diagnosis, MAX_LOG_LINES};
use rollback_core::engine::{Report, RollbackEngine, Workload};
use rollback_core::memory::MemoryStore;
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::{Driver, Step};
use rollback_testkit::world::{Build, World};
use support::{SystemdWorld, boot};

#[tokio::test(flavor = "multi_thread")]
async fn a_units_last_words_are_on_record() {
    let Some(fixture) = boot() else { return };
    let world = || Arc::new(SystemdWorld::new(Arc::clone(&fixture)));
    what_a_unit_said_before_it_failed_was_lost_when_it_was_replaced(world()).await;
    the_last_words_of_a_unit_that_restarts_for_ever_are_told(world()).await;
    a_unit_that_failed_to_start_says_why_and_no_more_than_fits(world()).await;
    of_a_release_that_never_ran_nothing_is_told(world()).await;
    where_the_secrets_are_not_known_nothing_is_told(world()).await;
    the_secrets_that_a_file_had_at_an_earlier_start_were_told(world()).await;
    where_there_is_no_journal_the_deployment_goes_back_all_the_same(world()).await;
}

/// Makes the broken build a unit that runs this script.
fn script(world: &SystemdWorld, script: &str, more: &str) {
    let text = format!("[Service]\n{more}\nExecStart=/bin/sh -c '{script}'\n");
    let path = world
        .dir()
        .join("sources")
        .join(support::reference(Build::Broken));
    fs::write(path, text).unwrap();
}

/// Deploys one that is well, and then the broken one, which has to go back.
async fn failed(world: &Arc<SystemdWorld>) -> Report {
    let gate = Gate::default()
        .retries(1)
        .interval(Duration::from_millis(200));
    let workload = Workload::new(world.systemd()).auto_rollback().gate(gate);
    let engine = RollbackEngine::builder(MemoryStore::new())
        .workload(workload)
        .build()
        .unwrap();
    let deploy = async |build: Build| {
        let (id, me) = (world.workload(), Actor::user("me").unwrap());
        let run = engine.deploy(&id, world.reference(build), me);
        run.await.unwrap().await.unwrap()
    };
    let good = deploy(Build::V1).await;
    assert!(good.succeeded(), "{}", good.summary());
    let report = deploy(Build::Broken).await;
    assert_eq!(world.serving().await.as_deref(), Some("v1"));
    report
}

fn log(seen: &Diagnosis) -> String {
    seen.platform.log.join("\n")
}

async fn what_a_unit_said_before_it_failed_was_lost_when_it_was_replaced(world: Arc<SystemdWorld>) {
    let below = |path: &str| world.fixture.root().join(path);
    fs::write(
        below("etc/secrets.env"),
        "# it's of the service\nGREETING=It's up\nFILED='fi1ed-s3cret'\n\
         KEY=\"1ine-0ne-s3cret\n1ine-2wo-s3cret\"\n",
    )
    .unwrap();
    fs::create_dir(below("etc/more.d")).unwrap();
    fs::write(
        below("etc/more.d/x.env"),
        "MORE=\"b\\s1ash-s3cret\" # 'not quoted\nLAST=last-s3cret",
    )
    .unwrap();
    let drop_ins = below("etc/systemd/system").join(format!("{}.d", world.unit));
    fs::create_dir_all(&drop_ins).unwrap();
    fs::write(
        drop_ins.join("x.conf"),
        "[Service]\nEnvironment=DROPPED=dr0pped-s3cret\n",
    )
    .unwrap();
    script(
        &world,
        "echo no table called users >&2; echo \"token $TOKEN url $URL file $FILED in $DROPPED\" >&2; \
         echo \"$GREETING; more $MORE and $LAST\" >&2; \
         echo form $(echo -n \"$FILED\" | base64) line $(echo \"$KEY\" | tail -n 1) >&2; \
         echo user=me password=anyb0dys api_key: anyb0dys, x >&2; \
         echo pass $(echo $URL | cut -d: -f3 | cut -d@ -f1) >&2; printf \"\\\\033[31mcolours\\\\033[0m \\\\007\\\\n\"; exit 3",
        "Environment=\"TOKEN=s3cret with spaces\"\nEnvironment=URL=postgres://me:hunter2@db/x\n\
         EnvironmentFile=/etc/secrets.env\nEnvironmentFile=/etc/more.d/*.env",
    );
    let report = failed(&world).await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let seen = report.diagnosis().unwrap();
    let log = log(seen);
    for line in [
        "no table called users",
        "token *** url *** file *** in ***",
        "***; more *** and ***",
        "form *** line ***",
        "user=me password=*** api_key: ***, x",
        "pass ***",
        "colours \u{fffd}",
        "Failed with result",
    ] {
        assert!(log.contains(line), "{line}: {seen}");
    }
    let lines = &seen.platform.log;
    let before = |a: &str, b: &str| {
        let at = |text: &str| lines.iter().position(|l| l.contains(text));
        at(a) < at(b)
    };
    assert!(before("no table", "pass"), "oldest first: {seen}");
    assert!(!seen.platform.facts.contains_key("no_log"), "{seen}");
    let record = serde_json::to_string(report.deployment()).unwrap();
    for secret in ["s3cret", "hunter2", "with spaces", "ZmkxZWQ"] {
        assert!(!record.contains(secret), "{secret} is on record: {seen}");
    }
}

async fn the_last_words_of_a_unit_that_restarts_for_ever_are_told(world: Arc<SystemdWorld>) {
    script(
        &world,
        "echo run of $INVOCATION_ID fails >&2; exit 1",
        "Restart=always\nRestartSec=50ms\nStartLimitIntervalSec=0",
    );
    let report = failed(&world).await;
    let seen = report.diagnosis().unwrap();
    // One in twenty of these lines is in the journal without its invocation: its process was gone
    // before the journal had asked for it.
    let last = &seen.platform.facts["invocation_id"];
    let says = format!("run of {last} fails");
    assert!(log(seen).contains(&says), "{seen}");
}

async fn a_unit_that_failed_to_start_says_why_and_no_more_than_fits(world: Arc<SystemdWorld>) {
    script(
        &world,
        "for i in $(seq 200); do echo line $i; done; echo it cannot listen >&2; exit 4",
        "Type=oneshot",
    );
    let report = failed(&world).await;
    let seen = report.diagnosis().unwrap();
    let lines = &seen.platform.log;
    assert!(lines.len() <= MAX_LOG_LINES, "{}", lines.len());
    let log = log(seen);
    assert!(log.contains("it cannot listen"), "{seen}");
    assert!(
        log.contains("line 199") && !log.contains("line 100"),
        "{seen}"
    );
}

async fn of_a_release_that_never_ran_nothing_is_told(world: Arc<SystemdWorld>) {
    let d = Driver::new(world.clone());
    d.deploy(Build::V1).await;
    let mut op = d.operation_to(Build::V2).await;
    d.must(Step::Prepare, &mut op).await;
    // It came after `prepare`, and with it no fragment loads.
    let dir = world
        .fixture
        .root()
        .join(format!("etc/systemd/system/{}.d", world.unit));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("bad.conf"), "[Service]\nType=dbus\n").unwrap();
    let e = d.verb(Step::Switch, &Driver::cx(), &mut op).await;
    assert_eq!(e.unwrap_err().kind(), BackendErrorKind::Failed);
    let instance = op.to.instance().unwrap();
    let words = world.systemd().diagnose(&Driver::cx(), instance).await;
    let words = words.unwrap();
    assert!(words.log.is_empty(), "{words:?}");
    assert!(
        words.facts["no_log"].contains("was not started"),
        "{words:?}"
    );
    fs::remove_dir_all(&dir).unwrap();
    d.go_back(&op).await;
}

async fn where_the_secrets_are_not_known_nothing_is_told(world: Arc<SystemdWorld>) {
    let file = world.fixture.root().join("etc/gone.env");
    fs::write(&file, "TOKEN=g0ne-s3cret\n").unwrap();
    let more = "EnvironmentFile=/etc/gone.env";
    script(&world, "echo $TOKEN >&2; rm /etc/gone.env; exit 3", more);
    let report = failed(&world).await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let seen = report.diagnosis().unwrap();
    assert!(seen.platform.log.is_empty(), "{seen}");
    let why = &seen.platform.facts["no_log"];
    assert!(why.contains("/etc/gone.env"), "{seen}");
}

async fn the_secrets_that_a_file_had_at_an_earlier_start_were_told(world: Arc<SystemdWorld>) {
    let file = world.fixture.root().join("etc/turned.env");
    fs::write(&file, "TOKEN=f1rst-s3cret\n").unwrap();
    script(
        &world,
        "echo token $TOKEN of $INVOCATION_ID >&2; sleep 0.1; \
         grep -q second /etc/turned.env || sed -i s/f1rst/second/ /etc/turned.env; exit 1",
        "EnvironmentFile=/etc/turned.env\nRestart=always\nRestartSec=100ms\nStartLimitIntervalSec=0",
    );
    let report = failed(&world).await;
    let seen = report.diagnosis().unwrap();
    let record = serde_json::to_string(report.deployment()).unwrap();
    assert!(!record.contains("-s3cret"), "{seen}");
    let last = &seen.platform.facts["invocation_id"];
    let told = log(seen).contains(&format!("token *** of {last}"));
    let why = seen.platform.facts.get("no_log");
    assert!(
        told || why.is_some_and(|why| why.contains("has changed")),
        "{seen}"
    );
}

async fn where_there_is_no_journal_the_deployment_goes_back_all_the_same(world: Arc<SystemdWorld>) {
    // The last case: the container has none from now on.
    fs::remove_dir_all(world.fixture.root().join("var/log/journal")).unwrap();
    script(&world, "echo nobody reads this >&2; exit 3", "");
    let report = failed(&world).await;
    assert_eq!(report.outcome(), Outcome::FailedAndRolledBack);
    let seen = report.diagnosis().unwrap();
    assert!(seen.platform.log.is_empty(), "{seen}");
    let facts = &seen.platform.facts;
    assert!(facts["no_log"].contains("gave no log"), "{seen}");
    assert_eq!(facts["exit_status"], "3", "{seen}");
}
