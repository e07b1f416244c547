//! [`TcpCheck`]: somebody listens.

use async_trait::async_trait;
use rollback_core::backend::Address;
use rollback_core::context::Context;
use rollback_core::health::{Aim, HealthCheck, Healthy, Probe, Site, Unhealthy};

use crate::address::{of, parse};
use crate::connect::connected;
use crate::error::{InvalidCheck, InvalidCheckKind, quote_url};
use crate::within::within;

/// Healthy when a TCP connection is accepted. Proves that somebody listens, no more.
///
/// A successor that runs beside what is live is asked at its own address: that of its only port, or
/// of the one that [`port`](Self::port) names.
#[derive(Debug, Clone)]
pub struct TcpCheck {
    address: Address,
    port: Option<String>,
}

impl TcpCheck {
    /// A check of `host:port`.
    ///
    /// # Errors
    ///
    /// [`Address`](InvalidCheckKind::Address) for what is no host and port.
    pub fn new(address: &str) -> Result<Self, InvalidCheck> {
        let address = parse(address, None).map_err(|why| {
            InvalidCheck::new(
                InvalidCheckKind::Address,
                format!(
                    "{} is no address: {why}; write 127.0.0.1:5432 or [::1]:5432",
                    quote_url(address)
                ),
            )
        })?;
        Ok(Self {
            address,
            port: None,
        })
    }

    /// Asks a successor at its port of this name, as the backend calls it.
    #[must_use]
    pub fn port(mut self, name: impl Into<String>) -> Self {
        self.port = Some(name.into());
        self
    }
}

#[async_trait]
impl HealthCheck for TcpCheck {
    fn name(&self) -> String {
        format!("TCP {}", self.address)
    }

    fn aim(&self) -> Aim {
        Aim::Port(self.port.clone())
    }

    async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        let address = match probe.site {
            Site::Live => &self.address,
            Site::Beside => of(probe, &self.port)?,
        };
        within(cx, async {
            connected(address).await?;
            Ok(Healthy::yes())
        })
        .await
    }
}
