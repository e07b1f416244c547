//! What a unit's release is: its content, with secrets replaced by keyed fingerprints.

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::id::BackendKind;
use rollback_core::release::{Artifact, Facet, Release};
use sha2::{Digest, Sha256};

/// Largest unit file, in bytes: 1 MiB.
pub const MAX_UNIT: usize = 1024 * 1024;

/// Directives whose values any user may read over D-Bus, and which are secrets all the same
/// (CVE-2024-22037): they are recorded as fingerprints.
const SECRET: &[&str] = &["Environment", "SetCredential", "SetCredentialEncrypted"];

/// The facet that holds the unit's text.
pub(crate) const UNIT_FACET: &str = "unit";

/// The SHA-256 of a unit's content, in hex.
pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// A key for fingerprints: the same value gives the same fingerprint on this target only.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    fn fingerprint(&self, value: &str) -> String {
        // HMAC-SHA256 (RFC 2104), with a key that is shorter than a block.
        let pad = |with: u8| {
            let mut block = [with; 64];
            for (b, k) in block.iter_mut().zip(self.0) {
                *b ^= k;
            }
            block
        };
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update(value)
            .finalize();
        let outer = Sha256::new()
            .chain_update(pad(0x5c))
            .chain_update(inner)
            .finalize();
        outer.iter().take(6).map(|b| format!("{b:02x}")).collect()
    }
}

/// Checks that a text can be a service unit at all.
pub(crate) fn check_unit(reference: &str, content: &[u8]) -> Result<String, BackendError> {
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
    let line = |wanted: &str| text.lines().any(|l| l.trim_start().starts_with(wanted));
    if !line("[Service]") {
        return Err(bad("it has no [Service]"));
    }
    if !line("ExecStart") {
        return Err(bad("it has no ExecStart="));
    }
    Ok(text.to_owned())
}

/// The release of a unit's content.
pub(crate) fn release(reference: &str, content: &str, key: &Key) -> Release {
    let digest = format!("sha256:{}", sha256(content.as_bytes()));
    Release::new(kind(), Artifact::new(reference, digest))
        .with_facet(UNIT_FACET, Facet::Text(redact(content, key)))
}

/// This backend's name.
#[allow(clippy::expect_used)] // A literal that is tested below.
pub(crate) fn kind() -> BackendKind {
    "systemd".parse().expect("a valid name")
}

/// The text with the values of [`SECRET`] directives, continuation lines included, replaced.
fn redact(content: &str, key: &Key) -> String {
    let mut out = String::with_capacity(content.len());
    let mut hidden: Option<String> = None;
    for line in content.lines() {
        let continues = line.ends_with('\\');
        if let Some(value) = &mut hidden {
            value.push_str(line);
        } else {
            match line.split_once('=') {
                Some((name, value)) if SECRET.contains(&name.trim()) => {
                    out.push_str(name.trim());
                    out.push('=');
                    hidden = Some(value.to_owned());
                }
                _ => {
                    out.push_str(line);
                    out.push('\n');
                }
            }
        }
        if let Some(value) = &hidden
            && !continues
        {
            let name = value.trim_start().trim_start_matches('"').split('=').next();
            let name = name
                .filter(|n| n.len() < value.trim().len())
                .unwrap_or_default();
            out.push_str(&format!("{name}=<{}>\n", key.fingerprint(value)));
            hidden = None;
        }
    }
    if let Some(value) = hidden {
        out.push_str(&format!("<{}>\n", key.fingerprint(&value)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 32]);

    #[test]
    fn secrets_in_a_unit_are_fingerprints_in_its_release() {
        let unit = "[Service]\nEnvironment=TOKEN=s3cret\nExecStart=/bin/x\n\
                    Environment=\"A=hid den\" \\\n  B=also-s3cret\nRestart=no\n";
        let release = release("x", unit, &KEY);
        let text = format!("{release:?}");
        for secret in ["s3cret", "hid den"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(
            text.contains("TOKEN=<") && text.contains("Restart=no"),
            "{text}"
        );
        let other = super::release("x", &unit.replace("s3cret", "other"), &KEY);
        assert_ne!(
            redact(unit, &KEY),
            redact(&unit.replace("s3cret", "other"), &KEY)
        );
        assert_ne!(other.digest(), release.digest());
        assert_eq!(kind().as_str(), "systemd");
    }

    #[test]
    fn what_is_no_service_unit_is_refused() {
        for bad in [
            &b""[..],
            b"[Unit]\n",
            b"[Service]\n",
            b"\xff\xfe",
            b"[Service]\nExecStart=\0",
        ] {
            assert!(check_unit("x", bad).is_err(), "{bad:?}");
        }
        assert!(check_unit("x", b"[Service]\nExecStart=/bin/true\n").is_ok());
    }
}
