//! [`SystemdBackend`]: the eight verbs.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use rollback_core::backend::{
    Availability, Backend, End, Evidence, Handle, Instance, Live, Observation, Operation, Prepared,
    Rollout, Running, Sighting, WayBack,
};
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::health::Verdict;
use rollback_core::id::BackendKind;
use rollback_core::release::{Facet, FacetValue, Release, Restore};

use crate::config::SystemdConfig;
use crate::files::{self, Found, Fragment};
use crate::manager::{Bus, UnitState};
use crate::release::{check_unit, kind, release, sha256};
use crate::shelf::{Installed, Shelf, Shelved};

/// Between two looks at a unit that should stay as it is.
const LOOK: Duration = Duration::from_millis(100);

/// One systemd service unit, whose file is rewound.
#[derive(Debug, Clone)]
pub struct SystemdBackend {
    config: SystemdConfig,
    shelf: Shelf,
}

/// What is in place, by file and by record.
struct InPlace {
    instance: Instance,
    installed: Option<Installed>,
}

impl SystemdBackend {
    /// A backend; makes its state directory.
    pub fn new(config: SystemdConfig) -> Result<Self, BackendError> {
        let shelf = Shelf::open(&config.state).map_err(BackendError::untouched)?;
        Ok(Self { config, shelf })
    }

    /// What is in place: what the record says, with the differences that the files show.
    fn in_place(&self) -> Result<Option<InPlace>, BackendError> {
        let fragment = match files::find(&self.config)? {
            Found::Nothing => return Ok(None),
            Found::Masked(path) => {
                return Err(BackendError::new(Kind::Unsupported, "the unit is masked")
                    .on(path.display())
                    .advice("unmask it first"));
            }
            Found::Fragment(fragment) => fragment,
        };
        let drop_ins = files::drop_ins(&self.config)?;
        if let Some(installed) = self.shelf.installed()?
            && let Some(shelved) = self.shelf.get(&installed.handle)?
        {
            let mut seen = shelved.release.clone();
            let digest = format!("sha256:{}", sha256(&fragment.content));
            if digest != shelved.release.artifact().digest {
                let text = String::from_utf8_lossy(&fragment.content).into_owned();
                seen = release("changed by hand", &text, &self.shelf.key()?);
            }
            if drop_ins != installed.drop_ins {
                seen = seen.with_facet("drop-ins", drop_in_facet(&drop_ins));
            }
            let instance = Instance {
                release: seen,
                handle: installed.handle.clone(),
            };
            return Ok(Some(InPlace {
                instance,
                installed: Some(installed),
            }));
        }
        let found = self.found(&fragment, &drop_ins)?;
        Ok(Some(InPlace {
            instance: found,
            installed: None,
        }))
    }

    /// A unit that somebody else made.
    fn found(
        &self,
        fragment: &Fragment,
        drop_ins: &BTreeMap<String, String>,
    ) -> Result<Instance, BackendError> {
        let text = String::from_utf8_lossy(&fragment.content).into_owned();
        let shown = fragment
            .path
            .strip_prefix(&self.config.root)
            .unwrap_or(&fragment.path);
        let mut made = release(&shown.display().to_string(), &text, &self.shelf.key()?);
        if !drop_ins.is_empty() {
            made = made.with_facet("drop-ins", drop_in_facet(drop_ins));
        }
        let name = sha256(format!("{}\0{}", shown.display(), made.digest()).as_bytes());
        Ok(Instance {
            release: made,
            handle: Handle::new(format!("found-{}", &name[..24])),
        })
    }

    /// Shelves what is live and not ours, so that it can be put back exactly.
    fn capture(&self) -> Result<(), BackendError> {
        if let Found::Fragment(fragment) = files::find(&self.config)?
            && let Some(InPlace {
                instance,
                installed: None,
            }) = self.in_place()?
        {
            self.shelf
                .keep_content(&instance.release, &fragment.content)?;
            let shelved = Shelved {
                release: instance.release.clone(),
                by: None,
                found_at: Some(
                    fragment
                        .path
                        .strip_prefix(&self.config.root)
                        .unwrap_or(&fragment.path)
                        .into(),
                ),
                was_live: true,
            };
            self.shelf.put(&instance.handle, &shelved)?;
        }
        Ok(())
    }

    /// The content of a release that is to be placed: shelved, or read once more from its source
    /// if that is unchanged.
    fn content(&self, wanted: &Release) -> Result<Vec<u8>, BackendError> {
        if let Some(content) = self.shelf.content(wanted)? {
            return Ok(content);
        }
        let reference = &wanted.artifact().reference;
        let content = self.read_source(reference).ok();
        content
            .filter(|c| format!("sha256:{}", sha256(c)) == wanted.artifact().digest)
            .ok_or_else(|| {
                BackendError::new(
                    Kind::Gone,
                    "the unit's content is not on the shelf any more",
                )
                .on(wanted)
                .advice("deploy a unit file that exists")
            })
    }

    fn read_source(&self, reference: &str) -> Result<Vec<u8>, BackendError> {
        let invalid = |why: &str| {
            BackendError::new(
                Kind::InvalidReference,
                format!("this is no unit file's name: {why}"),
            )
            .on(reference.chars().take(80).collect::<String>())
            .advice("name a file in the sources directory")
        };
        if reference.trim().is_empty() || reference.len() > 255 {
            return Err(invalid("it is empty or too long"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@-".contains(c);
        if !reference.chars().all(plain) || reference.starts_with(['.', '-']) {
            return Err(invalid("use ASCII letters, digits, '.', '_', '@' and '-'"));
        }
        let path = self.config.sources.join(reference);
        files::read(&path)?.ok_or_else(|| {
            BackendError::new(Kind::NotFound, "no such unit file")
                .on(path.display())
                .advice("check the name, or put the file there first")
        })
    }

    /// Whether the unit is what `to` and this deployment made it, restarted and all.
    async fn is_done(&self, bus: &Bus, op: &Operation, to: &Instance) -> Option<UnitState> {
        let place = self.in_place().ok().flatten()?;
        let installed = place.installed?;
        let state = bus.state().await.ok()?;
        let same = installed.handle == to.handle
            && installed.by == op.deployment
            && place.instance.release.digest() == to.release.digest()
            && !state.needs_reload
            // An instance that ended by itself since is not restarted either: it is judged.
            && installed.invocation.as_ref().is_some_and(|i| *i == state.invocation);
        same.then_some(state)
    }

    fn availability(&self, end: &End) -> Result<Availability, BackendError> {
        let Some(wanted) = end.release() else {
            return Ok(Availability::Local);
        };
        let stands = match end.instance() {
            Some(instance) => self.shelf.get(&instance.handle)?.is_some(),
            None => false,
        };
        let here = self.shelf.content(wanted)?.is_some();
        Ok(match (stands && here, self.content(wanted)) {
            (true, _) => Availability::Standby,
            (false, Ok(_)) => Availability::Local,
            (false, Err(_)) => {
                Availability::Gone("its content is not on the shelf any more".into())
            }
        })
    }

    async fn take_down(&self, cx: &Context, bus: &Bus) -> Result<Evidence, BackendError> {
        let state = bus.state().await?;
        if state.active != "inactive" && state.load != "not-found" {
            bus.stop(cx).await?;
        }
        cx.check()?;
        files::remove(&files::own_path(&self.config))?;
        cx.check()?;
        bus.reload().await?;
        cx.check()?;
        self.shelf.set_installed(None)?;
        Ok(Evidence::default())
    }
}

fn drop_in_facet(drop_ins: &BTreeMap<String, String>) -> Facet {
    let plain = |(k, v): (&String, &String)| (k.clone(), FacetValue::Plain(v.clone()));
    Facet::Table(drop_ins.iter().map(plain).collect())
}

fn evidence(state: &UnitState) -> Evidence {
    Evidence::default()
        .with("invocation_id", state.invocation.clone())
        .with("main_pid", state.main_pid.to_string())
}

#[async_trait]
impl Backend for SystemdBackend {
    fn kind(&self) -> BackendKind {
        kind()
    }

    fn default_restore(&self) -> Restore {
        Restore::Everything
    }

    async fn resolve(&self, _: &Context, reference: &str) -> Result<Release, BackendError> {
        let content = self
            .read_source(reference)
            .map_err(BackendError::untouched)?;
        let text = check_unit(reference, &content)?;
        let key = self.shelf.key().map_err(BackendError::untouched)?;
        Ok(release(reference, &text, &key))
    }

    async fn observe(&self, _: &Context, ends: &[End]) -> Result<Observation, BackendError> {
        let bus = Bus::connect(&self.config).await?;
        let look = async {
            let state = bus.state().await?;
            let place = self.in_place()?;
            let live = match &place {
                None => Live::Nothing,
                Some(place) => Live::One(Sighting {
                    instance: place.instance.clone(),
                    running: match state.active.as_str() {
                        "active" | "reloading" => Running::Yes,
                        _ => Running::No(state.describe()),
                    },
                    evidence: evidence(&state),
                    way_back: WayBack::Exact,
                }),
            };
            let handle = place.as_ref().map(|p| &p.instance.handle);
            let standbys = self.shelf.all()?.into_iter().map(|(i, _)| i);
            let standbys = standbys.filter(|i| Some(&i.handle) != handle).collect();
            let availability: Result<_, _> = ends.iter().map(|e| self.availability(e)).collect();
            Ok(Observation {
                live,
                standbys,
                availability: availability?,
            })
        };
        look.await.map_err(BackendError::untouched)
    }

    async fn prepare(&self, cx: &Context, op: &Operation) -> Result<Prepared, BackendError> {
        let bus = Bus::connect(&self.config).await?;
        let ready = async {
            let state = bus.state().await?;
            if state.load == "masked" {
                return Err(BackendError::new(Kind::Unsupported, "the unit is masked")
                    .on(&self.config.unit)
                    .advice("unmask it first"));
            }
            if state.fragment.starts_with("/run/systemd/transient") {
                return Err(
                    BackendError::new(Kind::Unsupported, "the unit is transient")
                        .on(&self.config.unit)
                        .advice("stop it, and deploy a unit file"),
                );
            }
            if op.workload != self.config.workload {
                return Err(BackendError::new(
                    Kind::InvalidReference,
                    "this backend serves another workload",
                )
                .on(&op.workload)
                .advice("give every workload a backend of its own"));
            }
            writable(&self.config)?;
            cx.check()?;
            self.capture()?;
            cx.check()?;
            let wanted = op.to.release().ok_or_else(|| {
                BackendError::new(Kind::InvalidReference, "there is nothing to prepare")
            })?;
            let content = self.content(wanted)?;
            let to = match &op.to {
                End::Placed(instance) if self.shelf.get(&instance.handle)?.is_some() => {
                    instance.clone()
                }
                _ => Instance {
                    release: wanted.clone(),
                    handle: Handle::new(op.deployment.as_str()),
                },
            };
            self.shelf.keep_content(wanted, &content)?;
            cx.check()?;
            if self.shelf.get(&to.handle)?.is_none() {
                let by = Some(op.deployment.clone());
                let release = wanted.clone();
                let shelved = Shelved {
                    release,
                    by,
                    found_at: None,
                    was_live: false,
                };
                self.shelf.put(&to.handle, &shelved)?;
            }
            Ok(Prepared {
                rollout: Rollout::Replace,
                to,
                way_back: WayBack::Exact,
            })
        };
        ready.await.map_err(BackendError::untouched)
    }

    async fn start(&self, _: &Context, _: &Operation) -> Result<Evidence, BackendError> {
        Ok(Evidence::default())
    }

    async fn switch(&self, cx: &Context, op: &Operation) -> Result<Evidence, BackendError> {
        let bus = Bus::connect(&self.config).await?;
        let to = match &op.to {
            End::Nothing => return self.take_down(cx, &bus).await,
            End::Planned(release) => {
                return Err(
                    BackendError::new(Kind::Failed, "this release was not prepared")
                        .on(release)
                        .untouched(),
                );
            }
            End::Placed(instance) => instance,
        };
        if let Some(state) = self.is_done(&bus, op, to).await {
            return Ok(evidence(&state));
        }
        let mut shelved = self.shelf.get(&to.handle)?.ok_or_else(|| {
            BackendError::new(Kind::Gone, "this instance is not on the shelf").on(&to.handle)
        })?;
        let content = self.content(&to.release)?;
        cx.check()?;
        // First the record of what is about to be in place: from here on it is ours to finish.
        shelved.was_live = true;
        self.shelf.put(&to.handle, &shelved)?;
        cx.check()?;
        let mut installed = Installed {
            handle: to.handle.clone(),
            by: op.deployment.clone(),
            invocation: None,
            drop_ins: files::drop_ins(&self.config)?,
        };
        self.shelf.set_installed(Some(&installed))?;
        cx.check()?;
        let own = files::own_path(&self.config);
        match &shelved.found_at {
            // A vendor's unit is shadowed, never written: to put it back, stop shadowing it.
            Some(at) if self.config.root.join(at) != own => files::remove(&own)?,
            _ => files::write(&own, &content, 0o644)?,
        }
        cx.check()?;
        bus.reload().await?;
        cx.check()?;
        bus.restart(cx).await?;
        cx.check()?;
        let state = bus.state().await?;
        if state.needs_reload || state.load != "loaded" {
            // A reload may report success and not have happened (systemd#43001).
            return Err(
                BackendError::new(Kind::Failed, "the manager has not loaded the new unit")
                    .on(format!("{} ({})", self.config.unit, state.load))
                    .advice("look at the manager's journal"),
            );
        }
        installed.invocation = Some(state.invocation.clone());
        self.shelf.set_installed(Some(&installed))?;
        Ok(evidence(&state))
    }

    async fn retire(&self, cx: &Context, op: &Operation) -> Result<(), BackendError> {
        cx.check()?;
        let installed = self.shelf.installed()?.map(|i| i.handle);
        for (instance, shelved) in self.shelf.all()? {
            let ours = shelved.by.as_ref() == Some(&op.deployment);
            if ours && !shelved.was_live && Some(&instance.handle) != installed.as_ref() {
                // Forward, `to` is ours and live; only a way back finds one that never was.
                self.shelf.drop_instance(&instance.handle)?;
                cx.check()?;
            }
        }
        Ok(())
    }

    async fn health(&self, cx: &Context, _: &Operation) -> Result<Verdict, BackendError> {
        let bus = Bus::connect(&self.config).await?;
        let first = bus.state().await?;
        let end = tokio::time::Instant::now() + self.config.soak;
        loop {
            let now = bus.state().await?;
            let settled =
                now.active == "active" && matches!(now.sub.as_str(), "running" | "exited");
            if now.invocation != first.invocation || now.restarts != first.restarts {
                return Ok(Verdict::failed(format!(
                    "it restarted by itself; {}",
                    now.describe()
                )));
            }
            if matches!(now.active.as_str(), "failed" | "inactive" | "deactivating")
                || now.sub == "auto-restart"
            {
                return Ok(Verdict::failed(now.describe()));
            }
            if settled && tokio::time::Instant::now() >= end {
                return Ok(Verdict::Passed);
            }
            if cx.remaining() <= LOOK {
                return Ok(Verdict::failed(format!(
                    "not up in time: {}",
                    now.describe()
                )));
            }
            cx.sleep(LOOK).await?;
        }
    }

    async fn retain(&self, cx: &Context, window: &[Instance]) -> Result<(), BackendError> {
        let installed = self.shelf.installed()?.map(|i| i.handle);
        for (instance, _) in self.shelf.all()? {
            let kept = Some(&instance.handle) == installed.as_ref()
                || window.iter().any(|w| w.handle == instance.handle);
            if !kept {
                self.shelf.drop_instance(&instance.handle)?;
                cx.check()?;
            }
        }
        self.shelf.sweep_contents()
    }
}

/// Refuses before anything is changed what would fail after it.
fn writable(config: &SystemdConfig) -> Result<(), BackendError> {
    let own = files::own_path(config);
    let dir = own.parent().unwrap_or(&own);
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK)
        .map_err(|e| crate::error::file_error("units cannot be written here", dir, e.into()))
}
