//! [`File`]: what compose makes of its files, as a tree.

use rollback_core::error::{BackendError, BackendErrorKind};
use serde_json::{Map, Value};

use crate::tool::Generation;

/// The files as compose reads them, in one. It has every value that they have: no `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) struct File(Value);

impl File {
    /// Reads compose's answer.
    pub(crate) fn parse(answer: &str, generation: Generation) -> Result<Self, BackendError> {
        // Not with the error itself: it may repeat a value.
        let other = || {
            let what = "what compose says of its files is not understood";
            BackendError::new(BackendErrorKind::Unsupported, what).untouched()
        };
        let tree: Option<Value> = match generation {
            Generation::First => serde_norway::from_str(answer).ok(),
            Generation::Second => serde_json::from_str(answer).ok(),
        };
        let tree = tree.filter(Value::is_object).ok_or_else(other)?;
        Ok(Self(single(tree)))
    }

    /// The version that the first file says it is of.
    pub(crate) fn version(&self) -> Option<&str> {
        self.0.get("version")?.as_str()
    }

    /// The project's name, where compose says it.
    pub(crate) fn project(&self) -> Option<&str> {
        self.0.get("name")?.as_str()
    }

    pub(crate) fn services(&self) -> Vec<&str> {
        self.keys("services")
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get("services")?.get(name)?.as_object()
    }

    /// The networks, volumes, secrets or configurations that the project has.
    pub(crate) fn keys(&self, kind: &str) -> Vec<&str> {
        let all = self.0.get(kind).and_then(Value::as_object);
        all.into_iter().flatten().map(|(k, _)| k.as_str()).collect()
    }

    /// What is said of a network, volume, secret or configuration of the project.
    pub(crate) fn said_of(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.get(kind)?.get(name)
    }
}

/// A dollar is written twice in what compose prints.
fn single(tree: Value) -> Value {
    let one = |text: String| text.replace("$$", "$");
    match tree {
        Value::String(text) => Value::String(one(text)),
        Value::Array(all) => all.into_iter().map(single).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(k, v)| (one(k), single(v))).collect())
        }
        other => other,
    }
}
