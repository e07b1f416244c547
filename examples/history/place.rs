//! Where a history is: which kind of store, and whether there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rollback_core::history::HistoryStore;
use rollback_json::JsonStore;
use rollback_sqlite::SqliteStore;

use crate::end::{AWAY, End, UNKNOWN};

/// A store by kind and place.
#[derive(Debug)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Json(PathBuf),
}

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn HistoryStore>,
    pub(crate) kind: Kind,
}

/// The same by its kind, for what only one of them can do.
pub(crate) enum Kind {
    Sqlite(SqliteStore),
    Json(JsonStore),
}

impl Place {
    pub(crate) fn of(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Self::Sqlite(path.into());
        }
        if let Some(path) = text.strip_prefix("json:") {
            return Self::Json(path.into());
        }
        let path = PathBuf::from(text);
        let inside = path.join("history.db");
        match (path.is_dir(), inside.is_file()) {
            (true, true) => Self::Sqlite(inside),
            (true, false) => Self::Json(path),
            (false, _) => Self::Sqlite(path),
        }
    }

    /// The directory that it is in.
    pub(crate) fn beside(&self) -> &Path {
        match self.path().parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Sqlite(path) | Self::Json(path) => path,
        }
    }

    /// Opens the history that is there. Where there is none it is refused, unless one may begin:
    /// opening would make one, and an empty history is no answer to a typing error.
    pub(crate) async fn open(&self, may_begin: bool) -> Result<Opened, End> {
        if !self.is_there(may_begin)? {
            let text = format!(
                "there is no history at {}; nothing was created (name one with --store)",
                self.path().display()
            );
            return Err(End::new(UNKNOWN, text));
        }
        Ok(match self {
            Self::Sqlite(path) => {
                let store = SqliteStore::open(path).await?;
                Opened {
                    store: Arc::new(store.clone()),
                    kind: Kind::Sqlite(store),
                }
            }
            Self::Json(path) => {
                let store = JsonStore::open(path).await?;
                Opened {
                    store: Arc::new(store.clone()),
                    kind: Kind::Json(store),
                }
            }
        })
    }

    fn is_there(&self, may_begin: bool) -> Result<bool, End> {
        let path = self.path();
        Ok(match self {
            Self::Sqlite(_) if path.is_file() => {
                let meta = path.metadata().map_err(|e| {
                    let text = format!("{} cannot be examined: {e}", path.display());
                    End::new(AWAY, text)
                })?;
                if meta.len() == 0 {
                    let text = format!(
                        "{} is an empty file and no history; nothing was changed (name a history \
                         with --store)",
                        path.display()
                    );
                    return Err(End::new(UNKNOWN, text));
                }
                true
            }
            Self::Json(_) if path.is_dir() => {
                let has = |name| path.join(name).exists();
                may_begin || has("format.json") || has("workloads")
            }
            // What is in the way of a history, opening says best.
            _ => path.exists() || (may_begin && self.beside().is_dir()),
        })
    }
}
