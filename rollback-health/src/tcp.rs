//! [`TcpCheck`]: somebody listens.

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::health::{HealthCheck, Probe, Unhealthy};
use tokio::net::TcpStream;

use crate::error::{InvalidCheck, InvalidCheckKind, quote};
use crate::within::within;

/// Healthy when a TCP connection is accepted. Proves that somebody listens, no more.
#[derive(Debug, Clone)]
pub struct TcpCheck {
    host: String,
    port: u16,
}

impl TcpCheck {
    /// A check of `host:port`.
    pub fn new(address: &str) -> Result<Self, InvalidCheck> {
        let bad = || {
            InvalidCheck::new(
                InvalidCheckKind::Address,
                format!(
                    "{} is no address; write 127.0.0.1:5432 or [::1]:5432",
                    quote(address)
                ),
            )
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => v6,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

#[async_trait]
impl HealthCheck for TcpCheck {
    fn name(&self) -> String {
        format!("TCP {}:{}", self.host, self.port)
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<(), Unhealthy> {
        within(cx, async {
            TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map(drop)
                .map_err(|e| Unhealthy::new(format!("no connection: {e}")))
        })
        .await
    }
}
