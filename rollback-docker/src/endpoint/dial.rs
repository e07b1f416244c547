//! [`Dialer`]: makes connections to one endpoint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::{BollardRequest, ClientVersion, Docker};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rollback_core::error::BackendError;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::ssh::Destination;
use super::{Endpoint, Way};

/// What a request goes over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How long a connection that has failed may take to say why.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a machine that says nothing is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// From when on one that does not answer that is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);

type Io = TokioIo<Box<dyn Stream>>;

/// An endpoint that can be connected to: what is in files was read.
#[derive(Clone)]
pub(crate) enum Dialer {
    Unix(PathBuf),
    Tcp(Address),
    #[cfg(feature = "tls")]
    Tls(super::tls::Tls),
    Ssh(Destination),
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialer")
    }
}

impl Dialer {
    pub(crate) async fn to(endpoint: &Endpoint) -> Result<Self, BackendError> {
        Ok(match &endpoint.0 {
            Way::Unix(path) => Self::Unix(path.clone()),
            Way::Tcp(address) => Self::Tcp(address.clone()),
            #[cfg(feature = "tls")]
            Way::Tls(address, files) => Self::Tls(super::tls::Tls::new(address, files).await?),
            #[cfg(not(feature = "tls"))]
            Way::Tls(..) => return Err(without_tls()),
            Way::Ssh(destination) => Self::Ssh(destination.clone()),
        })
    }

    /// The Unix socket, if it is one. What else is at this machine's address may lead to another.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            _ => None,
        }
    }

    /// The client library over it, speaking this version.
    pub(crate) fn docker(
        &self,
        timeout: u64,
        version: &ClientVersion,
    ) -> Result<Docker, bollard::errors::Error> {
        if let Self::Unix(path) = self {
            return Docker::connect_with_unix(&path.to_string_lossy(), timeout, version);
        }
        let dialer = Arc::new(self.clone());
        let transport = move |request: BollardRequest| {
            let dialer = Arc::clone(&dialer);
            async move {
                dialer
                    .ask(request)
                    .await
                    .map_err(bollard::errors::Error::from)
            }
        };
        Docker::connect_with_custom_transport(transport, Some("http://docker"), timeout, version)
    }

    /// Asks over a connection of its own, which ends with the answer.
    pub(crate) async fn ask(
        &self,
        mut request: Request<impl Sendable>,
    ) -> io::Result<Response<Incoming>> {
        let (mut sender, connection) = self.open().await?;
        let driven = tokio::spawn(connection);
        prepare(&mut request)?;
        let e = match sender.send_request(request).await {
            Ok(answer) => return Ok(answer),
            Err(e) => e,
        };
        drop(sender);
        // A request that was not sent says no more than that: why, the connection knows.
        let why = tokio::time::timeout(PATIENCE, driven).await;
        Err(io::Error::other(match why {
            Ok(Ok(Err(why))) => why,
            _ => e,
        }))
    }

    /// A connection, to be driven by whoever asks.
    async fn open<B: Sendable>(&self) -> io::Result<(SendRequest<B>, Connection<Io, B>)> {
        let stream = TokioIo::new(self.dial().await?);
        http1::handshake(stream).await.map_err(io::Error::other)
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(connect(address).await?),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => Box::new(tls.connect().await?),
            Self::Ssh(destination) => Box::new(destination.connect()?),
        })
    }
}

/// A request's body.
pub(crate) trait Sendable:
    Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}

impl<B> Sendable for B where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static
{
}

pub(super) async fn connect(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    // Who waits for a container to stop, or for a pull, hears nothing for long; of a machine that is
    // gone, never.
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, LOOK_EVERY)?;
    sockopt::set_tcp_keepintvl(&stream, LOOK_EVERY)?;
    sockopt::set_tcp_user_timeout(
        &stream,
        GONE_AFTER.as_millis().try_into().unwrap_or(u32::MAX),
    )?;
    Ok(stream)
}

/// The path alone, as a server wants it, and a host.
fn prepare<B>(request: &mut Request<B>) -> io::Result<()> {
    let path = request.uri().path_and_query().cloned();
    let path = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.uri_mut() = path;
    let host = HeaderValue::from_static("docker");
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// What is said where this crate was built without TLS.
#[cfg(not(feature = "tls"))]
pub(super) fn without_tls() -> BackendError {
    BackendError::new(
        rollback_core::error::BackendErrorKind::Unsupported,
        "this program was built without TLS",
    )
    .advice("build rollback-docker with its feature `tls`")
    .untouched()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_machine_that_was_gone_was_waited_for_without_an_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect(&Address::new("127.0.0.1", port).unwrap()).await;
        let stream = stream.unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), LOOK_EVERY);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 60_000);
    }
}
