//! Pages and counts: rows by sequence over one or many workloads, records read only where they
//! are meant.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rollback_core::error::StoreError;
use rollback_core::history::{Fault, Page, Query, Sequence, Settled, Stats};
use rollback_fs::Locks;

use crate::folder::{Folder, Found, Overlay};
use crate::index::Row;
use crate::state::State;

pub(crate) fn locked(folder: &Mutex<Folder>) -> MutexGuard<'_, Folder> {
    // What a folder remembers is checked against the files each time: a poisoned one is as good.
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where something was wrong, for errors that do not say.
pub(crate) const STATE: &str = "the workload's state";
pub(crate) const INDEX: &str = "an index";

/// How many rows of a workload are read at first, and at most, at once.
const FIRST_BATCH: usize = 4;
const MAX_BATCH: usize = 1_024;

/// Walks one workload's rows that a query means, newest first, a shard at a time.
struct Cursor {
    folder: Arc<Mutex<Folder>>,
    state: State,
    overlay: Overlay,
    shards: Vec<u64>,
    rows: VecDeque<Row>,
    /// The shard that is being read.
    shard: Option<u64>,
    /// What was read so far is not older than this.
    before: Sequence,
    /// How many rows are read at once.
    batch: usize,
    unreadable: Vec<Fault>,
}

impl Cursor {
    fn new(folder: Arc<Mutex<Folder>>, before: Sequence) -> Result<Self, StoreError> {
        let mut open = locked(&folder);
        let (state, fault) = open.state_for_reading();
        let overlay = open.overlay(&state);
        let shards = open.shards_with(&overlay)?;
        drop(open);
        Ok(Self {
            folder,
            state,
            overlay,
            shards,
            rows: VecDeque::new(),
            shard: None,
            before,
            batch: FIRST_BATCH,
            unreadable: fault.iter().map(|e| Fault::of(e, STATE)).collect(),
        })
    }

    /// Loads rows until there is one, or none is left: a few at first, for the newest of many
    /// workloads are but a few of each.
    fn fill(&mut self, query: &Query, locks: &Locks) -> Result<(), StoreError> {
        while self.rows.is_empty() {
            let Some(shard) = self.shards.last().copied() else {
                return Ok(());
            };
            let mut folder = locked(&self.folder);
            let is_new = self.shard != Some(shard);
            let shown = (&self.state, &self.overlay);
            let meant = |row: &Row| row.matches(query);
            let rows = if is_new {
                self.shard = Some(shard);
                folder.look_at_index(shard, locks)?;
                folder.rows_seen(shard, shown, self.before, self.batch, meant)?
            } else {
                folder.rows(shard, shown, self.before, self.batch, meant)?
            };
            if is_new {
                self.unreadable.extend(folder.broken(shard));
            }
            self.rows = rows.into();
            match self.rows.back() {
                Some(oldest) => self.before = oldest.sequence,
                None => {
                    self.shards.pop();
                }
            }
            self.batch = (self.batch * 4).min(MAX_BATCH);
        }
        Ok(())
    }

    fn newest(&self) -> Option<Sequence> {
        self.rows.front().map(|r| r.sequence)
    }
}

/// A page, newest first.
pub(crate) fn list(
    folders: Vec<Arc<Mutex<Folder>>>,
    query: &Query,
    locks: &Locks,
) -> Result<Page, StoreError> {
    let limit = query.limit.clamp(1, 1_000);
    let before = query.before.unwrap_or(Sequence(u64::MAX));
    let mut page = Page::default();
    let mut cursors = Vec::new();
    for folder in folders {
        match Cursor::new(folder, before) {
            Ok(cursor) => cursors.push(cursor),
            // What is wrong with one workload hides no other.
            Err(e) => page.unreadable.push(Fault::of(&e, STATE)),
        }
    }
    let mut seen = 0;
    let mut last = None;
    loop {
        for cursor in &mut cursors {
            while let Err(e) = cursor.fill(query, locks) {
                cursor.unreadable.push(Fault::of(&e, INDEX));
                cursor.shards.pop();
            }
        }
        let Some(cursor) = cursors.iter_mut().max_by_key(|c| c.newest()) else {
            break;
        };
        let Some(row) = cursor.rows.pop_front() else {
            break;
        };
        if seen == limit {
            page.next = last;
            break;
        }
        seen += 1;
        last = Some(row.sequence);
        let mut folder = locked(&cursor.folder);
        let shard = cursor.shard.unwrap_or_default();
        match folder.get(&cursor.state, shard, &row.id) {
            Found::Record(d) => page.deployments.push(*d),
            Found::Unreadable(e) => page.unreadable.push(Fault::of(&e, &row.id)),
            // Forgotten between the two looks, or lost.
            Found::Nothing if !folder.is_forgotten(shard, &row)? => {
                page.unreadable.push(Fault::new(
                    row.id.to_string(),
                    "its file is missing".to_owned(),
                ));
            }
            Found::Nothing => {}
        }
    }
    for cursor in &mut cursors {
        page.unreadable.append(&mut cursor.unreadable);
    }
    Ok(page)
}

/// Counts, as [`Stats::of`] would count.
pub(crate) fn stats(
    folders: Vec<Arc<Mutex<Folder>>>,
    query: &Query,
    locks: &Locks,
) -> Result<Stats, StoreError> {
    let mut query = query.clone();
    query.before = None;
    let mut rows = Vec::new();
    for folder in folders {
        let mut cursor = Cursor::new(folder, Sequence(u64::MAX))?;
        loop {
            cursor.fill(&query, locks)?;
            if cursor.rows.is_empty() {
                break;
            }
            rows.extend(cursor.rows.drain(..));
        }
    }
    let (mut stats, failures) = Stats::count(rows.iter().filter_map(|r| {
        Some(Settled::new(
            (r.sequence, &r.id),
            r.trigger,
            r.outcome?,
            r.took?,
        ))
    }));
    stats.recent_failures = failures.into_iter().map(|(_, id)| id.clone()).collect();
    Ok(stats)
}
