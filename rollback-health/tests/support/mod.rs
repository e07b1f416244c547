//! What the tests of the checks share: a server that answers as told, and one look.
#![allow(dead_code, clippy::unwrap_used)]

use std::time::Duration;

use rollback_core::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// On a busy machine, too.
pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const SHORT: Duration = Duration::from_millis(200);

/// Answers each connection with these bytes, whatever is asked; `None` never answers.
pub(crate) async fn serve(answer: Option<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                match answer {
                    Some(answer) => {
                        let _ = stream.write_all(&answer).await;
                    }
                    None => tokio::time::sleep(Duration::from_secs(60)).await,
                }
            });
        }
    });
    port
}

/// A port nobody listens on.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) async fn look(check: &impl HealthCheck, allowed: Duration) -> Result<(), String> {
    look_in(check, &Context::new(allowed)).await
}

pub(crate) async fn look_in(check: &impl HealthCheck, cx: &Context) -> Result<(), String> {
    answer_in(check, cx).await.map(drop)
}

/// The whole answer, remark included.
pub(crate) async fn answer_of(
    check: &impl HealthCheck,
    allowed: Duration,
) -> Result<Healthy, String> {
    answer_in(check, &Context::new(allowed)).await
}

async fn answer_in(check: &impl HealthCheck, cx: &Context) -> Result<Healthy, String> {
    let release = Release::new("none".parse().unwrap(), Artifact::new("v1", "v1"));
    let instance = Instance::new(release, Handle::new("h"));
    let probe = Probe::live("api@web-1".parse().unwrap(), instance);
    check.check(cx, &probe).await.map_err(|e| e.diagnostic)
}
