//! Docker's contexts: named daemons, in docker's own configuration.

use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Endpoint;
use super::certificates::Certificates;
use super::environment::{Tls, endpoint};
use crate::error;
use crate::fingerprint;

/// The one that is what there is without contexts.
const DEFAULT: &str = "default";

/// As much of a context's `meta.json` as matters.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<OfDocker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct OfDocker {
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// As much of `config.json` as matters.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    current_context: String,
}

/// Which context docker's configuration names, if it names one.
pub(super) fn current(dir: &Path) -> Result<Option<String>, BackendError> {
    let path = dir.join("config.json");
    let config = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<Config>(&bytes).map_err(|_| unreadable(&path))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(error::io(
                "cannot read docker's configuration",
                path.display(),
                e,
            ));
        }
    };
    Ok(Some(config.current_context).filter(|name| !name.is_empty() && name != DEFAULT))
}

/// The daemon of a context, in docker's configuration directory.
pub(super) fn named(dir: &Path, name: &str) -> Result<Endpoint, BackendError> {
    if name == DEFAULT {
        return Ok(Endpoint::unix(super::environment::SOCKET));
    }
    let id = fingerprint::hex(&Sha256::digest(name));
    let path = dir.join("contexts/meta").join(&id).join("meta.json");
    let meta = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<Meta>(&bytes).map_err(|_| unreadable(&path))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(
                BackendError::new(Kind::NotFound, "docker has no such context")
                    .on(name)
                    .advice("see `docker context ls`")
                    .untouched(),
            );
        }
        Err(e) => return Err(error::io("cannot read docker's context", path.display(), e)),
    };
    let docker = meta.endpoints.docker.unwrap_or_default();
    if docker.skip_tls_verify {
        let what = "the context says not to verify whom it talks to";
        return Err(BackendError::new(Kind::Unsupported, what)
            .on(name)
            .advice("make it anew with a CA, and without `skip-tls-verify`")
            .untouched());
    }
    let tls = dir.join("contexts/tls").join(&id).join("docker");
    let tls = match tls.is_dir() {
        true => Tls::By(Certificates::in_dir(tls)),
        false => Tls::None,
    };
    endpoint(&docker.host, tls)
}

fn unreadable(path: &Path) -> BackendError {
    let what = "docker's configuration cannot be read";
    BackendError::new(Kind::InvalidReference, what)
        .on(path.display())
        .untouched()
}
