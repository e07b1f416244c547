//! What a unit's release is: its content, with secrets replaced by keyed fingerprints.

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::id::BackendKind;
use rollback_core::release::{Artifact, Facet, Release};
use sha2::{Digest, Sha256};

use crate::secrets::{Key, redact};

/// Largest unit file, in bytes: 1 MiB.
pub const MAX_UNIT: usize = 1024 * 1024;

/// The facet that holds the unit's text.
pub(crate) const UNIT_FACET: &str = "unit";

/// The SHA-256 of a unit's content, in hex.
pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Checks that a text can be a service unit at all.
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
    if !text.lines().any(|l| l.trim() == "[Service]") {
        return Err(bad("it has no [Service]"));
    }
    let starts = |line: &str| {
        line.split_once('=')
            .is_some_and(|(name, value)| name.trim() == "ExecStart" && !value.trim().is_empty())
    };
    if !text.lines().any(starts) {
        return Err(bad("it has no ExecStart="));
    }
    Ok(())
}

/// The release of a unit's content.
pub(crate) fn release(reference: &str, content: &[u8], key: &Key) -> Release {
    let digest = format!("sha256:{}", sha256(content));
    let text = String::from_utf8_lossy(content);
    Release::new(kind(), Artifact::new(reference, digest))
        .with_facet(UNIT_FACET, Facet::Text(redact(&text, key)))
}

/// This backend's name.
#[allow(clippy::expect_used)] // A literal that is tested below.
pub(crate) fn kind() -> BackendKind {
    "systemd".parse().expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 32]);

    #[test]
    fn secrets_in_a_unit_are_fingerprints_in_its_release() {
        let unit = "[Service]\nEnvironment=TOKEN=s3cret\nExecStart=/bin/x\n\
                    Environment=\"A=hid den\" \\\n  B=also-s3cret\nRestart=no\n";
        let release = release("x", unit.as_bytes(), &KEY);
        let text = format!("{release:?}");
        for secret in ["s3cret", "hid den"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(
            text.contains("TOKEN=<") && text.contains("Restart=no"),
            "{text}"
        );
        let other = super::release("x", unit.replace("s3cret", "other").as_bytes(), &KEY);
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
            b"[Service]\nExecStartPre=/bin/true\n",
            b"[Service]\nExecStart=\n",
            b"[Service]\n# ExecStart=/bin/true\n",
        ] {
            assert!(check_unit("x", bad).is_err(), "{bad:?}");
        }
        assert!(check_unit("x", b"[Service]\nExecStart=/bin/true\n").is_ok());
        assert!(check_unit("x", b" [Service]\r\nExecStart = /bin/true\r\n").is_ok());
    }
}
