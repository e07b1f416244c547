//! What several tests of this store need: records, and a child that plays a part.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rollback_core::deployment::{Opening, Outcome};
use rollback_core::error::StoreError;
use rollback_core::event::{Event, TimedEvent};
use rollback_core::history::{Begun, HistoryReader, HistoryStore, Then};
use rollback_sqlite::SqliteStore;
use rollback_testkit::store_suite::{at, holder, sample, settlement};

/// An event that may be appended for ever.
pub(crate) fn step(n: u64) -> TimedEvent {
    let decision = format!("step {n}");
    TimedEvent::new(at(n), Event::TakenOver { decision, by: None })
}

/// Begins at whatever version the workload has.
pub(crate) async fn begin(store: &SqliteStore, new: &Opening) -> Result<Begun, StoreError> {
    let version = store.workload(&new.workload).await?.version;
    store.begin(new, &holder(), version).await
}

/// Begins and settles.
pub(crate) async fn settle(store: &SqliteStore, workload: &str, n: u64) -> Opening {
    let new = sample(workload, n);
    let begun = begin(store, &new).await.unwrap();
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store.finish(&begun.lease, &[], &end, at(n + 1), &Then::Release);
    done.await.unwrap();
    new
}

/// The same, where it may fail.
pub(crate) async fn try_settle(
    store: &SqliteStore,
    workload: &str,
    n: u64,
) -> Result<(), StoreError> {
    let new = sample(workload, n);
    let begun = begin(store, &new).await?;
    store.append(&begun.lease, &[step(n)]).await?;
    let end = settlement(&new.id, Outcome::Succeeded);
    let done = store.finish(&begun.lease, &[], &end, at(n + 1), &Then::Release);
    done.await.map(drop)
}

/// Another process: this executable once more, for its test of the name `child`.
pub(crate) struct Other {
    child: Child,
    lines: BufReader<ChildStdout>,
}

const PART: &str = "ROLLBACK_SQLITE_PART";
const PLACE: &str = "ROLLBACK_SQLITE_PLACE";

/// The part that this process plays and where, if it is a child.
pub(crate) fn part() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(PART).ok()?, std::env::var_os(PLACE)?.into()))
}

/// What a child says to its parent.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{line}").unwrap();
    out.flush().unwrap();
}

/// What a child is told.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

impl Other {
    pub(crate) fn playing(part: &str, place: &Path) -> Self {
        Self::from(Command::new(std::env::current_exe().unwrap()), part, place)
    }

    pub(crate) fn from(mut command: Command, part: &str, place: &Path) -> Self {
        command
            .args(["--exact", "child", "--nocapture"])
            .env(PART, part)
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line that the child said itself; `None` when it has said its last.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
                return None;
            }
            if let Some(said) = line.trim_end().strip_prefix('@') {
                return Some(said.to_owned());
            }
        }
    }

    pub(crate) fn tell(&mut self, what: &str) {
        // One that has ended needs to be told nothing.
        let _ = writeln!(self.child.stdin.as_mut().unwrap(), "{what}");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection of somebody who edits the file by hand, and has first removed what keeps unsealed
/// changes out; it is put back at the end, so that nothing but the edit is to be seen.
pub(crate) struct ByHand {
    connection: rusqlite::Connection,
    removed: Vec<String>,
}

impl std::ops::Deref for ByHand {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.connection
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for trigger in &self.removed {
            // What the edit has made impossible is the test's own affair.
            let _ = self.connection.execute_batch(trigger);
        }
    }
}

pub(crate) fn by_hand(path: &Path) -> ByHand {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .pragma_update(None, "foreign_keys", false)
        .unwrap();
    let triggers: Vec<(String, String)> = connection
        .prepare(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '%sealed'",
        )
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut removed = Vec::new();
    for (name, sql) in triggers {
        connection
            .execute_batch(&format!("DROP TRIGGER {name}"))
            .unwrap();
        removed.push(sql);
    }
    ByHand {
        connection,
        removed,
    }
}

/// Seals every record as it is now, as FORMAT.md describes it.
pub(crate) fn reseal(path: &Path) {
    use sha2::{Digest, Sha256};
    let hex = base16ct::lower::encode_string;
    let connection = by_hand(path);
    let mut records = connection
        .prepare("SELECT sequence, id, header, annotations FROM deployments")
        .unwrap();
    let mut rows = records.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let sequence: i64 = row.get(0).unwrap();
        let [id, header, annotations] = [1, 2, 3].map(|n| row.get::<_, String>(n).unwrap());
        let mut seal = Sha256::digest(format!("record\n{sequence}\n{header}"));
        let mut settled = seal;
        let mut events = connection
            .prepare(
                "SELECT ordinal, name, body FROM events WHERE deployment = ?1 ORDER BY ordinal",
            )
            .unwrap();
        let mut rows = events.query([sequence]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let ordinal: i64 = row.get(0).unwrap();
            let [name, body] = [1, 2].map(|n| row.get::<_, String>(n).unwrap());
            seal = Sha256::digest(format!("{}\n{body}", hex(&seal)));
            if name == "settled" || name == "rolled-back-by" {
                settled = seal;
            }
            connection
                .execute(
                    "UPDATE events SET seal = ?1 WHERE deployment = ?2 AND ordinal = ?3 AND seal IS NOT ?1",
                    rusqlite::params![&seal[..], sequence, ordinal],
                )
                .unwrap();
        }
        let added = Sha256::digest(format!("annotations\n{id}\n{annotations}"));
        connection
            .execute(
                "UPDATE deployments SET seal = ?1, annotations_seal = ?2 WHERE sequence = ?3",
                rusqlite::params![&settled[..], &added[..], sequence],
            )
            .unwrap();
    }
}
