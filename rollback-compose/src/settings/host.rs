//! What a container is allowed, and what of the host it shares.

use rollback_core::error::BackendError;
use rollback_docker::{DockerConfig, Platform};
use serde_json::{Map, Value};

use super::fields::{Fields, scalar, unsupported};
use super::{Source, process, units};
use crate::tool::Generation;

/// Texts that dockerd's API takes as they are.
const TEXTS: [(&str, &str); 7] = [
    ("cgroup", "CgroupnsMode"),
    ("cgroup_parent", "CgroupParent"),
    ("cpuset", "CpusetCpus"),
    ("ipc", "IpcMode"),
    ("pid", "PidMode"),
    ("runtime", "Runtime"),
    ("userns_mode", "UsernsMode"),
];

const FLAGS: [(&str, &str); 4] = [
    ("init", "Init"),
    ("oom_kill_disable", "OomKillDisable"),
    ("privileged", "Privileged"),
    ("read_only", "ReadonlyRootfs"),
];

const NUMBERS: [(&str, &str); 4] = [
    ("cpu_period", "CpuPeriod"),
    ("mem_swappiness", "MemorySwappiness"),
    ("oom_score_adj", "OomScoreAdj"),
    ("cpu_rt_runtime", "CpuRealtimeRuntime"),
];

const LISTS: [(&str, &str); 6] = [
    ("device_cgroup_rules", "DeviceCgroupRules"),
    ("dns", "Dns"),
    ("dns_opt", "DnsOptions"),
    ("dns_search", "DnsSearch"),
    ("group_add", "GroupAdd"),
    ("security_opt", "SecurityOpt"),
];

pub(super) fn apply(
    fields: &mut Fields,
    source: Source<'_>,
    mut config: DockerConfig,
) -> Result<DockerConfig, BackendError> {
    for (field, name) in TEXTS {
        if let Some(text) = fields.text(field)? {
            // Another service's: its container is not known, and changes.
            if text.starts_with("service:") {
                return Err(unsupported(field));
            }
            config = config.host_config(name, &text);
        }
    }
    for (field, name) in FLAGS {
        if let Some(is) = fields.flag(field)? {
            config = config.host_config(name, &is);
        }
    }
    for (field, name) in NUMBERS {
        if let Some(number) = fields.number(field)? {
            config = config.host_config(name, &number);
        }
    }
    for (field, name) in LISTS {
        let list = fields.list(field)?;
        // A profile is a file, which compose would read.
        let is_file = |text: &String| {
            text.starts_with("seccomp") && !text.ends_with("unconfined") && field == "security_opt"
        };
        if list.iter().any(is_file) {
            return Err(unsupported(field));
        }
        if !list.is_empty() {
            config = config.host_config(name, &list);
        }
    }
    let hosts = extra_hosts(fields)?;
    if !hosts.is_empty() {
        config = config.host_config("ExtraHosts", &hosts);
    }
    for (field, name) in [
        ("mem_reservation", "MemoryReservation"),
        ("memswap_limit", "MemorySwap"),
    ] {
        if let Some(text) = fields.text(field)? {
            let bytes = match text.as_str() {
                "-1" => Some(-1),
                text => units::bytes(text).and_then(|bytes| i64::try_from(bytes).ok()),
            };
            config = config.host_config(name, &bytes.ok_or_else(|| unsupported(field))?);
        }
    }
    if let Some(bytes) = size(fields, "mem_limit")? {
        config = config.memory(bytes);
    }
    if let Some(bytes) = size(fields, "shm_size")? {
        config = config.shm_size(bytes);
    }
    if let Some(cpus) = fields.text("cpus")? {
        config = config.millicpus(cpu(&cpus, "cpus")?);
    }
    if let Some(shares) = positive(fields, "cpu_shares")? {
        config = config.cpu_shares(shares);
    }
    if let Some(quota) = positive(fields, "cpu_quota")? {
        config = config.cpu_quota(quota);
    }
    if let Some(most) = positive(fields, "pids_limit")? {
        config = config.pids_limit(most);
    }
    for (name, value) in fields.pairs("sysctls")? {
        config = config.sysctl(name, value);
    }
    for (name, limit) in fields.entries("ulimits")? {
        let path = format!("ulimits.{name}");
        let text = match &limit {
            Value::Object(both) => {
                let of = |which| both.get(which).map(|n| scalar(&path, n));
                match (of("soft"), of("hard")) {
                    (Some(soft), Some(hard)) => format!("{name}={}:{}", soft?, hard?),
                    _ => return Err(unsupported(&path)),
                }
            }
            one => format!("{name}={}", scalar(&path, one)?),
        };
        config = config.ulimit(&text.parse()?);
    }
    for name in fields.list("cap_add")? {
        config = config.cap_add(&name.parse()?);
    }
    for name in fields.list("cap_drop")? {
        config = config.cap_drop(&name.parse()?);
    }
    for device in fields.items("devices")? {
        let text = match &device {
            Value::Object(device) => of_parts(device, &["source", "target", "permissions"])?,
            text => scalar("devices", text)?,
        };
        config = config.device(&text.parse()?);
    }
    if let Some(platform) = fields.text("platform")? {
        config = config.platform(&platform.parse::<Platform>()?);
    }
    one(fields, "scale")?;
    if source.generation == Generation::Second
        && let Some(deploy) = fields.part("deploy")?
    {
        config = deployed(deploy, config)?;
    }
    Ok(config)
}

/// `name:address`; from version 2 on compose writes `name=address`.
fn extra_hosts(fields: &mut Fields) -> Result<Vec<String>, BackendError> {
    let path = fields.path("extra_hosts");
    Ok(match fields.take("extra_hosts") {
        None => Vec::new(),
        Some(Value::Object(all)) => {
            let mut out = Vec::new();
            for (name, at) in all {
                let at = match &at {
                    Value::Array(all) => all.clone(),
                    one => vec![one.clone()],
                };
                for at in &at {
                    out.push(format!("{name}:{}", scalar(&path, at)?));
                }
            }
            out
        }
        Some(Value::Array(all)) => {
            let all = all.iter().map(|one| scalar(&path, one));
            all.map(|text| text.map(|text| text.replacen('=', ":", 1)))
                .collect::<Result<_, _>>()?
        }
        Some(_) => return Err(unsupported(&path)),
    })
}

fn of_parts(map: &Map<String, Value>, parts: &[&str]) -> Result<String, BackendError> {
    if map.keys().any(|key| !parts.contains(&key.as_str())) {
        return Err(unsupported("devices"));
    }
    let said = parts.iter().filter_map(|part| map.get(*part));
    let said = said.map(|one| scalar("devices", one));
    Ok(said.collect::<Result<Vec<_>, _>>()?.join(":"))
}

fn size(fields: &mut Fields, field: &str) -> Result<Option<u64>, BackendError> {
    let path = fields.path(field);
    let text = fields.text(field)?;
    let parsed = text.map(|text| units::bytes(&text).ok_or_else(|| unsupported(&path)));
    Ok(parsed.transpose()?.filter(|bytes| *bytes > 0))
}

fn cpu(text: &str, path: &str) -> Result<u32, BackendError> {
    units::millicpus(text).ok_or_else(|| unsupported(path))
}

/// A number above zero; what is not says that there is no limit.
fn positive(fields: &mut Fields, field: &str) -> Result<Option<u32>, BackendError> {
    let path = fields.path(field);
    let number = fields.number(field)?.filter(|number| *number > 0);
    let number = number.map(|n| u32::try_from(n).map_err(|_| unsupported(&path)));
    number.transpose()
}

/// Only one container is replaced.
fn one(fields: &mut Fields, field: &str) -> Result<(), BackendError> {
    let path = fields.path(field);
    match fields.number(field)? {
        None | Some(1) => Ok(()),
        Some(_) => Err(unsupported(&path)),
    }
}

/// What compose takes of `deploy` from version 2 on. Version 1 passes over it with a warning: whoever
/// wrote it meant it.
fn deployed(mut deploy: Fields, mut config: DockerConfig) -> Result<DockerConfig, BackendError> {
    one(&mut deploy, "replicas")?;
    deploy.pass_over(&["labels", "placement", "update_config", "rollback_config"]);
    if let Some(mut resources) = deploy.part("resources")? {
        if let Some(mut limits) = resources.part("limits")? {
            if let Some(bytes) = size(&mut limits, "memory")? {
                config = config.memory(bytes);
            }
            if let Some(cpus) = limits.text("cpus")? {
                config = config.millicpus(cpu(&cpus, "deploy.resources.limits.cpus")?);
            }
            if let Some(most) = positive(&mut limits, "pids")? {
                config = config.pids_limit(most);
            }
            limits.finish()?;
        }
        if let Some(mut reservations) = resources.part("reservations")? {
            if let Some(bytes) = size(&mut reservations, "memory")? {
                config = config.host_config("MemoryReservation", &bytes);
            }
            // Docker keeps no CPU back for a single container.
            reservations.pass_over(&["cpus"]);
            reservations.finish()?;
        }
        resources.finish()?;
    }
    if let Some(mut policy) = deploy.part("restart_policy")? {
        let path = policy.path("condition");
        let attempts = policy.number("max_attempts")?.unwrap_or(0);
        policy.pass_over(&["delay", "window"]);
        let policy_is = match policy.text("condition")?.as_deref() {
            None | Some("any") => "always".to_owned(),
            Some("none") => "no".to_owned(),
            Some("on-failure") => format!("on-failure:{attempts}"),
            Some(_) => return Err(unsupported(&path)),
        };
        policy.finish()?;
        config = config.restart(process::restart(&policy_is).ok_or_else(|| unsupported(&path))?);
    }
    deploy.finish()?;
    Ok(config)
}
