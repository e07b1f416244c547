//! [`Answer`]: what came back of one request, its body still to be read.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rollback_core::context::Context;
use rollback_core::error::Chain;
use rollback_core::health::{Healthy, Unhealthy};
use rollback_core::masking::Secrets;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::body::{Read, has_text, head};
use crate::error::quote;
use crate::excerpt::{NEEDED, excerpt};

/// How long the body of an answer that is a no may take: it only explains it.
const EXPLAINING: Duration = Duration::from_millis(500);

/// The head of an answer, and the connection on which its body comes.
pub(crate) struct Answer {
    response: Response<Incoming>,
    secrets: Secrets,
    /// A task of its own: a connection that breaks must not take an answer with it whose body is
    /// still to be read. Its errors come out at the request or at the body.
    _connection: JoinSet<Result<(), hyper::Error>>,
}

impl Answer {
    /// What comes back of this request, in which these are the secrets.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Empty<Bytes>>,
        secrets: Secrets,
    ) -> Result<Self, Unhealthy> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Unhealthy::new(format!("not HTTP: {}", Chain::of(&e))))?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| Unhealthy::new(format!("no answer: {}", Chain::of(&e))))?;
        Ok(Self {
            response,
            secrets,
            _connection: connections,
        })
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Healthy if the body has this text.
    pub(crate) async fn with_text(self, wanted: &str) -> Result<Healthy, Unhealthy> {
        let (status, mut read) = (self.status().as_u16(), Read::default());
        if has_text(self.response.into_body(), wanted, &mut read).await? {
            return Ok(Healthy::yes());
        }
        Err(Unhealthy::new(format!(
            "answered {status} without {}{}",
            quote(wanted),
            excerpt(&read, &self.secrets)
        )))
    }

    /// How the body begins, for a no. That is to cost neither much time, nor the time in which the no
    /// can be said.
    pub(crate) async fn excerpt(self, cx: &Context) -> String {
        let allowed = EXPLAINING.min(cx.remaining() / 2);
        let read = head(self.response.into_body(), NEEDED, allowed).await;
        excerpt(&read, &self.secrets)
    }
}
