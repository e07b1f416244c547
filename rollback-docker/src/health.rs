//! The platform's own view: Docker's health check where there is one, a soak where there is none.

use std::time::Duration;

use bollard::models::{HealthStatusEnum, HealthcheckResult};
use rollback_core::backend::{Operation, Running};
use rollback_core::context::Context;
use rollback_core::error::BackendError;
use rollback_core::health::View;
use tokio::time::Instant;

use crate::backend::DockerBackend;
use crate::client::Client;
use crate::container::Container;

const PAUSE: Duration = Duration::from_millis(200);
/// So much of the deadline is left for saying why.
const MARGIN: Duration = Duration::from_secs(1);
const LOG_LINES: u32 = 20;
/// Shorter values occur by chance, and hiding them would make the log unreadable.
const SHORTEST_SECRET: usize = 6;

impl DockerBackend {
    pub(crate) async fn judge(&self, cx: &Context, op: &Operation) -> Result<View, BackendError> {
        cx.check()?;
        let Some(instance) = op.to.instance() else {
            return Ok(View::NoOpinion);
        };
        let client = self.client().await?;
        let Some(first) = client.of(&instance.handle).await? else {
            return Ok(View::failed("the container is gone".to_owned()));
        };
        let soaked = Instant::now() + self.config.soak;
        let mut now = first.clone();
        loop {
            if !matches!(now.running(), Running::Yes) {
                let why = match now.running() {
                    Running::No(why) => why,
                    _ => "it does not run".into(),
                };
                return Ok(failed(&client, &now, why).await);
            }
            if now.started_at() != first.started_at() || now.restarts() != first.restarts() {
                let why = "it crashed and was restarted while it was watched";
                return Ok(failed(&client, &now, why.into()).await);
            }
            let waiting = match now.health() {
                Some((HealthStatusEnum::HEALTHY, _)) => return Ok(View::Healthy),
                Some((HealthStatusEnum::UNHEALTHY, log)) => {
                    let why = format!("its health check fails: {}", last(&log));
                    return Ok(failed(&client, &now, why).await);
                }
                Some((_, log)) => format!("its health check is still starting: {}", last(&log)),
                None if Instant::now() >= soaked => return Ok(View::Healthy),
                None => "it has no health check and was not watched for long enough".into(),
            };
            if cx.remaining() <= MARGIN {
                let why = format!("not healthy before the deadline; {waiting}");
                return Ok(failed(&client, &now, why).await);
            }
            cx.sleep(PAUSE).await?;
            now = match client.inspect(&first.id).await? {
                Some(container) => container,
                None => return Ok(View::failed("the container is gone".to_owned())),
            };
        }
    }
}

fn last(log: &[HealthcheckResult]) -> String {
    match log.last() {
        Some(result) => format!(
            "exit code {}, {}",
            result.exit_code.unwrap_or(-1),
            result.output.as_deref().unwrap_or("").trim()
        ),
        None => "it has not run yet".into(),
    }
}

/// The reason and the end of the log, without the values of the container's variables.
async fn failed(client: &Client, container: &Container, why: String) -> View {
    let log = client.log_tail(&container.id, LOG_LINES).await;
    let mut text = why;
    if !log.trim().is_empty() {
        text.push_str("\nlast lines of its log:\n");
        text.push_str(log.trim_end());
    }
    let config = container.inspect.config.as_ref();
    let env = config.and_then(|c| c.env.as_ref());
    let mut values: Vec<&str> = env
        .into_iter()
        .flatten()
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, value)| value.len() >= SHORTEST_SECRET && *name != "PATH")
        .map(|(_, value)| value)
        .collect();
    // The longest first, so that no value's tail outlives its head.
    values.sort_by_key(|v| std::cmp::Reverse(v.len()));
    for value in values {
        text = text.replace(value, "***");
    }
    View::failed(text)
}
