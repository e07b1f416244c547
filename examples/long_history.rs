//! Makes a history that is as long as you like, of ten services, to try the command line on.
//!
//! `cargo run --release --example long_history -- sqlite:FILE|json:DIR COUNT`
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use rollback_core::backend::{Evidence, Handle, Instance, Prepared, Rollout};
use rollback_core::deployment::{LiveRecord, Opening, Outcome};
use rollback_core::event::{Event, TimedEvent};
use rollback_core::health::{Site, Verdict};
use rollback_core::history::{HistoryStore, Then, Version};
use rollback_core::prelude::*;
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{holder, sample, settlement};

/// Between one deployment and the next one.
const APART: Duration = Duration::from_secs(10 * 60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [place, count] = args.as_slice() else {
        return Err("usage: long_history sqlite:FILE|json:DIR COUNT".into());
    };
    let count = count.parse()?;
    match place.split_once(':') {
        Some(("sqlite", path)) => fill(&SqliteStore::open(path).await?, count).await,
        Some(("json", path)) => fill(&JsonStore::open(path).await?, count).await,
        _ => Err("name it as sqlite:FILE or json:DIR".into()),
    }
}

async fn fill(store: &dyn HistoryStore, count: u32) -> Result<(), Box<dyn Error>> {
    let begin = SystemClock.now().minus(APART * count);
    let mut live: BTreeMap<WorkloadId, (Version, LiveRecord)> = BTreeMap::new();
    for n in 0..count {
        let mut new = sample(&format!("service-{}@web-1", n % 10), n.into());
        new.opened_at = begin.plus(APART * n);
        new.id = rollback_core::id::DeploymentId::generate(new.opened_at);
        let (version, former) = live.entry(new.workload.clone()).or_default();
        (new.replaces, new.fallback) = (former.clone(), former.clone());
        let lease = store.begin(&new, &holder(), *version).await?.lease;
        let at = new.opened_at.plus(Duration::from_secs(20));
        for event in events(&new) {
            store.append(&lease, &[TimedEvent::new(at, event)]).await?;
        }
        // One in ten is sick, and stays live.
        let outcome = match n % 100 < 10 {
            true => Outcome::Failed,
            false => Outcome::Succeeded,
        };
        let mut end = settlement(&new.id, outcome);
        end.live = LiveRecord::Known(new.id.clone());
        store.finish(&lease, &[], &end, at, &Then::Release).await?;
        (version.0, *former) = (version.0 + 2, end.live);
    }
    println!("{count} deployments");
    Ok(())
}

fn events(new: &Opening) -> Vec<Event> {
    let evidence = || Evidence::default().with("process", "4711");
    let instance = new
        .to
        .release()
        .map(|release| Instance::new(release.clone(), Handle::new(new.id.as_str())));
    let prepared = instance.map(|to| Event::Prepared(Prepared::new(Rollout::Replace, to)));
    let rest = [
        Event::SwitchIntended,
        Event::Switched {
            evidence: evidence(),
        },
        Event::Judged {
            site: Site::Live,
            verdict: Verdict::Passed,
            notes: Vec::new(),
        },
        Event::RetireIntended,
        Event::Retired,
    ];
    let first = [Event::PrepareIntended].into_iter();
    first.chain(prepared).chain(rest).collect()
}
