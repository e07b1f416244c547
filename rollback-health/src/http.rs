//! [`HttpCheck`]: one GET, one status.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, StatusCode};
use rollback_core::backend::Address;
use rollback_core::context::Context;
use rollback_core::health::{Aim, HealthCheck, Healthy, Probe, Site, Unhealthy};
use rollback_core::masking::Secrets;
use tokio::net::UnixStream;

use crate::address::{of, parse};
use crate::answer::Answer;
use crate::connect::connected;
use crate::error::{InvalidCheck, InvalidCheckKind, quote, quote_url};
use crate::within::within;

/// Healthy when a GET answers 200. The path is `/healthz` unless the URL has one. Redirects are
/// answers like any other, and not followed. A no says how the body begins, without what this check
/// itself sent in confidence.
///
/// A successor that runs beside what is live is asked the same, with the same `Host`, at its own
/// address: that of its only port, or of the one that [`port`](Self::port) names. Over a unix
/// socket only what is live is asked.
///
/// ```
/// use rollback_health::HttpCheck;
/// let check = HttpCheck::new("http://127.0.0.1:8080")?.header("authorization", "Bearer s3cret")?;
/// assert!(!format!("{check:?}").contains("s3cret"));
/// # Ok::<(), rollback_health::InvalidCheck>(())
/// ```
#[derive(Clone)]
pub struct HttpCheck {
    endpoint: Endpoint,
    path: PathAndQuery,
    statuses: Vec<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<String>,
    strictness: Strictness,
    port: Option<String>,
}

/// Where it connects.
#[derive(Clone)]
enum Endpoint {
    Tcp(Address),
    Unix(PathBuf),
}

/// What a 404 means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strictness {
    /// That the service is unhealthy, unless 404 is among the [`statuses`](HttpCheck::statuses) to
    /// expect.
    #[default]
    Strict,
    /// The service has no health endpoint: ask `/` once, and take any answer below 500 there for
    /// healthy. The verdict then says by what lesser proof it was reached.
    Lenient,
}

impl HttpCheck {
    /// A check of `http://host[:port][/path]`.
    ///
    /// # Errors
    ///
    /// [`Scheme`](InvalidCheckKind::Scheme) for another scheme, https among them;
    /// [`Address`](InvalidCheckKind::Address) for what is no such URL.
    pub fn new(url: &str) -> Result<Self, InvalidCheck> {
        let bad = |why: &str| {
            InvalidCheck::new(
                InvalidCheckKind::Address,
                format!(
                    "{} is no URL to check: {why}; write http://127.0.0.1:8080/healthz, and use \
                     header() for credentials",
                    quote_url(url)
                ),
            )
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| bad("it has no scheme"))?;
        if scheme.eq_ignore_ascii_case("https") {
            return Err(InvalidCheck::new(
                InvalidCheckKind::Scheme,
                "https is not supported by HttpCheck; check the service's own http port, or run \
                 a TLS client with CommandCheck",
            ));
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(InvalidCheck::new(
                InvalidCheckKind::Scheme,
                format!(
                    "the scheme {} is not supported; write http://",
                    quote_url(scheme)
                ),
            ));
        }
        // A fragment is the client's own business and never sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let address = parse(authority, Some(80)).map_err(bad)?;
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/healthz{path}")
        };
        let path = path
            .parse()
            .map_err(|_| bad("its path has characters that must be written as %XX"))?;
        Ok(Self::at(Endpoint::Tcp(address), path))
    }

    fn at(endpoint: Endpoint, path: PathAndQuery) -> Self {
        Self {
            endpoint,
            path,
            statuses: vec![StatusCode::OK],
            headers: Vec::new(),
            body: None,
            strictness: Strictness::Strict,
            port: None,
        }
    }

    /// A check of `path` over the unix socket at `socket`.
    ///
    /// ```
    /// use rollback_health::HttpCheck;
    /// let check = HttpCheck::unix("/run/api/http.sock", "/healthz")?;
    /// # Ok::<(), rollback_health::InvalidCheck>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Address`](InvalidCheckKind::Address) for a socket without an absolute path, or a path that
    /// does not begin with `/` or has characters that no URL has.
    pub fn unix(socket: impl Into<PathBuf>, path: &str) -> Result<Self, InvalidCheck> {
        let bad = |why: String| InvalidCheck::new(InvalidCheckKind::Address, why);
        let socket = socket.into();
        if !socket.is_absolute() {
            return Err(bad("a socket is named by its absolute path".to_owned()));
        }
        let path: PathAndQuery = match path.starts_with('/') {
            true => path.parse().map_err(|_| {
                bad("the path has characters that must be written as %XX".to_owned())
            })?,
            false => return Err(bad("the path begins with /".to_owned())),
        };
        Ok(Self::at(Endpoint::Unix(socket), path))
    }

    /// Asks a successor at its port of this name, as the backend calls it.
    #[must_use]
    pub fn port(mut self, name: impl Into<String>) -> Self {
        self.port = Some(name.into());
        self
    }

    /// Says what a 404 means.
    #[must_use]
    pub fn strictness(mut self, strictness: Strictness) -> Self {
        self.strictness = strictness;
        self
    }

    /// Takes these statuses for healthy, and no others. At least one.
    ///
    /// # Errors
    ///
    /// [`Status`](InvalidCheckKind::Status) for none, or for what is none of 100 to 999.
    pub fn statuses(
        mut self,
        statuses: impl IntoIterator<Item = u16>,
    ) -> Result<Self, InvalidCheck> {
        let bad = |why: String| InvalidCheck::new(InvalidCheckKind::Status, why);
        self.statuses = statuses
            .into_iter()
            .map(|s| {
                StatusCode::from_u16(s)
                    .map_err(|_| bad(format!("{s} is no HTTP status; name some of 100 to 999")))
            })
            .collect::<Result<_, _>>()?;
        if self.statuses.is_empty() {
            return Err(bad(
                "without a status no answer would be healthy; name one".into()
            ));
        }
        Ok(self)
    }

    /// Sends a header, `host` included. Its value is shown nowhere.
    ///
    /// # Errors
    ///
    /// [`Header`](InvalidCheckKind::Header) for a name or value that no header can have.
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

    async fn look(&self, cx: &Context, at: &Endpoint) -> Result<Healthy, Unhealthy> {
        let answer = self.ask(at, &self.path).await?;
        let (status, number) = (answer.status(), answer.status().as_u16());
        if self.statuses.contains(&status) {
            return match &self.body {
                Some(wanted) => answer.with_text(wanted).await,
                None => Ok(Healthy::yes()),
            };
        }
        let expected: Vec<&str> = self.statuses.iter().map(StatusCode::as_str).collect();
        let no = format!("answered {number}, expected {}", expected.join(" or "));
        if status != StatusCode::NOT_FOUND || self.strictness == Strictness::Strict {
            return Err(Unhealthy::new(no + &answer.excerpt(cx).await));
        }
        // Its body explains nothing that is said, and some serve one connection at a time.
        drop(answer);
        match self.ask(at, &PathAndQuery::from_static("/")).await {
            Ok(answer) => {
                let number = answer.status().as_u16();
                if number < 500 {
                    return Ok(Healthy::noting(format!(
                        "it has no health endpoint (404); something answers on /: {number}"
                    )));
                }
                let excerpt = answer.excerpt(cx).await;
                Err(Unhealthy::new(format!(
                    "{no}, and / answered {number}{excerpt}"
                )))
            }
            Err(e) => Err(Unhealthy::new(format!("{no}, and / gave {e}"))),
        }
    }

    fn host(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(address) => address.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        }
    }

    /// One request on a connection of its own.
    async fn ask(&self, at: &Endpoint, path: &PathAndQuery) -> Result<Answer, Unhealthy> {
        let request = self.request(path)?;
        let secrets = self.secrets(path);
        match at {
            Endpoint::Tcp(address) => {
                Answer::over(connected(address).await?, request, secrets).await
            }
            Endpoint::Unix(socket) => {
                let stream = UnixStream::connect(socket).await;
                let stream = stream.map_err(|e| Unhealthy::new(format!("no connection: {e}")))?;
                Answer::over(stream, request, secrets).await
            }
        }
    }

    /// What is sent in confidence: an answer may send it back.
    fn secrets(&self, path: &PathAndQuery) -> Secrets {
        let values = self.headers.iter().map(|(_, value)| value.as_bytes());
        let secrets = values.fold(Secrets::default(), |secrets, value| {
            secrets.header(String::from_utf8_lossy(value))
        });
        match path.query() {
            Some(query) => secrets.query(query),
            None => secrets,
        }
    }

    fn request(&self, path: &PathAndQuery) -> Result<Request<Empty<Bytes>>, Unhealthy> {
        let mut request = Request::get(path.as_str())
            .header(HOST, self.host())
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|e| Unhealthy::new(format!("the request cannot be made: {e}")))?;
        let (ours, headers) = ([HOST, CONNECTION], request.headers_mut());
        for (name, value) in &self.headers {
            // A second Host is a bad request; the caller's is for a virtual host.
            if ours.contains(name) {
                headers.insert(name, value.clone());
            } else {
                headers.append(name, value.clone());
            }
        }
        Ok(request)
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
        let path = self.path.path();
        match &self.endpoint {
            Endpoint::Tcp(address) => format!("GET http://{address}{path}"),
            Endpoint::Unix(socket) => format!("GET {path} on {}", socket.display()),
        }
    }

    fn aim(&self) -> Aim {
        match self.endpoint {
            Endpoint::Tcp(_) => Aim::Port(self.port.clone()),
            Endpoint::Unix(_) => Aim::Live,
        }
    }

    async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        let at = match probe.site {
            Site::Live => self.endpoint.clone(),
            Site::Beside => Endpoint::Tcp(of(probe, &self.port)?.clone()),
        };
        within(cx, self.look(cx, &at)).await
    }
}
