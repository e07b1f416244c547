//! What only the manager can tell of a unit: whether it loads, and can be started. It is asked
//! about a copy under another name, before anything moves.

use std::path::PathBuf;
use std::time::Duration;

use rollback_core::backend::Instance;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::backend::SystemdBackend;
use crate::error::file_error;
use crate::files;
use crate::manager::Bus;
use crate::record::{Loaded, Shelved};
use crate::search::{self, DropIns};
use crate::state::UnitState;
use crate::syntax::Syntax;
use crate::unit::{Ready, Unit};

/// How often a manager that has not seen the copy is asked again: it looks at a directory only if
/// its time has changed, and time has its grain.
const LOOKS: u32 = 3;
const GRAIN: Duration = Duration::from_millis(20);

impl SystemdBackend {
    /// Refuses what the manager would not load or not start by hand. Drop-ins are not looked at, but
    /// for those of all services: they belong to the unit's own name.
    ///
    /// What this very manager has loaded before is not asked about again. What it makes of the unit
    /// itself is read back before it is restarted all the same.
    pub(crate) async fn check_loads(
        &self,
        cx: &Context,
        bus: &Bus,
        ready: &Ready,
    ) -> Result<(), BackendError> {
        let text = String::from_utf8_lossy(&ready.content).into_owned();
        let syntax = Syntax::of(&text);
        // Two units cannot wait for one name on the bus; the copy would be refused for that alone.
        if syntax.service("BusName").is_some() {
            return Ok(());
        }
        let (boot, version) = (bus.boot().await?, bus.version().await?);
        let to = ready.to.clone();
        let (now, known) = self
            .files(cx, move |unit, _| {
                let now = unit.loading(boot, version)?;
                let known = unit.has_loaded(&to, &now)?;
                Ok((now, known))
            })
            .await?;
        if known {
            return Ok(());
        }
        let Some(state) = self.loaded_copy(cx, bus, &ready.content).await? else {
            tracing::warn!(
                unit = %self.config().unit,
                "the manager does not see files below {}, so the unit could not be checked",
                self.config().root.display()
            );
            return Ok(());
        };
        let refuse = |kind, what: String, advice: &str| {
            Err(BackendError::new(kind, what)
                .on(&ready.to.release)
                .advice(advice))
        };
        if state.load != "loaded" {
            let what = format!(
                "the manager cannot load this unit: {}, {}",
                state.load, state.load_error
            );
            return refuse(
                Kind::InvalidReference,
                what,
                "correct the unit; `systemd-analyze verify` says where",
            );
        }
        if let Some(asked) = syntax.service("Type")
            && asked != state.kind
        {
            let what = format!("the manager takes Type={asked} for Type={}", state.kind);
            return refuse(Kind::InvalidReference, what, "correct Type=");
        }
        if let Some(refuses) = state.refuses {
            let what = format!("the unit cannot be restarted by hand: it has {refuses}=");
            return refuse(Kind::Unsupported, what, "take that out of the unit");
        }
        let to = ready.to.clone();
        let noted = self.files(cx, move |unit, cx| unit.note_loaded(cx, &to, now));
        if let Err(error) = noted.await {
            // It is asked again the next time.
            tracing::debug!(unit = %self.config().unit, %error, "that it loads is not on record");
        }
        Ok(())
    }

    /// What the manager makes of a copy; `None`: it does not see it.
    async fn loaded_copy(
        &self,
        cx: &Context,
        bus: &Bus,
        content: &[u8],
    ) -> Result<Option<UnitState>, BackendError> {
        for _ in 0..LOOKS {
            let content = content.to_vec();
            let copy = self
                .files(cx, move |unit, cx| Copy::write(unit, cx, &content))
                .await?;
            let state = bus.state_of(&copy.name).await;
            self.files(cx, move |_, _| files::remove(&copy.path))
                .await?;
            let state = state?;
            if state.load != "not-found" {
                return Ok(Some(state));
            }
            tokio::time::sleep(GRAIN).await;
        }
        Ok(None)
    }
}

/// A unit's file under a name that nobody has used before: the manager remembers what it loaded.
struct Copy {
    name: String,
    path: PathBuf,
}

impl Copy {
    fn write(unit: &Unit, cx: &Context, content: &[u8]) -> Result<Self, BackendError> {
        let _held = unit.shelf.hold(cx)?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| {
            BackendError::new(Kind::Failed, "no random bytes for a name").because(e)
        })?;
        let random = u64::from_ne_bytes(random);
        let stem = format!("{}{random:016x}", unit.copies()?);
        // What it says of `%i` has to stay true.
        let of = unit.config.unit.as_str().trim_end_matches(".service");
        let name = match of.split_once('@') {
            Some((_, instance)) => format!("{stem}@{instance}.service"),
            None => format!("{stem}.service"),
        };
        let own = search::own_path(&unit.config);
        let path = own.with_file_name(&name);
        files::scratch(&path, content)
            .map_err(|e| file_error("a copy of the unit cannot be written", &path, e))?;
        Ok(Self { name, path })
    }
}

impl Unit {
    /// By what this manager would load the unit now.
    fn loading(&self, boot: u64, version: String) -> Result<Loaded, BackendError> {
        Ok(Loaded {
            boot,
            version,
            drop_ins: DropIns::find(&self.config)?.recorded(&self.shelf.key()?),
        })
    }

    fn has_loaded(&self, to: &Instance, now: &Loaded) -> Result<bool, BackendError> {
        let shelved = self.shelf.get(&to.handle)?;
        let is_it = |shelved: &Shelved| shelved.release.artifact() == to.release.artifact();
        Ok(shelved
            .filter(is_it)
            .is_some_and(|shelved| shelved.loaded.as_ref() == Some(now)))
    }

    /// Remembers by what the manager has loaded it, if that is so still: nobody knows what it has
    /// seen of what changed meanwhile.
    fn note_loaded(&self, cx: &Context, to: &Instance, by: Loaded) -> Result<(), BackendError> {
        let _held = self.shelf.hold(cx)?;
        let still = self.loading(by.boot, by.version.clone())? == by;
        match self.shelf.get(&to.handle)? {
            Some(mut shelved) if still => {
                shelved.loaded = Some(by);
                self.shelf.put(&to.handle, &shelved)
            }
            _ => Ok(()),
        }
    }

    /// How the names of our own copies begin, and nobody else's.
    pub(crate) fn copies(&self) -> Result<String, BackendError> {
        let whose = self.shelf.key()?.fingerprint(b"copies of units");
        Ok(format!("rollbackcheck{whose}"))
    }
}
