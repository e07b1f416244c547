//! A unit file's assignments (systemd.syntax(7)), and what the manager would pass over in silence.

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

use crate::release::MAX_UNIT;

/// The sections of a service's file. Those that begin with `X-` are anybody's.
const SECTIONS: &[&str] = &["Unit", "Service", "Install"];

/// One assignment, its continued lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A unit's text in parts.
#[derive(Debug, Default)]
pub(crate) struct Syntax {
    pub(crate) assignments: Vec<Assignment>,
    sections: Vec<String>,
    /// The first line that the manager would pass over, from 1, and why.
    passed_over: Option<String>,
}

impl Syntax {
    /// Takes a text apart as the manager does. Never fails: what it would pass over is noted.
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let mut syntax = Self::default();
        let mut pending = String::new();
        let mut began = 1;
        for (at, line) in text.split(['\n', '\r']).enumerate() {
            let line = if pending.is_empty() {
                began = at + 1;
                line.trim_start()
            } else {
                line
            };
            if line.trim_start().starts_with(['#', ';']) {
                continue;
            }
            pending.push_str(line);
            if ends_in_backslash(&pending) {
                pending.pop();
                pending.push(' ');
            } else {
                syntax.take(began, pending.trim());
                pending.clear();
            }
        }
        syntax.take(began, pending.trim());
        syntax
    }

    fn take(&mut self, at: usize, line: &str) {
        if line.is_empty() {
            return;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            if !SECTIONS.contains(&name) && !name.starts_with("X-") {
                self.pass_over(format!("line {at} begins [{name}], which no service has"));
            }
            self.sections.push(name.to_owned());
        } else if let Some((name, value)) = line.split_once('=') {
            match self.sections.last() {
                Some(section) => self.assignments.push(Assignment {
                    section: section.clone(),
                    name: name.trim().to_owned(),
                    value: value.trim().to_owned(),
                }),
                None => self.pass_over(format!("line {at} comes before any section")),
            }
        } else {
            // Not shown: it may be what is left of a secret.
            self.pass_over(format!("line {at} is no assignment"));
        }
    }

    fn pass_over(&mut self, why: String) {
        self.passed_over.get_or_insert(why);
    }

    /// The last value of a directive of `[Service]`; an empty one takes it back.
    pub(crate) fn service(&self, name: &str) -> Option<&str> {
        self.assignments
            .iter()
            .rfind(|a| a.section == "Service" && a.name == name)
            .map(|a| a.value.as_str())
            .filter(|value| !value.is_empty())
    }
}

fn ends_in_backslash(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

/// Checks that a text can be a service unit, and that the manager would read all of it: what it
/// passes over is what somebody meant.
pub(crate) fn check_unit(reference: &str, content: &[u8]) -> Result<(), BackendError> {
    let bad = |why: &str| {
        BackendError::new(
            Kind::InvalidReference,
            format!("this is no service unit: {why}"),
        )
        .on(reference)
        .advice("deploy a unit file with [Service] and ExecStart=")
        .untouched()
    };
    if content.len() > MAX_UNIT {
        return Err(bad("it has more than 1 MiB"));
    }
    let text = std::str::from_utf8(content).map_err(|_| bad("it is not UTF-8"))?;
    if text.contains('\0') {
        return Err(bad("it contains NUL"));
    }
    let syntax = Syntax::of(text);
    if !syntax.sections.iter().any(|s| s == "Service") {
        return Err(bad("it has no [Service]"));
    }
    if let Some(why) = &syntax.passed_over {
        return Err(bad(why));
    }
    if syntax.service("ExecStart").is_none() {
        return Err(bad("it has no ExecStart="));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_service_unit_is_refused() {
        for bad in [
            &b""[..],
            b"[Unit]\n",
            b"[Service]\n",
            b"\xff\xfe",
            b"[Service]\nExecStart=\0",
            b"[Service]\nExecStartPre=/bin/true\n",
            b"[Service]\nExecStart=\n",
            b"[Service]\nExecStart=/bin/true\nExecStart=\n",
            b"[Service]\n# ExecStart=/bin/true\n",
            b"[Service]\nExecStart=/bin/true\n[Instal]\n",
            b"[Service]\nExecStart=/bin/true\nNice 5\n",
            b"Nice=5\n[Service]\nExecStart=/bin/true\n",
            b"[Unit]\nDescription=a \\\n[Service]\\\nExecStart=/bin/true\n",
        ] {
            let text = String::from_utf8_lossy(bad);
            assert!(check_unit("x", bad).is_err(), "{text:?}");
        }
        for good in [
            "[Service]\nExecStart=/bin/true\n",
            "\u{feff}[Service]\nExecStart=/bin/true",
            " [Service]\r\nExecStart = /bin/true\r\n",
            "[X-Ours]\nanything=at all\n[Service]\nExecStart=/bin/true \\\n# why\n  --flag\n",
            "[Service]\nExecStart=/bin/sh -c 'a \\\n[x] \\\n b'\n",
            "[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n\n;x\n#y",
        ] {
            check_unit("x", good.as_bytes()).unwrap_or_else(|e| panic!("{good:?}: {e}"));
        }
    }

    #[test]
    fn assignments_are_joined_and_the_last_one_counts() {
        let syntax = Syntax::of(
            "[Unit]\nType=none\n[Service]\nType=exec\nType=oneshot\nExecStart=/x \\\n# no\n -a\n\
             Restart=always\nRestart=\n",
        );
        assert_eq!(syntax.service("Type"), Some("oneshot"));
        assert_eq!(syntax.service("ExecStart"), Some("/x   -a"));
        assert_eq!(syntax.service("Restart"), None);
    }
}
