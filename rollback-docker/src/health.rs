//! The platform's own view: Docker's health check where there is one, a soak where there is none.

use std::sync::PoisonError;
use std::time::Duration;

use bollard::models::{HealthStatusEnum, HealthcheckResult};
use rollback_core::backend::{Instance, Running};
use rollback_core::context::Context;
use rollback_core::diagnosis::{MAX_LOG_LINES, Words};
use rollback_core::error::BackendError;
use rollback_core::health::View;
use rollback_core::masking::{Part, Secrets};
use rollback_core::time::{Clock, SystemClock, Timestamp};
use tokio::time::Instant;

use crate::backend::DockerBackend;
use crate::capture;
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::settings::is_secret;

const LOG_LINES: u32 = 20;

/// Since when a container is watched, and how long it had been running by then.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    container: String,
    started_at: String,
    since: Instant,
    had_run: Duration,
}

impl DockerBackend {
    pub(crate) async fn judge(
        &self,
        cx: &Context,
        instance: &Instance,
    ) -> Result<View, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let Some(now) = Inventory::find(client, &instance.handle).await? else {
            return Ok(View::failed("the container is gone"));
        };
        match now.running() {
            Running::Yes => {}
            Running::No(why) => return Ok(failed(client, &now, why).await),
            _ => return Ok(failed(client, &now, "it does not run".into()).await),
        }
        let has_run = self.has_run(&now);
        let soaks = has_run < self.config.soak;
        // dockerd counts from the last start that somebody asked for.
        if soaks && now.restarts() > 0 {
            let why = "it crashed and was restarted since it was started";
            return Ok(failed(client, &now, why.into()).await);
        }
        Ok(match now.health() {
            Some((HealthStatusEnum::HEALTHY, _)) => View::Healthy,
            Some((HealthStatusEnum::UNHEALTHY, log)) => {
                let why = format!("its health check fails: {}", last(&log));
                failed(client, &now, why).await
            }
            Some((_, log)) => {
                let why = format!("its health check is still starting: {}", last(&log));
                View::NotYet(secrets(&now).tell(&why, Part::Whole))
            }
            None if soaks => View::NotYet(format!(
                "it has no health check and was not watched for long enough: it has run for {} s \
                 of {} s",
                has_run.as_secs(),
                self.config.soak.as_secs()
            )),
            None => View::Healthy,
        })
    }

    /// What dockerd has to say of a container that failed.
    pub(crate) async fn words(
        &self,
        cx: &Context,
        instance: &Instance,
    ) -> Result<Words, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let Some(now) = Inventory::find(client, &instance.handle).await? else {
            return Ok(Words::default().fact("container", "is gone"));
        };
        let lines = u32::try_from(MAX_LOG_LINES).unwrap_or(u32::MAX);
        let log = client.log_tail(&now.summary.id, lines).await;
        let secrets = secrets(&now);
        let mut words = Words::default()
            .fact("container", &now.summary.id)
            .fact("restarts", now.restarts());
        if let Some(state) = &now.inspect.state {
            let status = state.status.map(|status| status.to_string());
            let facts = [
                ("status", status),
                ("exit_code", state.exit_code.map(|code| code.to_string())),
                (
                    "oom_killed",
                    state.oom_killed.map(|killed| killed.to_string()),
                ),
                ("error", state.error.clone().filter(|e| !e.is_empty())),
            ];
            for (name, value) in facts {
                if let Some(value) = value {
                    words = words.fact(name, secrets.tell(&value, Part::Whole));
                }
            }
        }
        if let Some((_, looks)) = now.health() {
            let said = secrets.tell(&last(&looks), Part::Whole);
            words = words.fact("health_check", said);
        }
        Ok(words.log(&log.without(&secrets)))
    }

    /// How long it has been running. The wall clock is asked once, at the first look: if somebody
    /// sets it while a container is watched, the watch does not notice.
    fn has_run(&self, container: &Container) -> Duration {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let started_at = container.started_at();
        let same = watch
            .take()
            .filter(|w| w.container == container.summary.id && w.started_at == started_at);
        let watched = same.unwrap_or_else(|| {
            let started: Option<Timestamp> = started_at.parse().ok();
            Watch {
                container: container.summary.id.clone(),
                since: Instant::now(),
                had_run: started.map_or(Duration::ZERO, |at| SystemClock.now().since(at)),
                started_at,
            }
        });
        let run = watched.had_run + watched.since.elapsed();
        *watch = Some(watched);
        run
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

/// The reason and the end of the log, without what may be a secret.
async fn failed(client: &Client, container: &Container, why: String) -> View {
    let secrets = secrets(container);
    let log = client.log_tail(&container.summary.id, LOG_LINES).await;
    let mut text = secrets.tell(&why, Part::Whole);
    let log = log.without(&secrets);
    if !log.trim().is_empty() {
        text.push_str("\nlast lines of its log:\n");
        text.push_str(log.trim_end());
    }
    View::failed(text)
}

/// The values of the container's variables, labels and arguments.
fn secrets(container: &Container) -> Secrets {
    let env = capture::env(container).into_iter();
    let env = env.filter(|(name, _)| name != "PATH").map(|(_, v)| v.0);
    let rows = capture::rows(container).into_iter();
    let rows = rows.filter(|(row, _)| is_secret(row));
    let rows = rows.flat_map(|(row, value)| words(&row, &value));
    env.chain(rows).fold(Secrets::default(), Secrets::found)
}

/// Those parts of a row that may be a secret: a label's value; of a command line the arguments,
/// and what they set, but neither the program nor the names of options.
fn words(row: &str, value: &str) -> Vec<String> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(value) else {
        return vec![value.to_owned()];
    };
    if row.starts_with("label:") {
        return vec![value.to_owned()];
    }
    let list = json.get("Test").unwrap_or(&json).as_array().cloned();
    let list = list.unwrap_or_default();
    let names = match (row, list.first().and_then(|w| w.as_str())) {
        ("command", _) => 0,
        ("healthcheck", Some("CMD")) => 2,
        _ => 1,
    };
    let words = list.into_iter().skip(names);
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .filter_map(|word| match word.split_once('=') {
            Some((_, set)) => Some(set.to_owned()),
            None => (!word.starts_with(['-', '/'])).then_some(word),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_in_a_command_line_is_hidden_and_the_rest_is_readable() {
        let command = r#"["redis-server","--requirepass","hunter2","--user=somebody","/etc/x"]"#;
        assert_eq!(
            words("command", command),
            ["redis-server", "hunter2", "somebody"]
        );
        let check = r#"{"Test":["CMD","/server","check","s3cret-value"]}"#;
        assert_eq!(words("healthcheck", check), ["check", "s3cret-value"]);
        let shell = r#"{"Test":["CMD-SHELL","curl -u me:hunter2 http://x"]}"#;
        assert_eq!(words("healthcheck", shell), ["curl -u me:hunter2 http://x"]);
        assert_eq!(words("label:key", "123456789"), ["123456789"]);
    }
}
