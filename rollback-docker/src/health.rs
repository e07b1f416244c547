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
use crate::client::Client;
use crate::container::Container;
use crate::inventory::Inventory;
use crate::secrets;

const LOG_LINES: u32 = 20;

/// Most of a probe's output that dockerd keeps, in bytes, from the beginning.
const MAX_PROBE: usize = 4096;

/// What dockerd puts behind an output that it has cut.
const CUT: &str = "...";

/// The exit code that dockerd gives to a probe that it has killed.
const TIMED_OUT: i64 = -1;

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
                let said = last(&log, &secrets::of(&now));
                let why = format!("its health check fails: {said}");
                failed(client, &now, why).await
            }
            Some((_, log)) => {
                let said = last(&log, &secrets::of(&now));
                View::NotYet(format!("its health check is still starting: {said}"))
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
        let secrets = secrets::of(&now);
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
            words = words.fact("health_check", last(&looks, &secrets));
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

/// What the last probe of a health check said, without these.
fn last(log: &[HealthcheckResult], secrets: &Secrets) -> String {
    let Some(result) = log.last() else {
        return "it has not run yet".into();
    };
    let output = result.output.as_deref().unwrap_or("");
    let code = result.exit_code.unwrap_or(-1);
    let said = match output.strip_suffix(CUT) {
        Some(head) if head.len() >= MAX_PROBE => secrets.tell(head, Part::Head) + CUT,
        // It was killed, wherever it was.
        _ if code == TIMED_OUT => secrets.tell(output, Part::Head),
        _ => secrets.tell(output, Part::Whole),
    };
    format!("exit code {code}, {}", said.trim())
}

/// The reason and the end of the log, without what may be a secret.
async fn failed(client: &Client, container: &Container, why: String) -> View {
    let secrets = secrets::of(container);
    let log = client.log_tail(&container.summary.id, LOG_LINES).await;
    let mut text = secrets.tell(&why, Part::Whole);
    let log = log.without(&secrets);
    if !log.trim().is_empty() {
        text.push_str("\nlast lines of its log:\n");
        text.push_str(log.trim_end());
    }
    View::failed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_secret_was_told_where_dockerd_had_cut_what_a_probe_said() {
        let secrets = Secrets::default().found("hunter2");
        let said = |exit_code: i64, output: String| {
            let probe = HealthcheckResult {
                exit_code: Some(exit_code),
                output: Some(output),
                ..Default::default()
            };
            last(&[probe], &secrets)
        };
        let long = "x".repeat(MAX_PROBE - 5);
        assert_eq!(
            said(1, format!("{long} hunt...")),
            format!("exit code 1, {long} ***...")
        );
        assert_eq!(said(-1, "no hunt".into()), "exit code -1, no ***");
        assert_eq!(said(1, "no hunt\n".into()), "exit code 1, no hunt");
        assert_eq!(said(1, "no hunter2 ...".into()), "exit code 1, no *** ...");
    }
}
