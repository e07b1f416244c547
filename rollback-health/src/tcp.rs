//! [`TcpCheck`]: somebody listens.

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::health::{HealthCheck, Healthy, Probe, Unhealthy};
use tokio::net::TcpStream;

use crate::address::Address;
use crate::error::{InvalidCheck, InvalidCheckKind, quote_url};
use crate::within::within;

/// Healthy when a TCP connection is accepted. Proves that somebody listens, no more.
#[derive(Debug, Clone)]
pub struct TcpCheck {
    address: Address,
}

impl TcpCheck {
    /// A check of `host:port`.
    pub fn new(address: &str) -> Result<Self, InvalidCheck> {
        let address = Address::parse(address, None).map_err(|why| {
            InvalidCheck::new(
                InvalidCheckKind::Address,
                format!(
                    "{} is no address: {why}; write 127.0.0.1:5432 or [::1]:5432",
                    quote_url(address)
                ),
            )
        })?;
        Ok(Self { address })
    }
}

#[async_trait]
impl HealthCheck for TcpCheck {
    fn name(&self) -> String {
        format!("TCP {}", self.address)
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<Healthy, Unhealthy> {
        within(cx, async {
            TcpStream::connect(self.address.target())
                .await
                .map(|_| Healthy::yes())
                .map_err(|e| Unhealthy::new(format!("no connection: {e}")))
        })
        .await
    }
}
