//! What dockerd answers, as it is: for what the client library reads and loses.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use bollard::auth::DockerCredentials;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use rollback_core::error::BackendError;
use serde_json::Value;

use crate::endpoint::Dialer;

/// Longest answer that is read, in bytes.
const MAX: usize = 16 * 1024 * 1024;

/// An answer: its status, and its JSON.
type Answer = Result<(StatusCode, Value), Box<dyn std::error::Error + Send + Sync>>;

/// Asks a daemon for something, which is `subject` to people. `None` if there is none.
pub(crate) async fn get(
    dialer: &Dialer,
    path: &str,
    what: &str,
    subject: &str,
) -> Result<Option<Value>, BackendError> {
    let (status, answer) = ask(dialer, path).await.map_err(|e| {
        let e = e.downcast::<io::Error>();
        let e = e.map_or_else(io::Error::other, |e| *e);
        crate::error::docker(what, subject, e.into())
    })?;
    if status.is_success() {
        return Ok(Some(answer));
    }
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let e = refusal(status, &answer);
    Err(crate::error::docker(what, subject, e))
}

/// Has a daemon do something, with what its registry is asked with; its answer.
pub(crate) async fn post(
    dialer: &Dialer,
    path: &str,
    login: Option<DockerCredentials>,
    body: Vec<u8>,
) -> Result<Value, bollard::errors::Error> {
    let mut request = Request::post(path).header(CONTENT_TYPE, "application/json");
    if let Some(login) = login {
        let login = BASE64_URL_SAFE.encode(serde_json::to_vec(&login)?);
        request = request.header("X-Registry-Auth", login);
    }
    let (status, answer) = send(dialer, request, body.into()).await.map_err(|e| {
        let e = e.downcast::<io::Error>();
        e.map_or_else(io::Error::other, |e| *e)
    })?;
    match status.is_success() {
        true => Ok(answer),
        false => Err(refusal(status, &answer)),
    }
}

fn refusal(status: StatusCode, answer: &Value) -> bollard::errors::Error {
    bollard::errors::Error::DockerResponseServerError {
        status_code: status.as_u16(),
        message: answer["message"].as_str().unwrap_or_default().to_owned(),
    }
}

async fn ask(dialer: &Dialer, path: &str) -> Answer {
    send(dialer, Request::get(path), Bytes::new()).await
}

async fn send(dialer: &Dialer, request: Builder, body: Bytes) -> Answer {
    let answer = dialer.ask(request.body(Full::new(body))?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX).collect().await?;
    Ok((status, serde_json::from_slice(&body.to_bytes())?))
}
