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
        if generation == Generation::First
            && let Some(line) = answer.lines().find(|line| is_in_doubt(line))
        {
            let what = "compose writes a text that reads as a number, and which of them is meant \
                        is not known";
            let key = line
                .split_once(": ")
                .map_or("an entry of a list", |(key, _)| key.trim());
            return Err(BackendError::new(BackendErrorKind::Unsupported, what)
                .on(key)
                .advice("give it another value, without an exponent")
                .untouched());
        }
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

    /// Whether two files say the same of a service and of what it refers to.
    pub(crate) fn says_the_same_of(&self, service: &str, other: &Self) -> bool {
        let [own, others] = [self, other].map(|file| file.service(service));
        let refers = |kind| own.map(|own| referred(own, kind)).unwrap_or_default();
        let same =
            |(kind, name): (&str, &String)| self.said_of(kind, name) == other.said_of(kind, name);
        own == others
            && self.project() == other.project()
            && ["networks", "volumes", "secrets", "configs"]
                .into_iter()
                .all(|kind| refers(kind).iter().all(|name| same((kind, name))))
    }

    /// What is said of a network, volume, secret or configuration of the project.
    pub(crate) fn said_of(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.get(kind)?.get(name)
    }
}

/// The networks, volumes, secrets or configurations of the project that a service names.
fn referred(service: &Map<String, Value>, kind: &str) -> Vec<String> {
    match service.get(kind) {
        None if kind == "networks" => vec!["default".to_owned()],
        Some(Value::Object(all)) => all.keys().cloned().collect(),
        Some(Value::Array(all)) => {
            let names = all
                .iter()
                .filter_map(|one| one.get("source").unwrap_or(one).as_str());
            // A volume in the short form.
            let names = names.map(|name| name.split(':').next().unwrap_or(name));
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the value in this line is a text to version 1, which writes YAML 1.1, and a number to YAML
/// 1.2, as which it is read.
fn is_in_doubt(line: &str) -> bool {
    let value = line.trim().trim_start_matches("- ");
    let value = value
        .rsplit_once(": ")
        .map_or(value, |(_, value)| value)
        .trim();
    let bare = value.trim_start_matches(['-', '+']);
    if let Some(digits) = bare.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    }
    let is_number = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && bare.bytes().any(|b| b.is_ascii_digit())
        && bare.parse::<f64>().is_ok();
    is_number && (bare.contains(['e', 'E']) || (bare.len() < value.len() && bare.starts_with('.')))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_refers_to_is_compared_with_it() {
        let file = |volume: &str, other: &str, network: &str| {
            File(serde_json::json!({
                "services": {"api": {"volumes": ["data:/data"]}},
                "volumes": {"data": {"name": volume}, "other": {"name": other}},
                "networks": {"default": {"name": network}}
            }))
        };
        let read = file("a", "a", "a");
        assert!(read.says_the_same_of("api", &file("a", "b", "a")));
        assert!(!read.says_the_same_of("api", &file("b", "a", "a")));
        assert!(!read.says_the_same_of("api", &file("a", "a", "b")));
    }

    #[test]
    fn a_text_that_reads_as_a_number_is_refused() {
        let parse = |value: &str| {
            let text = format!("services:\n  api:\n    environment:\n      GIT_SHA: {value}\n");
            File::parse(&text, Generation::First).map(drop)
        };
        for value in ["12e03", "1e5", "0o17", "1.5e3", "-1E5", "-.5"] {
            assert!(parse(value).is_err(), "{value}");
        }
        for value in ["'12e03'", "12", "0.5", "e5", "1e5x", "a 1e5", "beef", "."] {
            assert!(parse(value).is_ok(), "{value}");
        }
    }
}
