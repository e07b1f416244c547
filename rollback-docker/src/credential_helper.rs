//! [`CredentialHelper`]: a program that keeps docker's credentials, as `docker login` uses it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_process::{Confided, Program};
use serde::Deserialize;

use crate::credentials::Credentials;
use crate::registry_host::RegistryHost;

/// Longest that one may take. Some ask a cloud; one that asks a person must not wait for ever.
const DEADLINE: Duration = Duration::from_secs(30);
/// What every helper says where it has nothing; docker's own client compares it, too.
const NONE: &str = "credentials not found in native keychain";
/// Who the user is where the secret is an identity token.
const TOKEN: &str = "<token>";

/// `docker-credential-<name>`, wherever it is.
pub(crate) struct CredentialHelper {
    program: String,
    path: Option<PathBuf>,
}

/// What it answers to `get`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl CredentialHelper {
    /// Looks in these directories. `None` if no program can be called so.
    pub(crate) fn find(name: &str, dirs: impl Iterator<Item = PathBuf>) -> Option<Self> {
        let is_name = !name.is_empty() && !name.contains(['/', '\0']) && name.len() <= 100;
        let program = is_name.then(|| format!("docker-credential-{name}"))?;
        let mut paths = dirs.map(|dir| dir.join(&program));
        let path = paths.find(|path| path.is_file());
        Some(Self { program, path })
    }

    /// What it has for a registry; `None` if it says that it has nothing.
    pub(crate) async fn get(
        &self,
        cx: &Context,
        host: &RegistryHost,
    ) -> Result<Option<Credentials>, BackendError> {
        let Some(path) = &self.path else {
            return Err(self
                .fails("is not installed", host)
                .advice("install it, put it in PATH, or take it out of docker's configuration"));
        };
        let run_by_hand = "run it by hand as this user, with `get`, to see what it lacks";
        let program = Program::new(path, ["get"])
            .map_err(|e| self.fails(&e.to_string(), host))?
            // Its keychain, its cloud and its home are in there.
            .inheriting()
            .input(host.server());
        let asked = program.answer_in_confidence(&cx.within(DEADLINE)).await;
        cx.check()?;
        match asked {
            Ok(Confided::Answer(said)) => {
                let answer: Answer = serde_json::from_str(&said).map_err(|_| {
                    // What is wrong with it would repeat it.
                    self.fails("answers with something else than credentials", host)
                })?;
                Ok(answer.credentials())
            }
            Ok(Confided::Refusal { said, .. }) if said.trim() == NONE => Ok(None),
            Ok(Confided::Refusal { how, .. }) => {
                let how = format!("does not give credentials ({how})");
                Err(self.fails(&how, host).advice(run_by_hand))
            }
            Err(e) => {
                let how = format!("does not give credentials ({})", e.how);
                Err(self.fails(&how, host).advice(run_by_hand))
            }
        }
    }

    fn fails(&self, how: &str, host: &RegistryHost) -> BackendError {
        BackendError::new(Kind::Unauthorized, format!("{self} {how}")).on(host)
    }
}

impl fmt::Display for CredentialHelper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential helper {}", self.program)
    }
}

impl Answer {
    fn credentials(self) -> Option<Credentials> {
        match (self.username.as_str(), self.secret.is_empty()) {
            (_, true) => None,
            (TOKEN, false) => Some(Credentials::identity_token(self.secret)),
            (user, false) => Some(Credentials::password(user, self.secret)),
        }
    }
}
