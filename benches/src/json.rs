//! The JSON store's append through the trait, against writing a file of the same size as durably
//! as a file can be written.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{HistoryStore, Holder, Lease, Version};
use rollback_core::time::{Clock, SystemClock};
use rollback_json::JsonStore;
use rollback_testkit::store_suite::sample;

use crate::figure::{Figure, Unit, clocked, compare, timed};

/// Events of a deployment before it is settled, about as many as a real one has.
const EVENTS: usize = 12;

pub(crate) async fn append(dir: &Path) -> Figure {
    let store = JsonStore::open(dir.join("append-json")).await.unwrap();
    let raw = dir.join("append-json-raw");
    fs::create_dir(&raw).unwrap();
    let lease: tokio::sync::Mutex<Option<Lease>> = tokio::sync::Mutex::new(None);
    let (store, raw, lease) = (&store, &raw, &lease);
    compare(
        "json: append one event, against tmp + fsync + link + fsync dir of the same bytes",
        Unit::Micros,
        1_200,
        |n| async move {
            let mut lease = lease.lock().await;
            // A new deployment every few events; beginning one is not an append.
            if n % EVENTS == 0 {
                let new = sample(&format!("w{n}@bench"), u64::try_from(n).unwrap());
                let holder = Holder::this_process(SystemClock.now());
                *lease = Some(store.begin(&new, &holder, Version(0)).await.unwrap().lease);
            }
            let event = TimedEvent::new(
                SystemClock.now(),
                Event::TakenOver {
                    decision: format!("a line such as events have, number {n}"),
                    by: None,
                },
            );
            let (time, done) = timed(store.append(lease.as_ref().unwrap(), &[event])).await;
            done.unwrap();
            time
        },
        |n| async move {
            // What a record has grown to on the way.
            let bytes = vec![b'x'; 2_600 + n % EVENTS * 170];
            let path = raw.join(format!("{n}.json"));
            clocked(|| raw_write(&path, &bytes))
        },
    )
    .await
    .at_most("1.25")
}

/// What a program without a store would do for the same promise.
fn raw_write(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    fs::hard_link(&temporary, path).unwrap();
    File::open(path.parent().unwrap())
        .unwrap()
        .sync_all()
        .unwrap();
    fs::remove_file(&temporary).unwrap();
}
