//! The manager on the bus: what is asked of it, and what it says of a unit.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::config::{SystemdConfig, UnitName};
use crate::error::bus_error;
use crate::state::UnitState;

/// How long one method call may take; `Reload` of a large system takes longest.
const CALL: Duration = Duration::from_secs(30);

const DESTINATION: &str = "org.freedesktop.systemd1";

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(crate) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn ref_unit(&self, name: &str) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn set_unit_properties(
        &self,
        name: &str,
        runtime: bool,
        properties: &[(&str, zbus::Variant<'_>)],
    ) -> zbus::Result<()>;
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
    #[zbus(property(emits_changed_signal = "false"))]
    fn userspace_timestamp(&self) -> zbus::Result<u64>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn environment(&self) -> zbus::Result<Vec<String>>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
}

/// A connection to the bus on which the manager is.
#[derive(Debug)]
pub(crate) struct Bus {
    connection: Mutex<zbus::Connection>,
    address: Option<String>,
    pub(crate) unit: UnitName,
}

impl Bus {
    /// Connects. Errors are `Unreachable` and did not touch anything.
    pub(crate) async fn connect(config: &SystemdConfig) -> Result<Self, BackendError> {
        let address = config.bus.clone();
        Ok(Self {
            connection: Mutex::new(connected(address.as_deref()).await?),
            address,
            unit: config.unit.clone(),
        })
    }

    /// Connects anew: a connection ends with the daemon at its other end.
    pub(crate) async fn reconnect(&self) -> Result<(), BackendError> {
        let anew = connected(self.address.as_deref()).await?;
        *self.slot() = anew;
        Ok(())
    }

    fn slot(&self) -> MutexGuard<'_, zbus::Connection> {
        // A connection is whole whatever a panicking thread did with it.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> zbus::Connection {
        self.slot().clone()
    }

    pub(crate) async fn manager(&self) -> Result<ManagerProxy<'static>, BackendError> {
        let proxy = ManagerProxy::builder(&self.connection())
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build();
        proxy
            .await
            .map_err(|e| bus_error("the manager cannot be reached", e))
    }

    /// The unit's state. A unit that does not exist is `not-found` and inactive.
    pub(crate) async fn state(&self) -> Result<UnitState, BackendError> {
        self.state_of(self.unit.as_str()).await
    }

    /// Any unit's state, read anew.
    pub(crate) async fn state_of(&self, unit: &str) -> Result<UnitState, BackendError> {
        Ok(UnitState::of(&self.properties_of(unit).await?))
    }

    /// All that the manager says of a unit and its service. Its secrets are among it.
    pub(crate) async fn properties_of(
        &self,
        unit: &str,
    ) -> Result<HashMap<String, OwnedVariant>, BackendError> {
        let fail = |e| bus_error("the unit's state cannot be read", e);
        let path = self.manager().await?.load_unit(unit).await.map_err(fail)?;
        let proxy = zbus::fdo::PropertiesProxy::builder(&self.connection())
            .destination(DESTINATION)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
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
        Ok(all)
    }

    /// When this manager was started, in microseconds since 1970: invocations of another start
    /// say nothing of this one's. The same after `daemon-reexec`.
    pub(crate) async fn boot(&self) -> Result<u64, BackendError> {
        let started = self.manager().await?.userspace_timestamp().await;
        started.map_err(|e| bus_error("the manager does not say when it was started", e))
    }

    /// What all units are given in their environment. Secrets may be among it.
    pub(crate) async fn environment(&self) -> Result<Vec<String>, BackendError> {
        let environment = self.manager().await?.environment().await;
        environment.map_err(|e| bus_error("the manager does not say what it gives to its units", e))
    }

    /// Which systemd it is, its package's revision included.
    pub(crate) async fn version(&self) -> Result<String, BackendError> {
        let version = self.manager().await?.version().await;
        version.map_err(|e| bus_error("the manager does not say which it is", e))
    }

    /// Whether the machine is about to be down.
    pub(crate) async fn is_stopping(&self) -> Result<bool, BackendError> {
        let state = self.manager().await?.system_state().await;
        let state = state.map_err(|e| bus_error("the manager does not say how it is", e))?;
        Ok(state == "stopping")
    }

    /// Finds out whether this user may manage the unit, by a request that changes nothing.
    pub(crate) async fn may_manage(&self) -> Result<(), BackendError> {
        let asked = self
            .manager()
            .await?
            .set_unit_properties(self.unit.as_str(), true, &[])
            .await;
        match asked.map_err(|e| bus_error("this user may not manage units", e)) {
            Err(e) if e.kind() == Kind::Denied => Err(e.on(&self.unit)),
            // There may be no such unit yet: nothing is known.
            _ => Ok(()),
        }
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

    /// Lets the manager remember the unit until this connection ends: one that has done its work
    /// is forgotten at once, and its invocation with it.
    pub(crate) async fn remember(&self) -> Result<(), BackendError> {
        let asked = self.manager().await?.ref_unit(self.unit.as_str()).await;
        asked.map_err(|e| bus_error("the manager does not keep the unit in mind", e))
    }

    /// Forgets failures counted so far. A unit that is not loaded has nothing to forget.
    pub(crate) async fn reset_failed(&self) -> Result<(), BackendError> {
        let _ = self
            .manager()
            .await?
            .reset_failed_unit(self.unit.as_str())
            .await;
        Ok(())
    }
}

async fn connected(address: Option<&str>) -> Result<zbus::Connection, BackendError> {
    let builder = match address {
        Some(address) => zbus::connection::Builder::address(address),
        None => zbus::connection::Builder::system(),
    };
    let connecting = builder.method_timeout(CALL).build();
    match tokio::time::timeout(CALL, connecting).await {
        Ok(connection) => connection.map_err(|e| {
            BackendError::new(Kind::Unreachable, "systemd's bus cannot be reached")
                .on(address.unwrap_or("the system bus"))
                .advice(
                    "check that systemd runs and that this user may use its bus, then try again",
                )
                .because(e)
                .untouched()
        }),
        Err(_) => Err(
            BackendError::new(Kind::Unreachable, "systemd's bus does not answer")
                .advice("look at the bus, then try again")
                .untouched(),
        ),
    }
}
