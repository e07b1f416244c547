//! The settings of a service, each as the container's.

mod fields;
mod host;
mod network;
mod port;
mod process;
mod units;
mod volume;

use rollback_core::error::BackendError;
use rollback_docker::DockerConfig;
use serde_json::{Map, Value};

use crate::file::File;
use crate::tool::Generation;
pub(crate) use fields::{Fields, unsupported};

/// What the settings of a service are read with.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    pub(crate) generation: Generation,
    pub(crate) project: &'a str,
    pub(crate) service: &'a str,
}

/// Says of no container how it is made: when, of what, and in which order.
pub(crate) const PASSED_OVER: [&str; 12] = [
    "build",
    "container_name",
    "depends_on",
    "develop",
    "env_file",
    "extends",
    "image",
    "name",
    "profiles",
    "pull_policy",
    "pull_refresh_after",
    "attach",
];

/// All of them, or the name of the first that no container can be made with.
pub(crate) fn apply(
    service: &Map<String, Value>,
    source: Source<'_>,
    config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    let mut fields = Fields::of_service(service);
    fields.pass_over(&PASSED_OVER);
    let extensions = service.keys().filter(|key| key.starts_with("x-"));
    for extension in extensions {
        fields.pass_over(&[extension.as_str()]);
    }
    let config = process::apply(&mut fields, config)?;
    let config = host::apply(&mut fields, source, config)?;
    let config = network::apply(&mut fields, source, config)?;
    let config = port::apply(&mut fields, config)?;
    let config = volume::apply(&mut fields, source, config)?;
    fields.finish()?;
    Ok(config)
}

/// What the daemon calls a network or volume of the file.
pub(crate) fn named(source: Source<'_>, kind: &str, key: &str) -> Result<String, BackendError> {
    let said = source.file.said_of(kind, key);
    let own = said.and_then(|said| said.get("name")?.as_str());
    if let Some(name) = own {
        return Ok(name.to_owned());
    }
    let external = said.and_then(|said| said.get("external"));
    match external {
        Some(Value::Bool(true)) => Ok(key.to_owned()),
        Some(Value::Object(said)) => match said.get("name") {
            Some(Value::String(name)) => Ok(name.clone()),
            _ => Err(unsupported(&format!("{kind}.{key}"))),
        },
        _ => Ok(format!("{}_{key}", source.project)),
    }
}

/// The service without what the program has said is left out: a setting, `deploy`, or an entry of one,
/// `environment.DEBUG`, `volumes./cache`.
pub(crate) fn without(service: &mut Map<String, Value>, name: &str) -> bool {
    if service.remove(name).is_some() {
        return true;
    }
    let Some((setting, entry)) = name.split_once('.') else {
        return false;
    };
    match service.get_mut(setting) {
        Some(Value::Object(all)) if all.contains_key(entry) => all.remove(entry).is_some(),
        Some(Value::Object(all)) => without(all, entry),
        Some(Value::Array(all)) => {
            let before = all.len();
            all.retain(|one| {
                let target = one.get("target").unwrap_or(one);
                let is_it = match target {
                    Value::String(text) => text == entry,
                    Value::Number(number) => number.to_string() == entry,
                    _ => false,
                };
                !is_it
            });
            all.len() < before
        }
        _ => false,
    }
}
