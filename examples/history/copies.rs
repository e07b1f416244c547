//! Copies of a whole history: made, and put in its place.

use std::path::Path;
use std::process::ExitCode;

use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;

use crate::ask;
use crate::end::{End, UNKNOWN};
use crate::out::say;
use crate::place::{Kind, Place};
use crate::world::World;

pub(crate) async fn backup(world: &World, to: &Path) -> Result<ExitCode, End> {
    match &world.opened.kind {
        Kind::Sqlite(store) => store.backup(to).await?,
        Kind::Json(store) => store.backup(to).await?,
    }
    say!("{} is a copy of the whole history.", to.display());
    Ok(ExitCode::SUCCESS)
}

/// Puts a copy in the place of the history, which need not be readable for that.
pub(crate) async fn restore(store: &str, from: &Path, yes: bool) -> Result<ExitCode, End> {
    if !from.exists() {
        let text = format!(
            "there is no copy at {}; nothing was changed",
            from.display()
        );
        return Err(End::new(UNKNOWN, text));
    }
    let place = Place::of(store);
    let to = place.path();
    if !yes {
        say!("{} takes the place of {}.", from.display(), to.display());
        ask::confirm()?;
    }
    let before = match &place {
        Place::Sqlite(to) => SqliteStore::restore(from, to).await?,
        // What is there is not moved away by the store: a directory may hold more than the history.
        Place::Json(to) => JsonStore::restore(from, to).await.map(|_| None)?,
    };
    say!("{} is as in {}.", to.display(), from.display());
    if let Some(before) = before {
        say!("What was there before is {}.", before.display());
    }
    say!("Type status: what was deployed since the copy was made has to be adopted first.");
    Ok(ExitCode::SUCCESS)
}
