//! The daemon that docker's own client would talk to.

use std::path::PathBuf;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use super::address::Address;
use super::certificates::Certificates;
use super::{Endpoint, context};
use crate::wanted::bad;

pub(super) const SOCKET: &str = "/var/run/docker.sock";
const PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Whether TCP is with certificates.
pub(super) enum Tls {
    None,
    By(Certificates),
}

type Vars<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn of(vars: Vars<'_>) -> Result<Endpoint, BackendError> {
    let said = |name: &str| vars(name).filter(|value| !value.is_empty());
    if let Some(host) = said("DOCKER_HOST") {
        let tls = match said("DOCKER_TLS_VERIFY") {
            None => Tls::None,
            Some(_) => {
                let dir = said("DOCKER_CERT_PATH").map(PathBuf::from);
                Tls::By(Certificates::in_dir(
                    dir.map_or_else(|| config_dir(vars), Ok)?,
                ))
            }
        };
        return endpoint(&host, tls);
    }
    let Ok(dir) = config_dir(vars) else {
        return match said("DOCKER_CONTEXT") {
            Some(name) if name != "default" => {
                config_dir(vars).and_then(|dir| context::named(&dir, &name))
            }
            _ => Ok(Endpoint::unix(SOCKET)),
        };
    };
    let name = match said("DOCKER_CONTEXT") {
        Some(name) => Some(name),
        None => context::current(&dir)?,
    };
    match name {
        Some(name) => context::named(&dir, &name),
        None => Ok(Endpoint::unix(SOCKET)),
    }
}

/// Docker's configuration directory.
pub(super) fn config_dir(vars: Vars<'_>) -> Result<PathBuf, BackendError> {
    let said = |name: &str| vars(name).filter(|value| !value.is_empty());
    let dir = said("DOCKER_CONFIG").map(PathBuf::from);
    let of_home = || said("HOME").map(|home| PathBuf::from(home).join(".docker"));
    dir.or_else(of_home)
        .ok_or_else(|| bad("docker's configuration is nowhere", "HOME, DOCKER_CONFIG"))
}

/// What docker's client writes for a daemon. Never repeated as it is: somebody may have written a
/// password into it.
pub(super) fn endpoint(host: &str, tls: Tls) -> Result<Endpoint, BackendError> {
    let Some((scheme, rest)) = host.split_once("://") else {
        return Err(bad(
            "a daemon's address has no scheme",
            "DOCKER_HOST or a context",
        ));
    };
    match (scheme, tls) {
        ("unix", _) => Ok(Endpoint::unix(rest)),
        ("ssh", _) => Endpoint::ssh(rest),
        ("tcp", Tls::None) => {
            let Address { host, port } = Address::parse(rest, Some(PORT))?;
            Endpoint::tcp(&host, port)
        }
        ("tcp" | "https", Tls::By(certificates)) => {
            encrypted(Address::parse(rest, Some(TLS_PORT))?, certificates)
        }
        _ => Err(BackendError::new(
            Kind::Unsupported,
            "daemons are reached by unix, tcp (with certificates) and ssh",
        )
        .on(scheme.chars().take(20).collect::<String>())
        .untouched()),
    }
}

#[cfg(feature = "tls")]
fn encrypted(address: Address, certificates: Certificates) -> Result<Endpoint, BackendError> {
    Endpoint::tls(&address.host, address.port, certificates)
}

#[cfg(not(feature = "tls"))]
fn encrypted(_: Address, _: Certificates) -> Result<Endpoint, BackendError> {
    Err(super::dial::without_tls())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::fingerprint;

    fn from(vars: &[(&str, &str)]) -> Result<Endpoint, BackendError> {
        let vars: Vec<(String, String)> = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        of(&move |name| vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn the_environment_says_which_daemon_as_it_says_it_to_dockers_client() {
        for (host, shown) in [
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("tcp://127.0.0.1", "tcp://127.0.0.1:2375"),
            ("ssh://me@host:22", "ssh://host:22"),
        ] {
            let endpoint = from(&[("DOCKER_HOST", host), ("DOCKER_CONTEXT", "other")]).unwrap();
            assert_eq!(endpoint.to_string(), shown);
        }
        assert_eq!(from(&[]).unwrap(), Endpoint::unix(SOCKET));
        for host in [
            "tcp://10.0.0.1:2375",
            "tcp://me:hunter2@10.0.0.1:2375",
            "ssh://me:hunter2@host",
            "npipe:////./pipe/docker",
            "hunter2",
        ] {
            let e = from(&[("DOCKER_HOST", host)]).unwrap_err().to_string();
            assert!(!e.contains("hunter2"), "{e}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn certificates_are_where_docker_has_them() {
        let own = [
            ("DOCKER_HOST", "tcp://d.example"),
            ("DOCKER_TLS_VERIFY", "1"),
        ];
        let by = |dir: &str| Endpoint::tls("d.example", 2376, Certificates::in_dir(dir)).unwrap();
        let at = [("DOCKER_CERT_PATH", "/certs")];
        assert_eq!(from(&[&own[..], &at].concat()).unwrap(), by("/certs"));
        let home = [("HOME", "/home/me")];
        assert_eq!(
            from(&[&own[..], &home].concat()).unwrap(),
            by("/home/me/.docker")
        );
    }

    #[test]
    fn a_context_is_read_as_docker_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, host: &str, skips: bool| {
            let id = fingerprint::hex(&Sha256::digest(name));
            let at = dir.path().join("contexts/meta").join(id);
            fs::create_dir_all(&at).unwrap();
            let meta = serde_json::json!({
                "Name": name, "Metadata": {},
                "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skips}},
            });
            fs::write(at.join("meta.json"), meta.to_string()).unwrap();
        };
        write("far", "ssh://me@far", false);
        write("blind", "tcp://blind:2376", true);
        let config = dir.path().to_str().unwrap();
        let named = |name: &str| from(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", name)]);
        assert_eq!(named("far").unwrap(), Endpoint::ssh("me@far").unwrap());
        assert_eq!(named("blind").unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(named("none").unwrap_err().kind(), Kind::NotFound);
        let text = r#"{"currentContext":"far","auths":{}}"#;
        fs::write(dir.path().join("config.json"), text).unwrap();
        let far = from(&[("DOCKER_CONFIG", config)]).unwrap();
        assert_eq!(far, Endpoint::ssh("me@far").unwrap());
        assert_eq!(named("default").unwrap(), Endpoint::unix(SOCKET));
    }
}
