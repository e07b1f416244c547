//! [`Credentials`]: what each registry is asked with.

use std::collections::BTreeMap;

use bollard::auth::DockerCredentials;

use crate::config::Secret;
use crate::reference::host_of;

/// Users and passwords by registry host. What belongs to one host is sent to no other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials(BTreeMap<String, (String, Secret)>);

impl Credentials {
    pub(crate) fn insert(&mut self, host: String, user: String, password: String) {
        self.0.insert(host, (user, Secret(password)));
    }

    /// Those for the registry that this image comes from.
    pub(crate) fn of(&self, image: &str) -> Option<DockerCredentials> {
        let (user, password) = self.0.get(&host_of(image))?;
        Some(DockerCredentials {
            username: Some(user.clone()),
            password: Some(password.0.clone()),
            ..Default::default()
        })
    }
}
