//! The command check against real processes.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use rollback_core::context::Cancellation;
use rollback_core::prelude::*;
use rollback_health::{CommandCheck, InvalidCheckKind, MAX_OUTPUT};
use support::{LONG, look, look_in};

fn command(program: &str, args: &[&str]) -> CommandCheck {
    CommandCheck::new(program, args.iter().map(|a| (*a).to_owned())).unwrap()
}

/// Whether a `sleep` of just this long runs.
fn sleeps(marker: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|c| c == format!("sleep\0{marker}\0").into_bytes())
    })
}

/// A time to sleep that no other test sleeps.
fn marker(test: u32) -> String {
    format!("6{test}.{}", std::process::id())
}

async fn gone(marker: &str) -> bool {
    comes_to_be(|| !sleeps(marker)).await
}

/// However busy the machine is.
async fn begins(marker: &str) -> bool {
    comes_to_be(|| sleeps(marker)).await
}

async fn comes_to_be(what: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < LONG {
        if what() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn a_command_is_healthy_when_it_exits_with_zero() {
    assert_eq!(look(&command("true", &[]), LONG).await, Ok(()));
    let said = look(&command("false", &[]), LONG).await.unwrap_err();
    assert_eq!(said, "exit status: 1");
    let said = look(&command("ls", &["/no/such/place"]), LONG).await;
    assert!(said.unwrap_err().contains("/no/such/place"));
    let said = look(&command("no-such-program-here", &[]), LONG).await;
    assert!(said.unwrap_err().contains("cannot be run"));
    let killed = command("sh", &["-c", "kill -9 $$"]);
    assert!(look(&killed, LONG).await.unwrap_err().contains("signal: 9"));
}

#[tokio::test]
async fn a_command_sees_no_environment_but_path_and_what_it_is_told_and_given() {
    let said = look(&command("sh", &["-c", "env; exit 1"]), LONG).await;
    let said = said.unwrap_err();
    assert!(said.contains("PATH=") && !said.contains("CARGO"), "{said}");
    let given = command("printenv", &["MODE"]).env("MODE", "probe");
    assert_eq!(look(&given, LONG).await, Ok(()));
    let own = command("/bin/sh", &["-c", "test $PATH = /own"]).env("PATH", "/own");
    assert_eq!(look(&own, LONG).await, Ok(()));
    assert_eq!(look(&command("cat", &[]), LONG).await, Ok(()), "no stdin");
}

#[tokio::test]
async fn a_diagnostic_is_the_end_of_the_output_and_no_longer_than_4_kib() {
    let script = "yes out | head -c 9000; yes err | head -c 9000 >&2; echo the-end >&2; exit 3";
    let said = look(&command("sh", &["-c", script]), LONG)
        .await
        .unwrap_err();
    let (status, output) = said.split_once('\n').unwrap();
    assert_eq!(status, "exit status: 3");
    assert!(output.ends_with("the-end"), "{output}");
    assert!(output.len() <= MAX_OUTPUT, "{}", output.len());
    let binary = command("sh", &["-c", "head -c 9000 /dev/urandom; exit 3"]);
    assert!(look(&binary, LONG).await.unwrap_err().len() < MAX_OUTPUT + 32);
}

#[tokio::test]
async fn a_given_value_is_not_shown_even_if_the_program_prints_it() {
    let secret = "s3cret-value";
    let check = command("sh", &["-c", "echo it is $TOKEN; exit 1"]).env("TOKEN", secret);
    assert!(!format!("{check:?} {}", check.name()).contains(secret));
    let said = look(&check, LONG).await.unwrap_err();
    assert!(said.contains("it is ***"), "{said}");
    // Wherever the cut falls, no end of the value is left at the beginning.
    for pad in 0..secret.len() {
        let dots = ".".repeat(pad);
        let script =
            format!("for i in $(seq 1000); do printf %s $TOKEN; done; printf %s {dots}; exit 1");
        let check = command("sh", &["-c", &script]).env("TOKEN", secret);
        let said = look(&check, LONG).await.unwrap_err();
        let output = said.strip_prefix("exit status: 1\n").unwrap();
        assert!(
            output.contains("***") && output.chars().all(|c| matches!(c, '*' | '.')),
            "{pad}: {output}"
        );
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_and_waited_for_with_what_it_started() {
    let marker = marker(1);
    let script = format!("echo trying; sleep {marker} & sleep {marker}");
    let began = Instant::now();
    // Long enough for a busy machine to start it.
    let short = Duration::from_secs(3);
    let said = look(&command("sh", &["-c", &script]), short)
        .await
        .unwrap_err();
    assert!(said.contains("killed") && said.contains("trying"), "{said}");
    assert!(began.elapsed() < LONG);
    assert!(gone(&marker).await);
}

#[tokio::test]
async fn a_cancelled_or_dropped_command_is_killed() {
    let marker = marker(2);
    let check = command("sleep", &[&marker]);
    let cancellation = Cancellation::new();
    let cx = Context::new(LONG).with_cancellation(cancellation.clone());
    let (said, seen) = tokio::join!(look_in(&check, &cx), async {
        let seen = begins(&marker).await;
        cancellation.cancel();
        seen
    });
    assert!(seen && said.unwrap_err().contains("killed"));
    assert!(!sleeps(&marker), "waited for");
    let said = look_in(&check, &cx).await.unwrap_err();
    assert_eq!(said, "cancelled before looking");

    let script = format!("sleep {marker} & sleep {marker}");
    let check = command("sh", &["-c", &script]);
    tokio::select! {
        _ = look(&check, LONG) => unreachable!("it sleeps for a minute"),
        seen = begins(&marker) => assert!(seen),
    }
    assert!(gone(&marker).await);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_output_open_does_not_keep_the_check() {
    let marker = "9.25";
    let check = command("sh", &["-c", &format!("sleep {marker} & exit 0")]);
    let began = Instant::now();
    assert_eq!(look(&check, LONG).await, Ok(()));
    assert!(began.elapsed() < Duration::from_secs(9));
    assert!(gone(marker).await);
}

#[test]
fn a_command_that_cannot_be_run_is_refused_at_once() {
    for (program, argument) in [("", ""), ("a\0b", ""), ("true", "a\0b")] {
        let said = CommandCheck::new(program, [argument]).unwrap_err();
        assert_eq!(said.kind(), InvalidCheckKind::Program, "{program:?}");
    }
}
