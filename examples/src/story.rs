//! How the examples tell what happened.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rollback_core::engine::{AutomaticRollback, Report};
use rollback_core::error::Chain;
use rollback_core::prelude::*;

/// What a program ends with; what went wrong, and why, in words. Returned from `main` it would be shown
/// as programmers see it.
pub fn end(told: Result<(), Box<dyn Error>>) -> ExitCode {
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}", Chain::of(&*e));
            ExitCode::FAILURE
        }
    }
}

/// A new chapter.
pub fn chapter(title: &str) {
    println!("\n== {title}");
}

/// One line.
pub fn say(line: impl AsRef<str>) {
    for line in line.as_ref().lines() {
        println!("   {line}");
    }
}

/// Tells a report.
pub fn tell(report: &Report) {
    let d = report.deployment();
    say(format!(
        "{}: {}, {}",
        d.id(),
        report.outcome(),
        seconds(d.duration())
    ));
    say(format!("health: {}", report.verdict()));
    for warning in &d.opening().warnings {
        say(format!("warning: {warning}"));
    }
    if let AutomaticRollback::Attempted { deployment, .. } = report.automatic_rollback() {
        say(format!(
            "automatic rollback: {}, {}",
            deployment
                .outcome()
                .map_or_else(String::new, |o| o.to_string()),
            seconds(deployment.duration())
        ));
    }
    say(report.summary());
}

/// Prints records as a table, oldest first.
pub fn table(newest_first: &[Deployment]) {
    say(format!(
        "{:<3} {:<19} {:<24} {:<23} {:<19} {}",
        "#", "what", "release", "outcome", "by", "took"
    ));
    for d in newest_first.iter().rev() {
        let release = d
            .operation()
            .to
            .release()
            .map_or_else(String::new, ToString::to_string);
        let outcome = d
            .outcome()
            .map_or_else(|| d.phase().to_string(), |o| o.to_string());
        say(format!(
            "{:<3} {:<19} {release:<24} {outcome:<23} {:<19} {}",
            d.sequence().0,
            d.trigger().kind().as_str().replace('_', " "),
            d.actor().to_string().replace("system:", ""),
            seconds(d.duration())
        ));
    }
}

/// Prints what a deployment did, step by step.
pub fn timeline(deployment: &Deployment) {
    for timed in deployment.events() {
        let more = match &timed.event {
            Event::TakenOver { decision, .. } => format!(": {decision}"),
            Event::Judged { verdict, .. } => format!(": {verdict}"),
            Event::Settled(settlement) => format!(": {}", settlement.outcome),
            _ => String::new(),
        };
        say(format!("- {}{more}", timed.event.name()));
    }
}

fn seconds(d: Option<Duration>) -> String {
    d.map_or_else(
        || "not settled".into(),
        |d| format!("{:.2} s", d.as_secs_f64()),
    )
}
