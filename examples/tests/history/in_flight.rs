//! While a deployment is in flight in another process: it is in the way, and can be cancelled.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::left::{Left, Typed};

/// Another process that deploys.
pub(crate) struct Deploying(Option<Child>);

impl Deploying {
    fn of(left: &Left, reference: &str) -> Self {
        let mut command = left.command(&left.store, &["deploy", reference, "--yes"]);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    fn ended(mut self) -> Typed {
        Typed::of(self.0.take().unwrap().wait_with_output().unwrap())
    }

    pub(crate) fn killed(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Deploying {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Something live, and a gate that waits for as long as a test may take.
pub(crate) async fn patient(kind: &str) -> Left {
    let left = Left::with(kind).await;
    left.type_here(&["adopt"]).ends(0);
    left.configure(|entry| entry["gate"]["start_period"] = 60_000.into());
    left
}

/// A deployment at its gate.
pub(crate) fn at_the_gate(left: &Left) -> Deploying {
    let deploying = Deploying::of(left, "v3");
    once(left, "switched");
    deploying
}

pub(crate) fn newest(left: &Left) -> Value {
    let list = left.type_here(&["list", "--limit", "1", "--json"]).ends(0);
    let mut list: Vec<Value> = serde_json::from_str(&list.out).unwrap();
    list.remove(0)
}

/// Waits until the deployment in flight has come so far.
#[track_caller]
pub(crate) fn once(left: &Left, event: &str) {
    let start = Instant::now();
    loop {
        let newest = newest(left);
        let events = newest["events"].as_array().unwrap();
        if newest["status"] == "in_progress" && events.iter().any(|e| e["event"] == event) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{newest:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn id(record: &Value) -> String {
    record["id"].as_str().unwrap().to_owned()
}

async fn what_is_in_flight_is_in_the_way_of_everything_else(kind: &str) {
    let left = patient(kind).await;
    let deploying = at_the_gate(&left);
    let in_flight = newest(&left);
    for args in [
        ["deploy", "v1", "--yes"].as_slice(),
        &["rollback", "--yes"],
        &["adopt"],
        &["cleanup", "1", "0", "--yes"],
    ] {
        let refused = left.type_here(args).ends(6);
        assert!(refused.err.contains("api@web-1 is busy"), "{}", refused.err);
        assert!(refused.err.contains(&id(&in_flight)), "{}", refused.err);
        assert!(
            refused
                .err
                .contains("wait for it, or stop it: cancel api@web-1")
        );
    }
    let status = left.type_here(&["status"]).ends(0).out;
    assert!(status.contains("running"), "{status}");
    assert!(status.contains("on record     v4 ("), "{status}");
    assert!(status.contains("now           v3 ("), "{status}");
    assert!(status.contains("; being switched"), "{status}");
    assert!(!status.contains("drift"), "{status}");
    assert_eq!(newest(&left), in_flight, "nothing of that was recorded");
    left.type_here(&["cancel", "api@web-1"]).ends(0);
    deploying.ended().ends(1);
    left.type_here(&["deploy", "v1", "--yes"]).ends(0);
}

async fn a_deployment_in_flight_is_cancelled_by_workload_or_id(kind: &str) {
    let left = patient(kind).await;
    for by in ["workload", "id", "short id"] {
        let deploying = at_the_gate(&left);
        let id = id(&newest(&left));
        let what = match by {
            "workload" => "api@web-1",
            "id" => &id,
            _ => &left.type_here(&["list"]).shown_ids()[0],
        };
        let said = left.type_here(&["cancel", what]).ends(0).out;
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(&*format!("{id} was asked to stop.")));
        assert!(lines.next().unwrap().contains("did not go live: cancelled"));
        let told = deploying.ended().ends(1);
        assert!(told.out.contains("did not go live: cancelled"));
        assert!(told.out.contains(&format!("\n{id}: cancelled, ")));
        assert!(
            told.err.contains("  … going back: cancelled"),
            "{}",
            told.err
        );
        assert_eq!(newest(&left)["status"], "cancelled");
        assert_eq!(left.live(), "v4", "by {by}");
    }
}

async fn without_waiting_it_has_only_been_asked(kind: &str) {
    let left = patient(kind).await;
    let deploying = at_the_gate(&left);
    let said = left
        .type_here(&["cancel", "api@web-1", "--no-wait"])
        .ends(0);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    deploying.ended().ends(1);
    assert_eq!(newest(&left)["status"], "cancelled");
}

async fn nothing_in_flight_is_nothing_to_cancel(kind: &str) {
    let left = patient(kind).await;
    let adopted = id(&newest(&left));
    let before = left.type_here(&["list", "--json"]).out;
    let refused = left.type_here(&["cancel", "api@web-1"]).ends(4);
    assert_eq!(
        refused.err,
        "history: nothing is in flight on api@web-1; nothing was changed\n"
    );
    let refused = left.type_here(&["cancel", &adopted]).ends(4);
    assert_eq!(
        refused.err,
        format!(
            "history: {adopted} is over: succeeded; nothing is in flight on api@web-1; \
             nothing was changed\n"
        )
    );
    let refused = left.type_here(&["cancel", "apt@web-1"]).ends(7);
    assert!(refused.err.contains("nothing is known of apt@web-1"));
    left.type_here(&["cancel", "deploy-20200101-000000-aaaa"])
        .ends(7);
    for typed in ["api", "@web-1", "../x@web-1"] {
        left.type_here(&["cancel", typed]).ends(2);
    }
    assert_eq!(left.type_here(&["list", "--json"]).out, before);
    let deploying = at_the_gate(&left);
    let refused = left.type_here(&["cancel", &adopted]).ends(4);
    let other = format!("{} is in flight on api@web-1", id(&newest(&left)));
    assert!(refused.err.contains(&other), "{}", refused.err);
    assert!(left.type_here(&["status"]).out.contains("in flight"));
    left.type_here(&["cancel", "api@web-1"]).ends(0);
    deploying.ended().ends(1);
}

async fn nobody_hears_who_is_dead(kind: &str) {
    let left = patient(kind).await;
    at_the_gate(&left).killed();
    for what in ["api@web-1", &id(&newest(&left))] {
        let refused = left.type_here(&["cancel", what]).ends(4);
        assert!(refused.err.contains("run recover; nothing was changed"));
    }
}

/// A deployment of v1 that was killed while it restarted the service.
fn killed_in_a_switch(left: &Left) -> String {
    let wait = left.kept().join("restart.sh.wait");
    fs::write(&wait, "").unwrap();
    let deploying = Deploying::of(left, "v1");
    once(left, "switch_intended");
    let id = id(&newest(left));
    deploying.killed();
    fs::remove_file(&wait).unwrap();
    id
}

async fn what_a_crash_left_is_settled_first(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    // What had to wait belonged to the dead.
    left.restart_by(
        "waited=; while [ -e \"$0.wait\" ]; do waited=1; sleep 0.05; done\n\
         [ -n \"$waited\" ] && exit 1; exec \"$@\"\n",
    );
    for args in [["deploy", "v4"].as_slice(), &["rollback"]] {
        let dead = killed_in_a_switch(&left);
        let refused = left.type_here(args).ends(4);
        assert!(refused.err.contains("nobody is here to ask"));
        let preview = left.type_here(&["preview"]).ends(6);
        assert!(preview.err.contains("run recover"), "{}", preview.err);
        let mut args = args.to_vec();
        args.push("--yes");
        let typed = left.type_here(&args).ends(0);
        let mut lines = typed.err.lines();
        let first = format!("{dead} was interrupted while switching; recovering it first");
        assert_eq!(lines.next(), Some(&*first));
        let settled = format!("{dead}: succeeded, ");
        assert!(lines.next().unwrap().starts_with(&settled), "{}", typed.err);
        let shown = left.type_here(&["show", &dead]).ends(0).out;
        assert!(shown.contains("taken over"), "{shown}");
    }
    assert_eq!(left.live(), "v4");
}

async fn what_goes_back_already_is_not_stopped(kind: &str) {
    let left = patient(kind).await;
    // v3 does not start; what goes back waits.
    left.restart_by(
        "read -r version < version; [ \"$version\" = v3 ] && exit 1\n\
         while [ -e \"$0.wait\" ]; do sleep 0.05; done; exec \"$@\"\n",
    );
    let wait = left.kept().join("restart.sh.wait");
    fs::write(&wait, "").unwrap();
    let deploying = Deploying::of(&left, "v3");
    once(&left, "switch_back_intended");
    let mut cancel = left.command(&left.store, &["cancel", "api@web-1"]);
    cancel.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut cancelling = cancel.spawn().unwrap();
    let mut said = String::new();
    let out = cancelling.stdout.as_mut().unwrap();
    BufReader::new(out).read_line(&mut said).unwrap();
    assert!(said.contains("was asked to stop"), "{said}");
    fs::remove_file(&wait).unwrap();
    deploying.ended().ends(3);
    let said = Typed::of(cancelling.wait_with_output().unwrap()).ends(3);
    let outcome = "was not stopped, it ended as failed and rolled back";
    assert!(said.err.contains(outcome), "{}", said.err);
    assert_eq!(left.live(), "v4");
}

on_both_stores!(
    what_is_in_flight_is_in_the_way_of_everything_else,
    a_deployment_in_flight_is_cancelled_by_workload_or_id,
    without_waiting_it_has_only_been_asked,
    nothing_in_flight_is_nothing_to_cancel,
    nobody_hears_who_is_dead,
    what_a_crash_left_is_settled_first,
    what_goes_back_already_is_not_stopped,
);
