//! [`Link`]: the connection that a backend's verbs share.

use std::sync::Arc;

use rollback_core::error::BackendError;
use tokio::runtime::{Handle, Id};
use tokio::sync::Mutex;

use crate::config::SystemdConfig;
use crate::manager::Bus;

/// One connection to the bus for all looks of a backend, made when the first one needs it. A look
/// by one that was lost meanwhile connects anew (see [`Bus::looked`]).
///
/// What reads a connection is a task of the runtime in which it was made, and ends with that
/// runtime. So each runtime has a connection of its own: by another's nobody would ever be
/// answered.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<Option<(Id, Arc<Bus>)>>);

impl Link {
    pub(crate) async fn bus(&self, config: &SystemdConfig) -> Result<Arc<Bus>, BackendError> {
        let runtime = Handle::current().id();
        let mut kept = self.0.lock().await;
        match &*kept {
            Some((its, bus)) if *its == runtime => Ok(Arc::clone(bus)),
            _ => {
                let bus = Arc::new(Bus::connect(config).await?);
                *kept = Some((runtime, Arc::clone(&bus)));
                Ok(bus)
            }
        }
    }
}
