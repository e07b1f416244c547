//! The facet `compose`: what the files say of a service, as far as it may be recorded.
//!
//! It is the service as compose reads it, not the file: that has other services in it, and says less
//! where variables, overrides and `extends` are at work. The image is left out, for it is the artifact;
//! so that two releases that differ in it alone have the same configuration.

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::masking::{Part, Secrets};
use serde_json::{Map, Value};

use crate::settings::PASSED_OVER;

/// The name of the facet.
pub(crate) const COMPOSE: &str = "compose";

/// Of what is passed over this says something of the running service.
const TOLD: [&str; 3] = ["container_name", "depends_on", "profiles"];

/// Where values may be secrets: a release has a fingerprint of each, in its tables.
const HIDDEN: [&str; 4] = ["command", "entrypoint", "environment", "labels"];

/// The same a level below.
const HIDDEN_BELOW: [(&str, &str); 3] = [
    ("healthcheck", "test"),
    ("logging", "options"),
    ("deploy", "labels"),
];

/// The service as text, without what may be a secret.
pub(crate) fn of(service: &Map<String, Value>) -> Result<String, BackendError> {
    let fail = || {
        let what = "what the compose file says of the service cannot be written down";
        BackendError::new(BackendErrorKind::Failed, what).untouched()
    };
    let is_told = |name: &str| {
        !name.starts_with("x-") && (!PASSED_OVER.contains(&name) || TOLD.contains(&name))
    };
    let told = service
        .iter()
        .filter(|(name, value)| is_told(name) && !value.is_null());
    let told: Map<String, Value> = told
        .map(|(name, value)| (name.clone(), known(shown(name, value))))
        .collect();
    let text = serde_norway::to_string(&Value::Object(told)).map_err(|_| fail())?;
    // A password in an address, or after a word such as `token`.
    Secrets::default()
        .mask(&text, Part::Whole)
        .map_err(|_| fail())
}

fn shown(name: &str, value: &Value) -> Value {
    if HIDDEN.contains(&name) {
        return hidden(value);
    }
    let below = HIDDEN_BELOW.iter().find(|(of, _)| *of == name);
    match (below, value) {
        (Some((_, field)), Value::Object(all)) => {
            let all = all.iter().map(|(name, value)| match name == field {
                true => (name.clone(), hidden(value)),
                false => (name.clone(), value.clone()),
            });
            Value::Object(all.collect())
        }
        (Some(_), _) => hidden(value),
        (None, _) => value.clone(),
    }
}

/// Without what is nobody's but the file's author's, at whatever depth.
fn known(value: Value) -> Value {
    match value {
        Value::Object(all) => {
            let all = all.into_iter().filter(|(name, _)| !name.starts_with("x-"));
            Value::Object(all.map(|(name, value)| (name, known(value))).collect())
        }
        Value::Array(all) => all.into_iter().map(known).collect(),
        other => other,
    }
}

/// Names are told, and how many there are of what has none.
fn hidden(value: &Value) -> Value {
    let secret = || Value::from("***");
    match value {
        Value::Object(all) => all.keys().map(|name| (name.clone(), secret())).collect(),
        Value::Array(all) => all.iter().map(|_| secret()).collect(),
        Value::Null => Value::Null,
        _ => secret(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_value_that_may_be_a_secret_is_in_the_text() {
        let service = serde_json::json!({
            "image": "shop/api:hunter0",
            "build": {"args": {"TOKEN": "hunter1"}},
            "x-note": "hunter2",
            "environment": {"TOKEN": "hunter3", "MODE": "hunter4"},
            "labels": {"key": "hunter5"},
            "command": ["serve", "--password", "hunter6"],
            "entrypoint": "run hunter7",
            "healthcheck": {"test": ["CMD", "check", "hunter8"], "interval": "5s"},
            "logging": {"driver": "splunk", "options": {"splunk-token": "hunter9"}},
            "deploy": {"labels": {"basicauth": "hunter10"}, "x-more": "hunter11"},
            "ports": [{"target": 80, "x-more": ["hunter12"]}],
            "extra_hosts": ["db:10.0.0.1"],
            "working_dir": "/srv",
            "tty": null
        });
        let text = of(service.as_object().unwrap()).unwrap();
        assert!(!text.contains("hunter"), "{text}");
        for told in [
            "TOKEN",
            "MODE",
            "interval: 5s",
            "splunk-token",
            "10.0.0.1",
            "/srv",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        assert!(!text.contains("tty"), "{text}");
    }

    #[test]
    fn another_image_alone_is_no_other_configuration() {
        let of_image = |image: &str| {
            let service = serde_json::json!({"image": image, "user": "1000"});
            of(service.as_object().unwrap()).unwrap()
        };
        assert_eq!(of_image("shop/api:v1"), of_image("shop/api:v2"));
    }
}
