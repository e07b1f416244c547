//! What a program is told in its environment.

use std::ffi::OsString;
use std::path::Path;

use rollback_core::backend::Operation;
use rollback_core::health::{Probe, Site};

use crate::engine::Engine;

/// A variable's name and value.
pub(crate) type Variable = (String, OsString);

/// The variable that tells a program, and us, which deployment it runs for.
pub(crate) const DEPLOYMENT: &str = "ROLLBACK_DEPLOYMENT";
/// The variable that tells us which process ran it: `<pid>:<when it began>`.
pub(crate) const ENGINE: &str = "ROLLBACK_ENGINE";

/// Of the deployment that it is run for, and of where the release is.
pub(crate) fn of_operation(op: &Operation, release: Option<&Path>) -> Vec<Variable> {
    let mut told = vec![
        variable("ROLLBACK_WORKLOAD", op.workload.to_string()),
        variable(DEPLOYMENT, op.deployment.to_string()),
        variable(ENGINE, Engine::this().mark()),
    ];
    if let Some(release) = op.to.release() {
        told.push(variable("ROLLBACK_ARTIFACT", &release.artifact().digest));
    }
    if let Some(instance) = op.to.instance() {
        told.push(variable("ROLLBACK_HANDLE", instance.handle.as_str()));
    }
    if let Some(dir) = release {
        told.push(variable("ROLLBACK_RELEASE_DIR", dir));
    }
    told
}

/// Of the instance that it is to look at.
pub(crate) fn of_probe(probe: &Probe) -> Vec<Variable> {
    let site = match probe.site {
        Site::Live => "live",
        Site::Beside => "beside",
    };
    let instance = &probe.instance;
    let mut told = vec![
        variable("ROLLBACK_WORKLOAD", probe.workload.to_string()),
        variable("ROLLBACK_SITE", site),
        variable("ROLLBACK_ARTIFACT", &instance.release.artifact().digest),
        variable("ROLLBACK_HANDLE", instance.handle.as_str()),
    ];
    if let Some(only) = probe.addresses.of(None) {
        told.push(variable("ROLLBACK_ADDRESS", only.to_string()));
    }
    for (port, address) in probe.addresses.iter() {
        let name = format!("ROLLBACK_ADDRESS_{}", in_capitals(port));
        told.push((name, address.to_string().into()));
    }
    told
}

fn variable(name: &str, value: impl Into<OsString>) -> Variable {
    (name.to_owned(), value.into())
}

/// A port's name as a part of a variable's.
fn in_capitals(port: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    port.chars().map(letter).collect()
}
