//! Pages and counts: rows by sequence over one or many workloads, records read only where they
//! are meant.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_core::history::{Page, Query, Sequence, Settled, Stats};
use rollback_fs::Locks;

use crate::folder::{Folder, Found};
use crate::index::Row;
use crate::state::State;

pub(crate) fn locked(folder: &Mutex<Folder>) -> MutexGuard<'_, Folder> {
    // What a folder remembers is checked against the files each time: a poisoned one is as good.
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many rows of a workload are read at first, and at most, at once.
const FIRST_BATCH: usize = 4;
const MAX_BATCH: usize = 1_024;

/// Walks one workload's rows that a query means, newest first, a shard at a time.
struct Cursor {
    folder: Arc<Mutex<Folder>>,
    state: State,
    /// Rows that a commit has changed and no line says yet.
    amended: HashMap<Sequence, Row>,
    shards: Vec<u64>,
    rows: VecDeque<Row>,
    /// The shard that is being read.
    shard: Option<u64>,
    /// What was read so far is not older than this.
    before: Sequence,
    /// How many rows are read at once.
    batch: usize,
    unreadable: Vec<String>,
}

impl Cursor {
    fn new(folder: Arc<Mutex<Folder>>, before: Sequence) -> Result<Self, StoreError> {
        let mut open = locked(&folder);
        let state = open.state()?;
        let mut amended = HashMap::new();
        for change in &state.pending.events {
            let shard = change.shard;
            let known = open.index(shard, None)?.get(&change.sequence).cloned();
            if known.is_some_and(|row| row.outcome.is_some() && amended_outcome(&row, change)) {
                continue;
            }
            if let Found::Record(d) = open.get(&state, shard, &change.deployment)? {
                amended.insert(change.sequence, Row::of(&d));
            }
        }
        let shards = open.shards()?;
        drop(open);
        Ok(Self {
            folder,
            state,
            amended,
            shards,
            rows: VecDeque::new(),
            shard: None,
            before,
            batch: FIRST_BATCH,
            unreadable: Vec::new(),
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
            if self.shard != Some(shard) {
                self.shard = Some(shard);
                folder.save_index(shard, locks);
                folder.index(shard, None)?;
                self.unreadable.extend(folder.broken(shard));
            }
            let rows = folder.index(shard, None)?;
            let matching = rows
                .range(..self.before)
                .rev()
                .filter(|(s, _)| **s <= self.state.last && !self.state.pending.forgets(**s))
                .map(|(s, row)| self.amended.get(s).unwrap_or(row))
                .filter(|row| row.matches(query));
            self.rows = matching.take(self.batch).cloned().collect();
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

fn amended_outcome(row: &Row, change: &crate::state::Amendment) -> bool {
    use rollback_core::deployment::Outcome;
    use rollback_core::event::Event;
    match &change.event.event {
        Event::RolledBackBy { .. } => row.outcome == Some(Outcome::FailedAndRolledBack),
        _ => true,
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
            // One workload's broken state hides no other workload.
            Err(e) if is_of_one(&e) => page.unreadable.push(e.to_string()),
            Err(e) => return Err(e),
        }
    }
    let mut seen = 0;
    let mut last = None;
    loop {
        for cursor in &mut cursors {
            cursor.fill(query, locks)?;
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
        if let Some(why) = &row.unreadable {
            page.unreadable.push(why.clone());
            continue;
        }
        let mut folder = locked(&cursor.folder);
        let shard = cursor.shard.unwrap_or_default();
        match folder.get(&cursor.state, shard, &row.id)? {
            Found::Record(d) => page.deployments.push(*d),
            Found::Unreadable(e) => {
                if e.kind() == Kind::Corrupt {
                    folder.quarantine(locks, shard, &row, &e);
                }
                page.unreadable.push(e.to_string());
            }
            Found::Nothing => {
                // Forgotten between the two looks, or lost.
                let state = folder.state()?;
                if !state.pending.forgets(row.sequence) {
                    page.unreadable
                        .push(format!("{}: its file is missing", row.id));
                }
            }
        }
    }
    for cursor in &mut cursors {
        page.unreadable.append(&mut cursor.unreadable);
    }
    Ok(page)
}

fn is_of_one(e: &StoreError) -> bool {
    matches!(e.kind(), Kind::Corrupt | Kind::NewerSchema)
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
        let mut cursor = match Cursor::new(folder, Sequence(u64::MAX)) {
            Ok(cursor) => cursor,
            Err(e) if is_of_one(&e) => continue,
            Err(e) => return Err(e),
        };
        loop {
            cursor.fill(&query, locks)?;
            if cursor.rows.is_empty() {
                break;
            }
            rows.extend(cursor.rows.drain(..));
        }
    }
    rows.sort_unstable_by_key(|r| std::cmp::Reverse(r.sequence));
    Ok(Stats::count(rows.iter().filter_map(|r| {
        Some(Settled {
            id: &r.id,
            trigger: r.trigger,
            outcome: r.outcome?,
            took: r.took?,
        })
    })))
}
