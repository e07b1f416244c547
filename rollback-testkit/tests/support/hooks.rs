//! Hooks that tests hang on a run: a check that waits at a door, tasks that write down that they
//! ran.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rollback_core::context::Context;
use rollback_core::error::HookError;
use rollback_core::guard::{Notice, Observer, ReleaseTask, Restart};
use rollback_core::prelude::*;
use tokio::sync::{Notify, Semaphore};

/// A door in front of which the health check of one release waits.
#[derive(Debug, Clone)]
pub(crate) struct Door(Arc<Doors>);

#[derive(Debug)]
struct Doors {
    digest: String,
    arrived: Semaphore,
    open: Semaphore,
}

impl Door {
    /// For the check of the release with this digest.
    pub(crate) fn before(digest: &str) -> Self {
        Self(Arc::new(Doors {
            digest: digest.to_owned(),
            arrived: Semaphore::new(0),
            open: Semaphore::new(0),
        }))
    }

    /// Until the check stands before it.
    pub(crate) async fn arrived(&self) {
        self.0.arrived.acquire().await.unwrap().forget();
    }

    /// Lets one check pass.
    pub(crate) fn open(&self) {
        self.0.open.add_permits(1);
    }

    /// The check.
    pub(crate) fn check(&self) -> Doorman {
        Doorman(self.clone())
    }
}

/// The check that waits at a [`Door`].
#[derive(Debug)]
pub(crate) struct Doorman(Door);

#[async_trait]
impl HealthCheck for Doorman {
    fn name(&self) -> String {
        "doorman".into()
    }

    async fn check(&self, cx: &Context, probe: &Probe) -> Result<Healthy, Unhealthy> {
        let doors = &self.0.0;
        if probe.instance.release.artifact().digest != doors.digest {
            return Ok(Healthy::yes());
        }
        doors.arrived.add_permits(1);
        tokio::select! {
            permit = doors.open.acquire() => {
                permit.unwrap().forget();
                Ok(Healthy::yes())
            }
            () = cx.cancellation().cancelled() => Err(Unhealthy::new("told to stop")),
        }
    }
}

/// What ran, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    said: Notify,
}

impl Log {
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.0.lines.lock().unwrap().push(line.into());
        self.0.said.notify_waiters();
    }

    /// What was said since it was last asked.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lines.lock().unwrap())
    }

    /// Waits until this is the last thing that was said, and gives everything until then.
    pub(crate) async fn until(&self, line: &str) -> Vec<String> {
        loop {
            let said = self.0.said.notified();
            let is_last = |lines: &Vec<String>| lines.last().is_some_and(|l| l == line);
            if is_last(&self.0.lines.lock().unwrap()) {
                return self.take();
            }
            said.await;
        }
    }
}

/// A restart hook and an observer that write down what they saw.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) log: Log,
    pub(crate) on: Vec<TriggerKind>,
}

#[async_trait]
impl Restart for Logged {
    fn name(&self) -> String {
        "logged".into()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        self.on.contains(&trigger)
    }

    async fn restart(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        let to = op.to.release().map_or("nothing", |r| r.artifact().short());
        self.log.say(format!("restart {to}"));
        Ok(())
    }
}

#[async_trait]
impl Observer for Logged {
    fn runs_on(&self, trigger: TriggerKind) -> bool {
        self.on.contains(&trigger)
    }

    async fn notice(&self, notice: &Notice) {
        if let Some(event) = &notice.event
            && matches!(event.event, Event::Settled(_))
        {
            self.log.say(format!("settled {}", notice.trigger));
        }
    }
}

/// A release task that writes down that it ran.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
    pub(crate) on: Vec<TriggerKind>,
}

#[async_trait]
impl ReleaseTask for Task {
    fn name(&self) -> String {
        self.name.into()
    }

    fn runs_on(&self, trigger: TriggerKind) -> bool {
        self.on.contains(&trigger)
    }

    async fn run(&self, _: &Context, op: &Operation) -> Result<(), HookError> {
        let to = op.to.release().map_or("nothing", |r| r.artifact().short());
        self.log.say(format!("{} {to}", self.name));
        Ok(())
    }

    async fn abandon(&self, _: &Context, _: &Operation) -> Result<(), HookError> {
        Ok(())
    }
}
