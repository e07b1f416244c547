//! The manager on the bus: jobs that are followed to their end, properties that are read back.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::config::{SystemdConfig, UnitName};
use crate::error::bus_error;

/// How long one method call may take; `Reload` of a large system takes longest.
const CALL: Duration = Duration::from_secs(30);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    fn disable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
    ) -> zbus::Result<Vec<(String, String, String)>>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// What the manager says of a unit, read anew each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitState {
    /// The unit's own name: another one's if ours is an alias.
    pub(crate) id: String,
    pub(crate) load: String,
    pub(crate) active: String,
    pub(crate) sub: String,
    pub(crate) file_state: String,
    pub(crate) fragment: String,
    pub(crate) needs_reload: bool,
    pub(crate) invocation: String,
    pub(crate) main_pid: u32,
    pub(crate) restarts: u32,
    pub(crate) result: String,
    pub(crate) exit_status: i32,
}

impl UnitState {
    /// Why it does not run, in words.
    pub(crate) fn describe(&self) -> String {
        format!(
            "the unit is {} ({}), result {}, main process exit status {}",
            self.active, self.sub, self.result, self.exit_status
        )
    }
}

/// A connection for one verb.
pub(crate) struct Bus {
    connection: zbus::Connection,
    unit: UnitName,
}

impl Bus {
    /// Connects. Errors are `Unreachable` and did not touch anything.
    pub(crate) async fn connect(config: &SystemdConfig) -> Result<Self, BackendError> {
        let builder = match &config.bus {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::system(),
        };
        let away = |e: zbus::Error| {
            BackendError::new(Kind::Unreachable, "systemd's bus cannot be reached")
                .on(config.bus.as_deref().unwrap_or("the system bus"))
                .advice(
                    "check that systemd runs and that this user may use its bus, then try again",
                )
                .because(e)
                .untouched()
        };
        let connecting = builder.method_timeout(CALL).build();
        match tokio::time::timeout(CALL, connecting).await {
            Ok(connection) => Ok(Self {
                connection: connection.map_err(away)?,
                unit: config.unit.clone(),
            }),
            Err(_) => Err(
                BackendError::new(Kind::Unreachable, "systemd's bus does not answer")
                    .advice("look at the bus, then try again")
                    .untouched(),
            ),
        }
    }

    async fn manager(&self) -> Result<ManagerProxy<'_>, BackendError> {
        ManagerProxy::new(&self.connection)
            .await
            .map_err(|e| bus_error("the manager cannot be reached", e))
    }

    /// The unit's state. A unit that does not exist is `not-found` and inactive.
    pub(crate) async fn state(&self) -> Result<UnitState, BackendError> {
        let fail = |e| bus_error("the unit's state cannot be read", e);
        let path = self
            .manager()
            .await?
            .load_unit(self.unit.as_str())
            .await
            .map_err(fail)?;
        let proxy = zbus::fdo::PropertiesProxy::builder(&self.connection)
            .destination("org.freedesktop.systemd1")
            .path(path)
            .build()
            .await
            .map_err(fail)?;
        let mut all: HashMap<String, OwnedVariant> = HashMap::new();
        for interface in [
            "org.freedesktop.systemd1.Unit",
            "org.freedesktop.systemd1.Service",
        ] {
            let name = interface.try_into().map_err(fail)?;
            all.extend(proxy.get_all(name).await.map_err(|e| fail(e.into()))?);
        }
        let text = |name: &str| {
            all.get(name)
                .and_then(|v| <&str>::try_from(v).ok())
                .unwrap_or_default()
                .to_owned()
        };
        let number = |name: &str| {
            all.get(name)
                .and_then(|v| u32::try_from(v).ok())
                .unwrap_or(0)
        };
        let invocation = all
            .get("InvocationID")
            .and_then(|v| v.try_clone().ok())
            .and_then(|v| Vec::<u8>::try_from(v).ok())
            .unwrap_or_default();
        Ok(UnitState {
            id: text("Id"),
            load: text("LoadState"),
            active: text("ActiveState"),
            sub: text("SubState"),
            file_state: text("UnitFileState"),
            fragment: text("FragmentPath"),
            needs_reload: all
                .get("NeedDaemonReload")
                .and_then(|v| bool::try_from(v).ok())
                .unwrap_or(false),
            invocation: invocation.iter().map(|b| format!("{b:02x}")).collect(),
            main_pid: number("MainPID"),
            restarts: number("NRestarts"),
            result: text("Result"),
            exit_status: all
                .get("ExecMainStatus")
                .and_then(|v| i32::try_from(v).ok())
                .unwrap_or_default(),
        })
    }

    /// Reads all units' files anew.
    pub(crate) async fn reload(&self) -> Result<(), BackendError> {
        self.manager()
            .await?
            .reload()
            .await
            .map_err(|e| bus_error("the manager could not reload its units", e))
    }

    /// Enables or disables the unit as its `[Install]` says.
    pub(crate) async fn set_enabled(&self, enabled: bool) -> Result<(), BackendError> {
        let manager = self.manager().await?;
        let unit = [self.unit.as_str()];
        let changed = if enabled {
            manager.enable_unit_files(&unit, false, false).await.err()
        } else {
            manager.disable_unit_files(&unit, false).await.err()
        };
        match changed {
            None => Ok(()),
            Some(e) => Err(bus_error("the unit cannot be enabled or disabled", e)),
        }
    }

    /// Restarts the unit and follows the job to its end.
    pub(crate) async fn restart(&self, cx: &Context) -> Result<(), BackendError> {
        // A unit that crashed in a loop has used up its starts; a rollback must not be refused
        // for what the release before it did. A unit that is not loaded has nothing to reset.
        let _ = self
            .manager()
            .await?
            .reset_failed_unit(self.unit.as_str())
            .await;
        self.job(cx, Job::Restart).await
    }

    /// Stops the unit and follows the job to its end.
    pub(crate) async fn stop(&self, cx: &Context) -> Result<(), BackendError> {
        self.job(cx, Job::Stop).await?;
        let _ = self
            .manager()
            .await?
            .reset_failed_unit(self.unit.as_str())
            .await;
        Ok(())
    }

    async fn job(&self, cx: &Context, job: Job) -> Result<(), BackendError> {
        let manager = self.manager().await?;
        let fail = |e| bus_error("the unit's job could not be started", e);
        manager.subscribe().await.map_err(fail)?;
        // Listening begins before the job does: a quick one would be over before we look.
        let mut removed = manager.receive_job_removed().await.map_err(fail)?;
        let path = match job {
            Job::Restart => manager.restart_unit(self.unit.as_str(), "replace").await,
            Job::Stop => manager.stop_unit(self.unit.as_str(), "replace").await,
        }
        .map_err(fail)?;
        let ended = async {
            while let Some(signal) = removed.next().await {
                let args = signal.args().map_err(fail)?;
                if args.job == path {
                    return Ok(args.result.clone());
                }
            }
            Err(
                BackendError::new(Kind::Unreachable, "the bus went away while a job ran")
                    .on(&self.unit),
            )
        };
        let result = tokio::time::timeout(cx.remaining(), ended)
            .await
            .map_err(|_| {
                BackendError::new(Kind::DeadlineExceeded, "the unit's job did not end in time")
                    .on(&self.unit)
                    .advice("look at the unit's start and stop timeouts")
            })??;
        match result.as_str() {
            "done" | "skipped" => Ok(()),
            other => {
                let why = self.state().await.map(|s| s.describe()).unwrap_or_default();
                Err(BackendError::new(
                    Kind::Failed,
                    format!("the unit's job ended as {other}: {why}"),
                )
                .on(&self.unit)
                .advice("look at the unit's journal"))
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Job {
    Restart,
    Stop,
}
