//! [`Fields`]: a part of the file, of which each field is taken once, and what nobody took is refused.

use std::collections::BTreeMap;

use rollback_core::error::{BackendError, BackendErrorKind};
use serde_json::{Map, Value};

/// The fields of a part of the file. It has their values: no `Debug`.
pub(crate) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Those of a service.
    pub(crate) fn of_service(map: &Map<String, Value>) -> Self {
        Self {
            path: String::new(),
            map: map.clone(),
        }
    }

    /// Those of an entry of the part at this path.
    pub(crate) fn at(path: String, value: Value) -> Result<Self, BackendError> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            Value::Null => Ok(Self {
                path,
                map: Map::new(),
            }),
            _ => Err(unsupported(&path)),
        }
    }

    pub(crate) fn path(&self, field: &str) -> String {
        match self.path.as_str() {
            "" => field.to_owned(),
            path => format!("{path}.{field}"),
        }
    }

    /// A field's value; `None` where it says nothing.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| match value {
            Value::Null => false,
            Value::Array(all) => !all.is_empty(),
            Value::Object(all) => !all.is_empty(),
            _ => true,
        })
    }

    /// Of no effect on a container.
    pub(crate) fn pass_over(&mut self, fields: &[&str]) {
        for field in fields {
            self.map.remove(*field);
        }
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, BackendError> {
        let path = self.path(field);
        let value = self.take(field);
        value.map(|value| scalar(&path, &value)).transpose()
    }

    pub(crate) fn flag(&mut self, field: &str) -> Result<Option<bool>, BackendError> {
        let value = self.text(field)?;
        let parsed = value.map(|text| text.parse().map_err(|_| unsupported(&self.path(field))));
        parsed.transpose()
    }

    pub(crate) fn number(&mut self, field: &str) -> Result<Option<i64>, BackendError> {
        let value = self.text(field)?;
        let parsed = value.map(|text| text.parse().map_err(|_| unsupported(&self.path(field))));
        parsed.transpose()
    }

    /// One or several.
    pub(crate) fn list(&mut self, field: &str) -> Result<Vec<String>, BackendError> {
        let path = self.path(field);
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) => all.iter().map(|one| scalar(&path, one)).collect(),
            Some(one) => Ok(vec![scalar(&path, &one)?]),
        }
    }

    /// A command: a list, or a line as a shell would take it apart.
    pub(crate) fn argv(&mut self, field: &str) -> Result<Option<Vec<String>>, BackendError> {
        let path = self.path(field);
        // An empty one says that there is none, which is not the image's own.
        if let Some(Value::Array(all)) = self.map.get(field)
            && all.is_empty()
        {
            return Err(unsupported(&path));
        }
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(all)) => {
                let all = all.iter().map(|one| scalar(&path, one));
                Ok(Some(all.collect::<Result<_, _>>()?))
            }
            Some(line) => {
                let line = scalar(&path, &line)?;
                // A comment to some shells, and a word to compose.
                if has_word_with_hash(&line) {
                    return Err(unsupported(&path));
                }
                let words = shlex::split(&line);
                let words = words.filter(|words| !words.is_empty());
                words.map(Some).ok_or_else(|| unsupported(&path))
            }
        }
    }

    /// Names and values, as a mapping or as a list of `name=value`.
    pub(crate) fn pairs(&mut self, field: &str) -> Result<BTreeMap<String, String>, BackendError> {
        let path = self.path(field);
        let mut out = BTreeMap::new();
        match self.take(field) {
            None => {}
            Some(Value::Object(all)) => {
                for (name, value) in all {
                    let value = scalar(&format!("{path}.{name}"), &value)?;
                    out.insert(name, value);
                }
            }
            Some(Value::Array(all)) => {
                for one in &all {
                    let text = scalar(&path, one)?;
                    let (name, value) = text.split_once('=').ok_or_else(|| unsupported(&path))?;
                    out.insert(name.to_owned(), value.to_owned());
                }
            }
            Some(_) => return Err(unsupported(&path)),
        }
        Ok(out)
    }

    /// A part of its own.
    pub(crate) fn part(&mut self, field: &str) -> Result<Option<Self>, BackendError> {
        let path = self.path(field);
        let value = self.take(field);
        value.map(|value| Self::at(path, value)).transpose()
    }

    /// A part in entries with names.
    pub(crate) fn entries(&mut self, field: &str) -> Result<Vec<(String, Value)>, BackendError> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Object(all)) => Ok(all.into_iter().collect()),
            Some(_) => Err(unsupported(&self.path(field))),
        }
    }

    /// A part in a list.
    pub(crate) fn items(&mut self, field: &str) -> Result<Vec<Value>, BackendError> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) => Ok(all),
            Some(_) => Err(unsupported(&self.path(field))),
        }
    }

    /// Refuses what is left, by name.
    pub(crate) fn finish(mut self) -> Result<(), BackendError> {
        let names: Vec<String> = self.map.keys().cloned().collect();
        for name in names {
            if self.take(&name).is_some() {
                return Err(unsupported(&self.path(&name)));
            }
        }
        Ok(())
    }
}

/// Whether a word that nothing is quoted of begins with the mark of a comment.
fn has_word_with_hash(line: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    let mut all = line.chars();
    while let Some(c) = all.next() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return true,
            (None | Some('"'), '\\') => drop(all.next()),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    false
}

/// A text, or what is written like one.
pub(crate) fn scalar(path: &str, value: &Value) -> Result<String, BackendError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(is) => Ok(is.to_string()),
        _ => Err(unsupported(path)),
    }
}

/// Refuses a setting by its name. Its value may be a secret.
pub(crate) fn unsupported(path: &str) -> BackendError {
    BackendError::new(
        BackendErrorKind::Unsupported,
        "the compose file has a setting that no container can be made with here",
    )
    .on(path.chars().take(120).collect::<String>())
    .advice("take it out of the file, or say that it is left out (`without`)")
    .untouched()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rest_of_a_command_is_taken_for_a_comment() {
        for line in ["serve #1 --all", "#", "serve '' \t#x"] {
            assert!(has_word_with_hash(line), "{line}");
        }
        for line in [
            "serve '#1'",
            "serve \"a #b\"",
            "serve a#b",
            "serve \\#1",
            "serve",
        ] {
            assert!(!has_word_with_hash(line), "{line}");
        }
    }
}
