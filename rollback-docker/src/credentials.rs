//! [`CredentialsProvider`]: what a registry is asked with, and who knows it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use rollback_core::context::Context;
use rollback_core::error::BackendError;

use crate::config::Secret;
use crate::registry_host::RegistryHost;

/// Who one registry is asked as. `Debug` shows none of it; no record, log or error has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Login);

#[derive(Clone, PartialEq, Eq)]
enum Login {
    Password { user: String, password: Secret },
    Identity(Secret),
}

impl Credentials {
    /// A user and a password, or a token that the registry takes for one.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Login::Password {
            user: user.into(),
            password: Secret(password.into()),
        })
    }

    /// An identity token, for which the registry gives others that last shorter.
    pub fn identity_token(token: impl Into<String>) -> Self {
        Self(Login::Identity(Secret(token.into())))
    }

    /// As dockerd takes them for a registry.
    fn at(self, host: &RegistryHost) -> DockerCredentials {
        let bare = DockerCredentials {
            serveraddress: Some(host.server().to_owned()),
            ..Default::default()
        };
        match self.0 {
            Login::Password { user, password } => DockerCredentials {
                username: Some(user),
                password: Some(password.0),
                ..bare
            },
            Login::Identity(token) => DockerCredentials {
                identitytoken: Some(token.0),
                ..bare
            },
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Knows what registries are asked with: a vault, a cloud's token service, or docker's own
/// [configuration](crate::DockerConfigFile).
///
/// It is asked each time that a registry is about to be, so that what has been renewed meanwhile is
/// used, and for one host: what it gives is sent there and nowhere else.
#[async_trait]
pub trait CredentialsProvider: fmt::Debug + Send + Sync {
    /// What this registry is asked with; `None` if this provider knows nothing of it, and the next
    /// one is asked, or the registry without any. Ends within the context's deadline.
    ///
    /// # Errors
    ///
    /// The provider does not work, and it is not known whether there are any: the registry is then
    /// not asked. The error has no secret in it;
    /// [`Unauthorized`](rollback_core::error::BackendErrorKind::Unauthorized) is a fitting kind.
    async fn credentials(
        &self,
        cx: &Context,
        host: &RegistryHost,
    ) -> Result<Option<Credentials>, BackendError>;
}

/// Credentials that are known when a program starts, by registry.
#[derive(Debug, Clone, Default)]
pub struct StaticCredentials(std::collections::BTreeMap<RegistryHost, Credentials>);

impl StaticCredentials {
    /// These for this registry, in place of what there was for it.
    #[must_use]
    pub fn with(mut self, host: RegistryHost, credentials: Credentials) -> Self {
        self.0.insert(host, credentials);
        self
    }
}

#[async_trait]
impl CredentialsProvider for StaticCredentials {
    async fn credentials(
        &self,
        _cx: &Context,
        host: &RegistryHost,
    ) -> Result<Option<Credentials>, BackendError> {
        Ok(self.0.get(host).cloned())
    }
}

/// All that a configuration asks for credentials: its own first, then each provider in turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logins {
    fixed: StaticCredentials,
    providers: Vec<Arc<dyn CredentialsProvider>>,
}

impl Logins {
    pub(crate) fn insert(&mut self, host: RegistryHost, user: String, password: String) {
        let credentials = Credentials::password(user, password);
        self.fixed.0.insert(host, credentials);
    }

    pub(crate) fn ask(&mut self, provider: impl CredentialsProvider + 'static) {
        self.providers.push(Arc::new(provider));
    }

    /// Whether there may be some for a registry: what a provider has it says when it is asked.
    pub(crate) fn may_have(&self, host: &RegistryHost) -> bool {
        !self.providers.is_empty() || self.fixed.0.contains_key(host)
    }

    /// Those for the registry that this image comes from.
    pub(crate) async fn of(
        &self,
        cx: &Context,
        image: &str,
    ) -> Result<Option<DockerCredentials>, BackendError> {
        let host = RegistryHost::of(image);
        if let Some(fixed) = self.fixed.0.get(&host) {
            return Ok(Some(fixed.clone().at(&host)));
        }
        for provider in &self.providers {
            if let Some(found) = provider.credentials(cx, &host).await? {
                return Ok(Some(found.at(&host)));
            }
        }
        Ok(None)
    }
}
