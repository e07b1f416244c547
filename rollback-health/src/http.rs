//! [`HttpCheck`]: one GET, one status.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rollback_core::context::Context;
use rollback_core::health::{HealthCheck, Probe, Unhealthy};
use tokio::net::TcpStream;

use crate::error::{InvalidCheck, InvalidCheckKind, quote};
use crate::within::within;

/// Most of a body that is read, in bytes: 64 KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// Healthy when a GET answers 200. The path is `/healthz` unless the URL has one. Redirects are
/// answers like any other, and not followed.
///
/// ```
/// use rollback_health::HttpCheck;
/// let check = HttpCheck::new("http://127.0.0.1:8080")?.header("authorization", "Bearer s3cret")?;
/// assert!(!format!("{check:?}").contains("s3cret"));
/// # Ok::<(), rollback_health::InvalidCheck>(())
/// ```
#[derive(Clone)]
pub struct HttpCheck {
    host: String,
    port: u16,
    path: String,
    statuses: Vec<u16>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
}

impl HttpCheck {
    /// A check of `http://host[:port][/path]`.
    pub fn new(url: &str) -> Result<Self, InvalidCheck> {
        let bad = |why: &str| {
            InvalidCheck::new(
                InvalidCheckKind::Address,
                format!(
                    "{} is no URL to check: {why}; write http://127.0.0.1:8080/healthz",
                    quote(url)
                ),
            )
        };
        let uri: Uri = url.parse().map_err(|e| bad(&format!("{e}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(other) => {
                return Err(InvalidCheck::new(
                    InvalidCheckKind::Scheme,
                    format!("{other} is not supported; check the service's own http port"),
                ));
            }
            None => return Err(bad("it has no scheme")),
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a password in a URL would be shown; use header()"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let path = match uri.path_and_query().map(|p| p.as_str()) {
            None | Some("" | "/") if !url.ends_with('/') => "/healthz".to_owned(),
            Some(path) => path.to_owned(),
            None => "/healthz".to_owned(),
        };
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(80),
            path,
            statuses: vec![200],
            headers: Vec::new(),
            body: None,
        })
    }

    /// Takes these statuses for healthy, and no others.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Sends a header. Its value is shown nowhere.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, InvalidCheck> {
        let bad = |what: &str| {
            InvalidCheck::new(
                InvalidCheckKind::Header,
                format!("the {what} of header {} is not valid", quote(name)),
            )
        };
        let header: HeaderName = name.parse().map_err(|_| bad("name"))?;
        let mut value: HeaderValue = value.parse().map_err(|_| bad("value"))?;
        value.set_sensitive(true);
        self.headers.push((header, value));
        Ok(self)
    }

    /// Wants this text in the first 64 KiB of the body.
    #[must_use]
    pub fn body_contains(mut self, text: impl Into<String>) -> Self {
        self.body = Some(text.into());
        self
    }

    async fn look(&self) -> Result<(), Unhealthy> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|e| Unhealthy::new(format!("no connection: {e}")))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Unhealthy::new(format!("not HTTP: {e}")))?;
        let exchange = async {
            let mut request = Request::get(&self.path)
                .header("host", format!("{}:{}", self.host, self.port))
                .header("connection", "close");
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            let request = request
                .body(Empty::<Bytes>::new())
                .map_err(|e| Unhealthy::new(format!("the request cannot be made: {e}")))?;
            let response = sender
                .send_request(request)
                .await
                .map_err(|e| Unhealthy::new(format!("no answer: {e}")))?;
            let status = response.status().as_u16();
            if !self.statuses.contains(&status) {
                return Err(Unhealthy::new(format!(
                    "answered {status}, expected {}",
                    self.statuses
                        .iter()
                        .map(u16::to_string)
                        .collect::<Vec<_>>()
                        .join(" or ")
                )));
            }
            let Some(wanted) = &self.body else {
                return Ok(());
            };
            let body = Limited::new(response.into_body(), MAX_BODY)
                .collect()
                .await
                .map_err(|e| Unhealthy::new(format!("the body cannot be read: {e}")))?
                .to_bytes();
            if String::from_utf8_lossy(&body).contains(wanted.as_str()) {
                Ok(())
            } else {
                Err(Unhealthy::new(format!(
                    "answered {status} without {}",
                    quote(wanted)
                )))
            }
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            result = &mut exchange => result,
            closed = &mut connection => match closed {
                // The answer may have arrived with the end of the connection.
                Ok(()) => exchange.await,
                Err(e) => Err(Unhealthy::new(format!("the connection broke: {e}"))),
            },
        }
    }
}

impl fmt::Debug for HttpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpCheck")
            .field("url", &self.name())
            .field("statuses", &self.statuses)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl HealthCheck for HttpCheck {
    fn name(&self) -> String {
        // A query may carry a token; it is not shown.
        let path = self.path.split('?').next().unwrap_or_default();
        format!("GET http://{}:{}{path}", self.host, self.port)
    }

    async fn check(&self, cx: &Context, _: &Probe) -> Result<(), Unhealthy> {
        within(cx, self.look()).await
    }
}
