//! [`DockerConfigFile`]: the credentials that `docker login` left.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use serde::Deserialize;

use crate::credential_helper::CredentialHelper;
use crate::credentials::{Credentials, CredentialsProvider};
use crate::error;
use crate::registry_host::RegistryHost;

/// Docker's own `config.json`: what `docker login` wrote there (`auths`), and the helpers that it names
/// (`credHelpers` for one registry, `credsStore` for all others). As docker's client does, a helper that
/// is named for a registry is asked in place of `auths`. The file is read each time, so that a login is
/// seen without a restart; where there is none, nothing is known of any registry.
///
/// A helper is run without a shell, with this process's environment, and is ended after 30 s. One that
/// says that it has nothing is no error; one that is missing, or fails, is.
#[derive(Debug, Clone, Default)]
pub struct DockerConfigFile {
    path: Option<PathBuf>,
    helpers: Vec<PathBuf>,
}

/// As much of the file as matters. Never shown.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Contents {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl DockerConfigFile {
    /// The one of the user that this process runs as: in `DOCKER_CONFIG`, or else in `~/.docker`.
    pub fn of_user() -> Self {
        Self::default()
    }

    /// This file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into()),
            ..Self::default()
        }
    }

    /// Looks for helpers in this directory, too, before `PATH`: that of a service is often short.
    #[must_use]
    pub fn helpers_in(mut self, dir: impl Into<PathBuf>) -> Self {
        self.helpers.push(dir.into());
        self
    }

    async fn read(&self) -> Result<Option<Contents>, BackendError> {
        let Some(path) = self.path.clone().or_else(|| of(env::var_os)) else {
            return Ok(None);
        };
        let fail = |e| error::io("cannot read docker's configuration", path.display(), e);
        let read = tokio::task::spawn_blocking({
            let path = path.clone();
            move || std::fs::read(path)
        });
        match read.await.map_err(|e| fail(io::Error::other(e)))? {
            Ok(bytes) => parse(&bytes, &path).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fail(e)),
        }
    }

    fn helper_dirs(&self) -> impl Iterator<Item = PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = env::split_paths(&path).collect();
        self.helpers.clone().into_iter().chain(path)
    }
}

#[async_trait]
impl CredentialsProvider for DockerConfigFile {
    async fn credentials(
        &self,
        cx: &Context,
        host: &RegistryHost,
    ) -> Result<Option<Credentials>, BackendError> {
        let Some(contents) = self.read().await? else {
            return Ok(None);
        };
        let own = entry(&contents.cred_helpers, host).filter(|name| !name.is_empty());
        let all = Some(&contents.creds_store).filter(|name| !name.is_empty());
        if let Some(name) = own.or(all) {
            let helper = CredentialHelper::find(name, self.helper_dirs()).ok_or_else(|| {
                let what = "docker's configuration names a credential helper that cannot be one";
                BackendError::new(Kind::Unauthorized, what).on(host)
            })?;
            return helper.get(cx, host).await;
        }
        match entry(&contents.auths, host) {
            Some(auth) => auth.credentials(host),
            None => Ok(None),
        }
    }
}

impl Auth {
    fn credentials(&self, host: &RegistryHost) -> Result<Option<Credentials>, BackendError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::identity_token(&self.identitytoken)));
        }
        if self.auth.is_empty() {
            let named = !self.username.is_empty();
            return Ok(named.then(|| Credentials::password(&self.username, &self.password)));
        }
        let bad = || {
            let what = "what docker's configuration has for a registry is no user and password";
            BackendError::new(Kind::Unauthorized, what)
                .on(host)
                .advice("log in again: `docker login`")
        };
        let decoded = STANDARD.decode(&self.auth).map_err(|_| bad())?;
        let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
        let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
        // Old clients padded it with these.
        let password = password.trim_matches('\0');
        Ok(Some(Credentials::password(user, password)))
    }
}

/// What is written for a host: under its name as docker writes it, or else as people do.
fn entry<'a, T>(all: &'a BTreeMap<String, T>, host: &RegistryHost) -> Option<&'a T> {
    let same = |written: &str| {
        written
            .parse()
            .is_ok_and(|written: RegistryHost| written == *host)
    };
    let mut others = all.iter().filter(|(written, _)| same(written));
    all.get(host.server())
        .or_else(|| others.next().map(|(_, found)| found))
}

fn parse(bytes: &[u8], path: &Path) -> Result<Contents, BackendError> {
    serde_json::from_slice(bytes).map_err(|e| {
        // Not the error itself: it may repeat what is secret.
        let place = format!(
            "{}, line {}, column {}",
            path.display(),
            e.line(),
            e.column()
        );
        BackendError::new(
            Kind::Unauthorized,
            "docker's configuration is not what docker writes",
        )
        .on(place)
    })
}

/// Where a user's is.
fn of(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    let given = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let dir = given("DOCKER_CONFIG").or_else(|| Some(given("HOME")?.join(".docker")))?;
    Some(dir.join("config.json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_users_file_is_where_docker_looks_for_it() {
        let of = |set: &[(&str, &str)]| {
            of(|name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).into())
            })
        };
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(of(&[("HOME", "/h")]), at("/h/.docker/config.json"));
        assert_eq!(
            of(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")]),
            at("/d/config.json")
        );
        assert_eq!(
            of(&[("HOME", "/h"), ("DOCKER_CONFIG", "")]),
            at("/h/.docker/config.json")
        );
        assert_eq!(of(&[]), None);
    }

    #[tokio::test]
    async fn what_docker_login_wrote_is_read_as_docker_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let known = async |host: &str| {
            let cx = Context::new(std::time::Duration::from_secs(10));
            let host = host.parse().unwrap();
            DockerConfigFile::at(&path).credentials(&cx, &host).await
        };
        assert_eq!(known("docker.io").await.unwrap(), None, "there is no file");
        let basic = |text: &str| STANDARD.encode(text);
        let text = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": basic("me:a:b")},
            "https://Old.example/v2/": {"auth": basic("you:c\0\0")},
            "r.example:5000": {"auth": basic("not:this"), "identitytoken": "t"},
            "plain.example": {"username": "u", "password": "p"},
            "empty.example": {},
            "bad.example": {"auth": "hunter2"},
        }, "HttpHeaders": {"x": "y"}});
        std::fs::write(&path, text.to_string()).unwrap();
        let password = |user: &str, password: &str| Some(Credentials::password(user, password));
        for (host, expected) in [
            ("docker.io", password("me", "a:b")),
            ("old.example", password("you", "c")),
            ("r.example:5000", Some(Credentials::identity_token("t"))),
            ("r.example", None),
            ("plain.example", password("u", "p")),
            ("empty.example", None),
            ("other.example", None),
        ] {
            assert!(known(host).await.unwrap() == expected, "{host}");
        }
        let e = known("bad.example").await.unwrap_err();
        assert_eq!(e.kind(), Kind::Unauthorized);
        assert!(!format!("{e} {e:?}").contains("hunter2"));
        std::fs::write(&path, r#"{"auths": {"a.example": "hunter2"}}"#).unwrap();
        let e = known("a.example").await.unwrap_err();
        assert!(e.to_string().contains("line 1"), "{e}");
        assert!(!format!("{e} {e:?}").contains("hunter2"), "{e:?}");
    }
}
