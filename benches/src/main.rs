//! Measures rollback against the raw operations it is made of, in the same run, as ratios.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod compose;
mod docker;
mod figure;
mod floor;
mod git;
mod growth;
mod json;
mod noop;
mod prober;
mod raw;
mod reads;
mod report;
mod seed;
mod sqlite;
mod swarm;
mod systemd;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use git::Against::{Record, Swap};
use noop::Locks;
use reads::Subject;
use report::Report;
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;
use seed::Timeline;

fn main() {
    let scratch = scratch();
    let dir = scratch.path().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut report = Report::of(std::env::args().skip(1).collect());
    runtime.block_on(measure(&dir, &mut report));
    drop(runtime);
    if floor::in_memory(&dir) {
        report.say(format!(
            "{} is a tmpfs: nothing was synced, the ratios mean nothing",
            dir.display()
        ));
    }
    report.write(&target().join("bench-report.json"));
}

/// Measures each area that is wanted.
async fn measure(dir: &Path, report: &mut Report) {
    if report.wants("sqlite") {
        report.add(sqlite::append(dir).await);
        report.add(sqlite::append_on_a_blocking_thread(dir).await);
        report.add(sqlite::begin_and_finish(dir).await);
    }
    if report.wants("json") {
        report.add(json::append(dir).await);
    }
    if report.wants("engine") {
        report.add(noop::engine_overhead_in_memory().await);
        report.add(noop::engine_overhead_on_sqlite(dir, Locks::Made).await);
        let again = noop::engine_overhead_on_sqlite(dir, Locks::Stand);
        report.add(again.await.at_most("1.5"));
    }
    if report.wants("git") {
        report.add(git::switch(dir).await);
        report.add(git::rollback(dir, 60, Swap).await.at_most("5 ms"));
        report.add(git::rollback(dir, 60, Record).await);
        report.add(git::rollback(dir, 10_000, Swap).await.at_most("60 ms"));
    }
    if report.wants("docker") {
        docker::figures(dir, report).await;
    }
    if report.wants("swarm") {
        let figure = swarm::rollback(dir).await.map(|f| f.at_most("1.1"));
        report.add_or_say("swarm", figure);
    }
    if report.wants("systemd") {
        let figure = systemd::rollback(dir).await.map(|f| f.at_most("1.1"));
        report.add_or_say("systemd", figure);
    }
    if report.wants("growth") {
        for kind in [growth::Kind::Sqlite, growth::Kind::Json] {
            for figure in growth::figures(kind, dir).await {
                report.add(figure);
            }
        }
        report.add(growth::newest().await);
    }
    for line in floor::lines(dir).await {
        report.say(line);
    }
    if report.wants("histories") {
        long_histories(dir, report).await;
    }
    if report.wants("directories") {
        long_directories(report).await;
    }
}

/// The reads of a long history. Another store is measured by the same functions, once it has been
/// seeded with the same records.
async fn long_histories(dir: &Path, report: &mut Report) {
    let began = Instant::now();
    let seed = async |count, timeline| {
        let path = dir.join(format!("history-{count}.db"));
        seed::sqlite(&path, seed::records(count, timeline)).await
    };
    let thousand = seed(1_000, Timeline::Whole).await;
    let short = seed(10_000, Timeline::Ends).await;
    let long = seed(1_000_000, Timeline::Ends).await;
    report.say(format!(
        "seeded as plain rows, the long histories with 2 events a record: {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    let subject = |store: &SqliteStore| Subject {
        name: "sqlite",
        store: Arc::new(store.clone()),
    };
    for line in upkeep::lines(&short, "10,000", dir).await {
        report.say(line);
    }
    let (short, long) = (subject(&short), subject(&long));
    report.add(reads::newest(&long, &short, ["1,000,000", "10,000"]).await);
    report.add(reads::stats(&long, "1,000,000").await);
    let records = seed::records(1_000, Timeline::Whole);
    let files = dir.join("files");
    let kept = (&*files, reads::keep_as_files(records, &files));
    let thousand = subject(&thousand);
    let few = reads::filtered(&thousand, &reads::few(), kept).await;
    report.add(few.at_least("20"));
    // Each record that is found has to be parsed on both sides.
    report.add(reads::filtered(&thousand, &reads::many(), kept).await);
}

/// The same for a directory of JSON records. They are seeded through the store's own verbs, in
/// memory, where nothing waits for a disk; they are read from memory in either case.
async fn long_directories(report: &mut Report) {
    let began = Instant::now();
    let memory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in("/dev/shm");
    let Ok(memory) = memory else {
        return report.say("no /dev/shm: long directories of JSON were not measured");
    };
    let seed = async |count, timeline| {
        let path = memory.path().join(format!("history-{count}"));
        let store = JsonStore::open(path).await.unwrap();
        seed::through(&store, seed::records(count, timeline)).await;
        Subject {
            name: "json",
            store: Arc::new(store),
        }
    };
    let thousand = seed(1_000, Timeline::Whole).await;
    let short = seed(10_000, Timeline::Ends).await;
    let long = seed(100_000, Timeline::Ends).await;
    report.say(format!(
        "seeded through the verbs, the long directories with 2 events a record: {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    report.add(reads::newest(&long, &short, ["100,000", "10,000"]).await);
    let records = seed::records(1_000, Timeline::Whole);
    let files = memory.path().join("files");
    let kept = (&*files, reads::keep_as_files(records, &files));
    let few = reads::filtered(&thousand, &reads::few(), kept).await;
    report.add(few.at_least("20"));
    report.add(reads::filtered(&thousand, &reads::many(), kept).await);
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&target).unwrap();
    target.canonicalize().unwrap()
}

/// On the disk that holds the build, which is a real one; a tmpfs would sync nothing.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(target())
        .unwrap()
}
