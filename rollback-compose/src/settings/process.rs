//! What is run in a container, and how.

use std::time::Duration;

use rollback_core::error::BackendError;
use rollback_docker::{DockerConfig, Healthcheck, LogDriver, RestartPolicy};
use serde_json::Value;

use super::fields::{Fields, scalar, unsupported};
use super::units;

pub(super) fn apply(
    fields: &mut Fields,
    mut config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    if let Some(argv) = fields.argv("command")? {
        config = config.command(argv);
    }
    if let Some(argv) = fields.argv("entrypoint")? {
        config = config.entrypoint(argv);
    }
    for (name, value) in fields.pairs("environment")? {
        config = config.env(name, value);
    }
    for (name, value) in fields.pairs("labels")? {
        config = config.label(&name, value);
    }
    if let Some(user) = fields.text("user")? {
        config = config.user(user);
    }
    if let Some(dir) = fields.text("working_dir")? {
        config = config.working_dir(dir);
    }
    if let Some(name) = fields.text("hostname")? {
        config = config.hostname(&name);
    }
    for (field, name) in [("domainname", "Domainname"), ("stop_signal", "StopSignal")] {
        if let Some(text) = fields.text(field)? {
            config = config.container_config(name, &text);
        }
    }
    for (field, name) in [("tty", "Tty"), ("stdin_open", "OpenStdin")] {
        if let Some(is) = fields.flag(field)? {
            config = config.container_config(name, &is);
        }
    }
    if let Some(grace) = time(fields, "stop_grace_period")? {
        // Docker counts in whole seconds.
        if grace.subsec_nanos() != 0 {
            return Err(unsupported("stop_grace_period"));
        }
        config = config.stop_timeout(grace);
    }
    if let Some(policy) = fields.text("restart")? {
        config = config.restart(restart(&policy).ok_or_else(|| unsupported("restart"))?);
    }
    if let Some(check) = fields.part("healthcheck")? {
        config = config.healthcheck(&healthcheck(check)?);
    }
    if let Some(mut logging) = fields.part("logging")? {
        let driver = logging.text("driver")?.unwrap_or_default();
        let mut log = LogDriver::new(driver);
        for (name, value) in logging.pairs("options")? {
            log = log.option(name, value);
        }
        logging.finish()?;
        config = config.log_driver(&log);
    }
    Ok(config)
}

pub(super) fn restart(policy: &str) -> Option<RestartPolicy> {
    Some(match policy {
        // YAML's `no` is a word for false.
        "no" | "false" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure(0),
        other => RestartPolicy::OnFailure(other.strip_prefix("on-failure:")?.parse().ok()?),
    })
}

fn time(fields: &mut Fields, field: &str) -> Result<Option<Duration>, BackendError> {
    let path = fields.path(field);
    let text = fields.text(field)?;
    let parsed = text.map(|text| units::duration(&text).ok_or_else(|| unsupported(&path)));
    parsed.transpose()
}

fn healthcheck(mut said: Fields) -> Result<Healthcheck, BackendError> {
    let path = said.path("test");
    let mut check = match (said.flag("disable")?, said.take("test")) {
        (Some(true), _) => Healthcheck::none(),
        (_, Some(Value::Array(test))) => {
            let test = test.iter().map(|word| scalar(&path, word));
            let mut test = test.collect::<Result<Vec<_>, _>>()?;
            match test.first().map(String::as_str) {
                Some("NONE") => Healthcheck::none(),
                Some("CMD") => Healthcheck::new(test.drain(1..)),
                Some("CMD-SHELL") if test.len() == 2 => Healthcheck::shell(test.remove(1)),
                _ => return Err(unsupported(&path)),
            }
        }
        (_, Some(line)) => Healthcheck::shell(scalar(&path, &line)?),
        // Of the image's own, with other times: dockerd takes that, but a release cannot say it.
        (_, None) => return Err(unsupported("healthcheck without a test")),
    };
    let zero = |time: Option<Duration>| time.unwrap_or(Duration::ZERO);
    check = check
        .interval(zero(time(&mut said, "interval")?))
        .timeout(zero(time(&mut said, "timeout")?))
        .start_period(zero(time(&mut said, "start_period")?))
        .start_interval(zero(time(&mut said, "start_interval")?));
    let retries = said.number("retries")?.unwrap_or(0);
    let retries = u32::try_from(retries).map_err(|_| unsupported(&said.path("retries")))?;
    said.finish()?;
    Ok(check.retries(retries))
}
