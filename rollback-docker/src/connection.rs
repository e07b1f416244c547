//! [`Connection`]: the daemon that a backend talks to.

use std::sync::Arc;

use rollback_core::error::BackendError;
use tokio::sync::Mutex;

use crate::client::Client;
use crate::credentials::Logins;
use crate::endpoint::Endpoint;

/// Which daemon, for which workload, and what its registries are asked with.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Logins,
    pub(crate) workload: String,
    /// What the daemon calls what is live.
    pub(crate) live_name: String,
}

/// A daemon that is connected to once it is needed.
#[derive(Debug)]
pub(crate) struct Connection {
    daemon: Daemon,
    client: Mutex<Option<Arc<Client>>>,
}

impl Connection {
    /// Talks to nobody yet.
    pub(crate) fn to(daemon: Daemon) -> Self {
        Self {
            daemon,
            client: Mutex::default(),
        }
    }

    /// The daemon. Its API version is agreed on once, and again when it was away since.
    pub(crate) async fn client(&self) -> Result<Arc<Client>, BackendError> {
        let mut client = self.client.lock().await;
        match &*client {
            Some(known) if !known.is_lost() => Ok(Arc::clone(known)),
            _ => {
                let fresh = Arc::new(Client::connect(&self.daemon).await?);
                Ok(Arc::clone(client.insert(fresh)))
            }
        }
    }
}
