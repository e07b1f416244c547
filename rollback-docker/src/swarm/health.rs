//! The platform's own view: what Swarm says of the tasks, and a soak where there is no health check.

use std::time::Duration;

use bollard::models::Task;
use rollback_core::backend::Instance;
use rollback_core::context::Context;
use rollback_core::diagnosis::{MAX_LOG_LINES, Words};
use rollback_core::error::BackendError;
use rollback_core::health::View;
use rollback_core::time::{Clock, SystemClock};

use super::backend::SwarmBackend;
use super::confidence;
use super::nodes::Down;
use super::service::{Seen, Update, container, image, replicas};
use super::task::at;
use super::tasks::Standing;
use crate::client::Client;

const LOG_LINES: u32 = 20;

impl SwarmBackend {
    pub(super) async fn judge(
        &self,
        cx: &Context,
        instance: &Instance,
    ) -> Result<View, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let Some((seen, now)) = self.standing_of(client, instance).await? else {
            return Ok(View::failed("the service is gone, or is another release"));
        };
        if let Update::Paused(message) = &seen.update {
            return Ok(self.sick(client, &seen, &now, message).await);
        }
        // What was asked for: nothing runs that could be well or sick. It is not called healthy, or
        // a rollback would go to what nobody has seen run.
        if replicas(&seen.spec) == Some(0) {
            return Ok(View::Idle("the service is scaled to no task".into()));
        }
        if now.desired == 0 {
            return Ok(View::failed("no node has a task of it"));
        }
        if now.running.len() < now.desired {
            if now.is_failing() {
                return Ok(self.sick(client, &seen, &now, "a task failed").await);
            }
            let progress = now.progress(&seen.update).to_string();
            return Ok(View::NotYet(match self.want_of_a_node(&seen, &now) {
                Some(why) => format!("{progress}; {why}"),
                None => progress,
            }));
        }
        if seen.update == Update::Rolling {
            return Ok(View::NotYet("Swarm is watching its new tasks".into()));
        }
        // With a health check a task counts as running once it passes.
        if self.has_check(client, &seen).await? {
            return Ok(View::Healthy);
        }
        let least = now.running.iter().map(has_run).min().unwrap_or_default();
        if least >= self.config.soak {
            return Ok(View::Healthy);
        }
        if now.has_replaced(|task| has_run(task) < self.config.soak) {
            let why = "a task failed and was replaced since it was rolled out";
            return Ok(self.sick(client, &seen, &now, why).await);
        }
        Ok(View::NotYet(format!(
            "it has no health check and was not watched for long enough: it has run for {} s of {} s",
            least.as_secs(),
            self.config.soak.as_secs()
        )))
    }

    /// What Swarm has to say of an instance that failed.
    pub(super) async fn words(
        &self,
        cx: &Context,
        instance: &Instance,
    ) -> Result<Words, BackendError> {
        cx.check()?;
        let client = &self.client().await?;
        let Some((seen, now)) = self.standing_of(client, instance).await? else {
            return Ok(Words::default().fact("service", "is gone, or is another release"));
        };
        let mut words = Words::default()
            .fact("service", &seen.id)
            .fact("tasks", now.progress(&seen.update))
            .fact("failed_tasks", now.failed.len());
        if let Update::Paused(message) | Update::Reverting(message) | Update::Reverted(message) =
            &seen.update
        {
            words = words.fact("update", self.without_secrets(&seen, message));
        }
        if let Some(why) = &now.unplaced {
            words = words.fact("pending", self.without_secrets(&seen, why));
        }
        if let Some(error) = now.last_failure() {
            words = words.fact("error", self.without_secrets(&seen, &error));
        }
        let Some(task) = now.failed.last().or(now.running.last()) else {
            return Ok(words);
        };
        let status = task
            .status
            .as_ref()
            .and_then(|s| s.container_status.as_ref());
        if let Some(code) = status.and_then(|s| s.exit_code) {
            words = words.fact("exit_code", code);
        }
        let lines = u32::try_from(MAX_LOG_LINES).unwrap_or(u32::MAX);
        let log = self.log(client, &seen, task, lines).await;
        Ok(words.log(&log))
    }

    async fn standing_of(
        &self,
        client: &Client,
        instance: &Instance,
    ) -> Result<Option<(Seen, Standing)>, BackendError> {
        let workload = self.config.workload.to_string();
        let seen = Seen::look(client, &workload, &self.config.service).await?;
        let Some(seen) = seen.filter(|seen| seen.handle() == instance.handle) else {
            return Ok(None);
        };
        let tasks = client.tasks(&self.config.service).await?;
        let now = Standing::of(&seen, tasks, &Down::default());
        Ok(Some((seen, now)))
    }

    /// The service's own, or its image's where that is here to be asked.
    async fn has_check(&self, client: &Client, seen: &Seen) -> Result<bool, BackendError> {
        let own = container(&seen.spec).and_then(|c| c.health_check.as_ref());
        let says = |test: Option<&Vec<String>>| {
            test.and_then(|test| test.first())
                .is_some_and(|first| first != "NONE")
        };
        if let Some(test) = own.and_then(|check| check.test.as_ref()) {
            return Ok(says(Some(test)));
        }
        let of_image = client.image(image(&seen.spec)).await?;
        let of_image = of_image.and_then(|i| i.config).and_then(|c| c.healthcheck);
        Ok(says(
            of_image.as_ref().and_then(|check| check.test.as_ref()),
        ))
    }

    /// The reason and the end of the log, without what may be a secret.
    async fn sick(&self, client: &Client, seen: &Seen, now: &Standing, why: &str) -> View {
        let mut text = why.to_owned();
        if let Some(failure) = now.last_failure() {
            text.push_str(&format!(": {failure}"));
        }
        let text = self.without_secrets(seen, &text);
        let log = match now.failed.last() {
            Some(task) => self.log(client, seen, task, LOG_LINES).await,
            None => String::new(),
        };
        match log.trim_end() {
            "" => View::failed(text),
            log => View::failed(format!("{text}\nlast lines of its log:\n{log}")),
        }
    }

    async fn log(&self, client: &Client, seen: &Seen, task: &Task, lines: u32) -> String {
        let id = task.id.as_deref().unwrap_or_default();
        client
            .task_log_tail(id, lines)
            .await
            .without(&confidence::secrets_of(&seen.spec))
    }

    /// That no node is given some of the tasks, and why.
    pub(super) fn want_of_a_node(&self, seen: &Seen, now: &Standing) -> Option<String> {
        let why = self.without_secrets(seen, now.unplaced.as_ref()?);
        Some(format!("no node takes what is left ({why})"))
    }

    /// The text without the values of the service's variables, labels and arguments.
    pub(super) fn without_secrets(&self, seen: &Seen, text: &str) -> String {
        confidence::told(&seen.spec, text)
    }
}

/// For how long a task has been running, by its node's clock and this one's.
fn has_run(task: &Task) -> Duration {
    at(task).map_or(Duration::ZERO, |at| SystemClock.now().since(at))
}
