//! The manager on the bus: what is asked of it, and what it says of a unit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
    connected: Mutex<Arc<Connected>>,
    address: Option<String>,
    pub(crate) unit: UnitName,
}

/// A connection, and what does not change as long as it lasts.
#[derive(Debug)]
struct Connected {
    connection: zbus::Connection,
    /// When the manager was started.
    boot: OnceLock<u64>,
}

impl Bus {
    /// Connects. Errors are `Unreachable` and did not touch anything.
    pub(crate) async fn connect(config: &SystemdConfig) -> Result<Self, BackendError> {
        let address = config.bus.clone();
        Ok(Self {
            connected: Mutex::new(connected(address.as_deref()).await?),
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

    fn slot(&self) -> MutexGuard<'_, Arc<Connected>> {
        // A connection is whole whatever a panicking thread did with it.
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> Arc<Connected> {
        Arc::clone(&self.slot())
    }

    pub(crate) async fn manager(&self) -> Result<ManagerProxy<'static>, BackendError> {
        let proxy = ManagerProxy::builder(&self.connected().connection)
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

    /// All that the manager says of a unit and its service, by one call: a unit is loaded by whoever
    /// names its path, and no interface's name stands for all of them. Its secrets are among it.
    pub(crate) async fn properties_of(
        &self,
        unit: &str,
    ) -> Result<HashMap<String, OwnedVariant>, BackendError> {
        const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
        let fail = |e| bus_error("the unit's state cannot be read", e);
        let connected = self.connected();
        let (path, all) = (path_of(unit), &("",));
        let asked = connected.connection.call_method(
            Some(DESTINATION),
            path,
            Some(PROPERTIES),
            "GetAll",
            all,
        );
        let reply = asked.await.map_err(fail)?;
        reply.body().deserialize().map_err(fail)
    }

    /// When this manager was started, in microseconds since 1970: invocations of another start
    /// say nothing of this one's. The same after `daemon-reexec`; the bus does not outlive it.
    pub(crate) async fn boot(&self) -> Result<u64, BackendError> {
        let connected = self.connected();
        if let Some(boot) = connected.boot.get() {
            return Ok(*boot);
        }
        let started = self.manager().await?.userspace_timestamp().await;
        let boot =
            started.map_err(|e| bus_error("the manager does not say when it was started", e))?;
        Ok(*connected.boot.get_or_init(|| boot))
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

async fn connected(address: Option<&str>) -> Result<Arc<Connected>, BackendError> {
    let builder = match address {
        Some(address) => zbus::connection::Builder::address(address),
        None => zbus::connection::Builder::system(),
    };
    let connecting = builder.method_timeout(CALL).build();
    let connection = match tokio::time::timeout(CALL, connecting).await {
        Ok(connection) => connection.map_err(|e| {
            BackendError::new(Kind::Unreachable, "systemd's bus cannot be reached")
                .on(address.unwrap_or("the system bus"))
                .advice(
                    "check that systemd runs and that this user may use its bus, then try again",
                )
                .because(e)
                .untouched()
        })?,
        Err(_) => {
            return Err(
                BackendError::new(Kind::Unreachable, "systemd's bus does not answer")
                    .advice("look at the bus, then try again")
                    .untouched(),
            );
        }
    };
    Ok(Arc::new(Connected {
        connection,
        boot: OnceLock::new(),
    }))
}

/// The path of a unit's object: all but letters and digits as their bytes' numbers.
fn path_of(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_the_path_that_the_manager_gives_it() {
        let path = |unit: &str| path_of(unit).rsplit('/').next().unwrap_or("").to_owned();
        assert_eq!(path("api.service"), "api_2eservice");
        assert_eq!(path("1-a_b@x.service"), "_31_2da_5fb_40x_2eservice");
    }
}
