//! The list fits the terminal, and says what it left out.

use rollback_core::deployment::{Outcome, Trigger};
use rollback_core::history::Then;
use rollback_core::id::DeploymentId;
use rollback_testkit::store_suite::{at, holder, sample_of, settlement};

use crate::left::Left;
use crate::pty;

const ALL: [&str; 9] = [
    "ID", "WORKLOAD", "WHAT", "RELEASE", "OUTCOME", "HEALTH", "BY", "WHEN", "TOOK",
];

/// Least important first.
const SPARE: [&str; 5] = ["TOOK", "HEALTH", "BY", "RELEASE", "WORKLOAD"];

/// A history with the longest words that there are.
async fn wordy(kind: &str) -> Left {
    let left = Left::nothing_but(kind).await;
    let store = left.open().await;
    let earlier = DeploymentId::generate(at(0));
    for n in 0..4 {
        let trigger = match n {
            0 => Trigger::Deploy,
            _ => Trigger::AutomaticRollback {
                to: earlier.clone(),
                failed: earlier.clone(),
            },
        };
        let new = sample_of("billing-worker@web-1", n, trigger);
        let version = store.workload(&new.workload).await.unwrap().version;
        let begun = store.begin(&new, &holder(), version).await.unwrap();
        // The last one is in flight.
        if n < 3 {
            let ended = settlement(&new.id, Outcome::FailedAndRolledBack);
            let done = store.finish(&begun.lease, &[], &ended, at(n + 1), &Then::Release);
            done.await.unwrap();
        }
    }
    left
}

/// The table alone: its header and its rows.
fn table(out: &str) -> Vec<&str> {
    out.lines().take_while(|line| !line.is_empty()).collect()
}

fn headers(out: &str) -> Vec<&str> {
    table(out)[0].split_whitespace().collect()
}

fn all_but(left_out: &[&str]) -> Vec<&'static str> {
    let stays = |header: &&str| !left_out.contains(header);
    ALL.into_iter().filter(stays).collect()
}

async fn at_every_width_it_fits(kind: &str) {
    let left = wordy(kind).await;
    let mut left_out = 0;
    for width in (1..=180).rev() {
        let typed = left.type_here(&["list", "--width", &width.to_string()]);
        let out = typed.ends(0).out;
        while headers(&out) != all_but(&SPARE[..left_out]) {
            left_out += 1;
            assert!(left_out <= SPARE.len(), "at {width}:\n{out}");
        }
        let rows = table(&out);
        assert_eq!(rows.len(), 5, "no row is broken:\n{out}");
        assert!(rows[2].contains("  automatic rollback  "), "{out}");
        assert!(rows[2].contains("  failed and rolled back  "), "{out}");
        if width >= 71 {
            assert!(rows.iter().all(|row| row.len() <= width), "{width}:\n{out}");
        }
        let said = out
            .lines()
            .find_map(|l| l.strip_prefix("Left out to fit: "));
        let said: Vec<&str> = said.map_or(Vec::new(), |said| said.split(", ").collect());
        assert!(SPARE[..left_out].iter().all(|header| said.contains(header)));
        assert_eq!(said.len(), left_out);
    }
    assert_eq!(left_out, SPARE.len());
    left.type_here(&["list", "--width", "0"]).ends(2);
}

async fn the_terminal_says_how_wide_it_is(kind: &str) {
    let left = wordy(kind).await;
    let command = |args: &[&str]| {
        let mut command = left.command(&left.store, args);
        command.env_remove("COLUMNS");
        command
    };
    let needed = all_but(&SPARE);
    for (columns, expected) in [(80, &needed), (71, &needed), (200, &ALL.to_vec())] {
        let out = pty::written(&mut command(&["list"]), columns);
        assert_eq!(&headers(&out), expected, "at {columns}:\n{out}");
        assert!(
            out.lines().all(|line| line.len() <= columns.into()),
            "{out}"
        );
    }
    // 0 is how a terminal says that it does not know.
    let out = pty::written(&mut command(&["list"]), 0);
    assert_eq!(headers(&out), ALL);
    let out = pty::written(command(&["list"]).env("COLUMNS", "80"), 200);
    assert_eq!(headers(&out), needed);
    for nothing in ["", "0", "wide"] {
        let out = pty::written(command(&["list"]).env("COLUMNS", nothing), 80);
        assert_eq!(headers(&out), needed, "COLUMNS={nothing}");
    }
    let out = pty::written(
        command(&["list", "--width", "200"]).env("COLUMNS", "80"),
        80,
    );
    assert_eq!(headers(&out), ALL);
}

async fn what_is_no_terminal_has_no_edge(kind: &str) {
    let left = wordy(kind).await;
    let mut command = left.command(&left.store, &["list"]);
    let output = command.env("COLUMNS", "80").output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(headers(&out), ALL);
    assert!(!out.contains("Left out"), "{out}");
}

on_both_stores!(
    at_every_width_it_fits,
    the_terminal_says_how_wide_it_is,
    what_is_no_terminal_has_no_edge,
);
