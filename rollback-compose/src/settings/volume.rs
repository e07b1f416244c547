//! Directories, volumes and files that are mounted.

use std::collections::BTreeMap;
use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_docker::DockerConfig;
use serde_json::Value;

use super::fields::{Fields, scalar, unsupported};
use super::{Source, named};
use crate::tool::Generation;

pub(super) fn apply(
    fields: &mut Fields,
    source: Source<'_>,
    mut config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    let mut in_memory = BTreeMap::new();
    for text in fields.list("tmpfs")? {
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        in_memory.insert(path.to_owned(), options.to_owned());
    }
    for volume in fields.items("volumes")? {
        let said = match volume {
            Value::Object(_) => Fields::at("volumes".to_owned(), volume)?,
            text => {
                config = short(&scalar("volumes", &text)?, source, config)?;
                continue;
            }
        };
        config = long(said, source, config, &mut in_memory)?;
    }
    if !in_memory.is_empty() {
        config = config.host_config("Tmpfs", &in_memory);
    }
    for secret in fields.items("secrets")? {
        config = mounted(secret, "secrets", "/run/secrets/", source, config)?;
    }
    // Version 1 passes over them with a warning.
    if source.generation == Generation::Second {
        for file in fields.items("configs")? {
            config = mounted(file, "configs", "/", source, config)?;
        }
    }
    Ok(config)
}

/// `source:target[:options]`.
fn short(
    text: &str,
    source: Source<'_>,
    config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    let mut parts = text.splitn(3, ':');
    let (Some(from), Some(target)) = (parts.next(), parts.next()) else {
        return Err(nameless(text));
    };
    let mode = parts.next().filter(|mode| *mode != "rw");
    let from = match from.starts_with('/') {
        true => from.to_owned(),
        false => named(source, "volumes", from)?,
    };
    Ok(bind(config, &from, target, mode.unwrap_or_default()))
}

fn bind(config: DockerConfig, from: &str, target: &str, mode: &str) -> DockerConfig {
    match mode {
        "" => config.bind(from, target),
        mode => config.bind(format!("{from}:{mode}"), target),
    }
}

fn long(
    mut said: Fields,
    source: Source<'_>,
    config: DockerConfig,
    in_memory: &mut BTreeMap<String, String>,
) -> Result<DockerConfig, BackendError> {
    let kind = said.text("type")?.unwrap_or_default();
    let target = said.text("target")?;
    let target = target.ok_or_else(|| unsupported("volumes.target"))?;
    let from = said.text("source")?;
    let mut mode = Vec::new();
    if said.flag("read_only")? == Some(true) {
        mode.push("ro".to_owned());
    }
    // What macOS made of it.
    said.pass_over(&["consistency"]);
    let config = match (kind.as_str(), from) {
        ("tmpfs", None) => {
            let mut options = Vec::new();
            if let Some(mut tmpfs) = said.part("tmpfs")? {
                options.extend(tmpfs.text("size")?.map(|size| format!("size={size}")));
                // A number to compose, and octal digits to the kernel.
                if let Some(mode) = tmpfs.number("mode")? {
                    options.push(format!("mode={mode:o}"));
                }
                tmpfs.finish()?;
            }
            options.extend(mode);
            in_memory.insert(target, options.join(","));
            config
        }
        ("volume", None) => return Err(nameless(&target)),
        ("volume", Some(from)) => {
            if let Some(mut volume) = said.part("volume")? {
                mode.extend(
                    volume
                        .flag("nocopy")?
                        .filter(|is| *is)
                        .map(|_| "nocopy".into()),
                );
                volume.finish()?;
            }
            let from = named(source, "volumes", &from)?;
            bind(config, &from, &target, &mode.join(","))
        }
        ("bind", Some(from)) => {
            let mut made = false;
            if let Some(mut options) = said.part("bind")? {
                made = options.flag("create_host_path")?.unwrap_or(false);
                mode.extend(options.text("propagation")?);
                mode.extend(options.text("selinux")?);
                options.finish()?;
            }
            // docker would make it; compose was told not to.
            if !made && !Path::new(&from).exists() {
                return Err(missing(&from));
            }
            bind(config, &from, &target, &mode.join(","))
        }
        _ => return Err(unsupported("volumes.type")),
    };
    said.finish()?;
    Ok(config)
}

/// A secret or configuration that is a file of the host.
fn mounted(
    item: Value,
    kind: &str,
    under: &str,
    source: Source<'_>,
    config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    let mut said = match item {
        Value::Object(_) => Fields::at(kind.to_owned(), item)?,
        name => Fields::at(kind.to_owned(), serde_json::json!({ "source": name }))?,
    };
    let name = said.text("source")?.unwrap_or_default();
    let target = said.text("target")?.unwrap_or_else(|| name.clone());
    // Who it belongs to, and what may be done with it, docker cannot say of a file that is mounted.
    said.finish()?;
    let about = source.file.said_of(kind, &name);
    let file = about.and_then(|about| about.get("file")?.as_str());
    let file = file.ok_or_else(|| unsupported(&format!("{kind}.{name}")))?;
    if !Path::new(file).exists() {
        return Err(missing(file));
    }
    let target = match target.starts_with('/') {
        true => target,
        false => format!("{under}{target}"),
    };
    Ok(config.bind_read_only(file, &target))
}

/// docker would make a directory of it.
fn missing(path: &str) -> BackendError {
    let what = "the directory or file that is to be mounted does not exist";
    BackendError::new(BackendErrorKind::NotFound, what)
        .on(path)
        .untouched()
}

/// What is in it would be left behind by the next deployment.
fn nameless(target: &str) -> BackendError {
    let target = target.trim();
    BackendError::new(
        BackendErrorKind::Unsupported,
        "a volume without a name stays with the container that it was made for: the next deployment \
         would not have what is in it",
    )
    .on(format!("volumes.{target}"))
    .advice("give the volume a name, or say that it is left out (`without`)")
    .untouched()
}
