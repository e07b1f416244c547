//! Secrets in a unit's text, and what stands for them in a release.

use std::collections::BTreeSet;

use crate::key::Key;

/// Directives whose values any user may read over D-Bus, and which are secrets all the same
/// (CVE-2024-22037): they are recorded as fingerprints.
const SECRET: &[&str] = &["Environment", "SetCredential", "SetCredentialEncrypted"];

/// The text with the values of [`SECRET`] directives replaced, also of those put aside in a
/// comment. Variables that are called `plain` are shown.
pub(crate) fn redact(content: &str, key: &Key, plain: &BTreeSet<String>) -> String {
    let content = content.replace("\r\n", "\n");
    let lines: Vec<&str> = content.split(['\n', '\r']).collect();
    let mut out = String::with_capacity(content.len());
    let mut rest = &lines[..];
    while let Some(first) = rest.first() {
        let hidden = secret(first).filter(|(_, directive, value)| {
            let whole = continued(rest) == 1;
            !(whole && *directive == "Environment" && is_plain(value, plain))
        });
        let Some((shown, directive, value)) = hidden else {
            out.push_str(first);
            out.push('\n');
            rest = &rest[1..];
            continue;
        };
        let count = continued(rest);
        let (lines, after) = rest.split_at(count);
        let whole = [&[value], &lines[1..]].concat().join("\n");
        let name = public_part(directive, value);
        out.push_str(&format!(
            "{shown}={name}<{}>\n",
            key.fingerprint(whole.as_bytes())
        ));
        rest = after;
    }
    // There is one line's end less than there are lines.
    out.pop();
    out
}

/// What comes before `=`, the directive's name, and its value, if that is a secret.
fn secret(line: &str) -> Option<(&str, &str, &str)> {
    let (shown, value) = line.split_once('=')?;
    let directive = shown.trim_start_matches(['#', ';', ' ', '\t']).trim_end();
    SECRET
        .contains(&directive)
        .then(|| (shown.trim_end(), directive, value))
}

/// Whether a line of `Environment=` assigns nothing but variables called `plain`. Where quotes or
/// escapes make that doubtful, it does not.
fn is_plain(value: &str, plain: &BTreeSet<String>) -> bool {
    let mut assignments = value.split_whitespace().peekable();
    assignments.peek().is_some()
        && !value.contains(['"', '\'', '\\'])
        && assignments.all(|a| {
            a.split_once('=')
                .is_some_and(|(name, _)| plain.contains(name))
        })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// How many lines the first one's directive has (systemd.syntax(7)): a line that ends with a
/// backslash goes on, and comments in between are skipped and end nothing. A directive in a
/// comment goes on in comments only.
fn continued(lines: &[&str]) -> usize {
    let aside = lines.first().is_some_and(|l| is_comment(l));
    let mut goes_on = true;
    let mut count = 0;
    for line in lines {
        let skipped = is_comment(line) && !aside;
        if !goes_on || (aside && !is_comment(line)) {
            break;
        }
        count += 1;
        if !skipped {
            let backslashes = line.len() - line.trim_end_matches('\\').len();
            goes_on = backslashes % 2 == 1;
        }
    }
    count
}

/// The variable's name or the credential's id; empty if that cannot be told from the secret.
fn public_part<'a>(directive: &str, value: &'a str) -> &'a str {
    let end = if directive == "Environment" { '=' } else { ':' };
    let value = value.trim_start().trim_start_matches(['"', '\'']);
    let name = value.find(end).map_or("", |at| &value[..=at]);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-=:".contains(&b);
    if name.bytes().all(plain) { name } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 32]);

    fn none() -> BTreeSet<String> {
        BTreeSet::new()
    }

    #[test]
    fn only_variables_that_were_named_are_shown() {
        let plain = BTreeSet::from(["PORT".to_owned(), "VERSION".to_owned()]);
        let shows = |line: &str| {
            let shown = redact(&format!("[Service]\n{line}\nExecStart=/x"), &KEY, &plain);
            shown.contains(&format!("\n{line}\n"))
        };
        for line in [
            "Environment=PORT=80",
            "Environment= PORT=80 VERSION=v1",
            "#Environment=VERSION=v1",
        ] {
            assert!(shows(line), "{line}");
        }
        for line in [
            "Environment=PORT=80 TOKEN=s3cret",
            "Environment=\"PORT=80\" TOKEN=s3cret",
            "Environment=\"PORT=80 s3cret\"",
            "Environment=PORT=80 \\\n TOKEN=s3cret",
            "Environment=PORTS=s3cret",
            "Environment=",
            "SetCredential=PORT:s3cret",
            "SetCredential=PORT=s3cret",
        ] {
            assert!(!shows(line), "{line}");
        }
    }

    #[test]
    fn secrets_are_found_wherever_the_manager_would_read_them() {
        for unit in [
            // A comment does not end a continued line (systemd.syntax(7)).
            "[Service]\nEnvironment=A=1 \\\n# note\n  TOKEN=s3cret\nExecStart=/x\n",
            "[Service]\nEnvironment=A=1 \\\n; note\n# two \\\n  TOKEN=s3cret\nExecStart=/x\n",
            // A carriage return alone ends a line.
            "[Service]\nExecStart=/x\rEnvironment=TOKEN=s3cret\n",
            "[Service]\r\nEnvironment=TOKEN=s3cret\r\nExecStart=/x\r\n",
            // Of a credential the id may be shown; '=' may be in its content.
            "[Service]\nSetCredential=token:s3cret=\nExecStart=/x\n",
            "[Service]\nSetCredentialEncrypted=token:s3cret==\nExecStart=/x\n",
            "[Service]\n  Environment = \"TOKEN=s3cret\"\nExecStart=/x\n",
            "[Service]\nEnvironment=s3cret a=b\nExecStart=/x\n",
            // Put aside by its owner, still a secret.
            "[Service]\n#Environment=TOKEN=s3cret\n; Environment=TOKEN=s3cret\nExecStart=/x\n",
            "[Service]\nExecStart=/x\nEnvironment=TOKEN=s3cret \\",
        ] {
            let shown = redact(unit, &KEY, &none());
            assert!(!shown.contains("s3cret"), "{unit:?} is shown as {shown:?}");
            assert!(shown.contains("ExecStart=/x"), "{shown:?}");
            assert_ne!(
                shown,
                redact(&unit.replace("s3cret", "other"), &KEY, &none()),
                "a changed secret is seen"
            );
        }
    }

    #[test]
    fn what_is_no_secret_is_shown_as_it_is() {
        for unit in [
            "",
            "\n",
            "[Service]\nExecStart=/x \\\n  -a\n\n# a=b\n",
            "[Service]\nExecStart=/x",
            "[Service]\nEnvironmentFile=/etc/x\n",
        ] {
            assert_eq!(redact(unit, &KEY, &none()), *unit);
        }
        let unit = "[Service]\nEnvironment=\"TOKEN=a b\"\nSetCredential=id:x\nRestart=no\n";
        let shown = redact(unit, &KEY, &none());
        for part in [
            "Environment=TOKEN=<",
            "SetCredential=id:<",
            ">\nRestart=no\n",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
