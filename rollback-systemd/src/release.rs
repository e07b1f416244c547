//! What a unit's release is: its content, with secrets replaced by keyed fingerprints.

use std::collections::BTreeSet;

use rollback_core::id::BackendKind;
use rollback_core::release::{Artifact, Facet, Release};

use crate::key::Key;
use crate::secrets::redact;

/// Largest unit file, in bytes: 1 MiB.
pub const MAX_UNIT: usize = 1024 * 1024;

/// The facet that holds the unit's text.
pub(crate) const UNIT_FACET: &str = "unit";

/// The release of a unit's content. Variables that are called `plain` are recorded as they are.
pub(crate) fn release(
    reference: &str,
    content: &[u8],
    key: &Key,
    plain: &BTreeSet<String>,
) -> Release {
    let text = String::from_utf8_lossy(content);
    Release::new(kind(), Artifact::new(reference, key.digest(content)))
        .with_facet(UNIT_FACET, Facet::Text(redact(&text, key, plain)))
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
        let none = BTreeSet::new();
        let release = release("x", unit.as_bytes(), &KEY, &none);
        let text = format!("{release:?}");
        for secret in ["s3cret", "hid den"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(
            text.contains("TOKEN=<") && text.contains("Restart=no"),
            "{text}"
        );
        let other = unit.replace("s3cret", "other");
        let other = super::release("x", other.as_bytes(), &KEY, &none);
        assert_ne!(
            redact(unit, &KEY, &none),
            redact(&unit.replace("s3cret", "other"), &KEY, &none)
        );
        assert_ne!(other.digest(), release.digest());
        assert_eq!(kind().as_str(), "systemd");
    }
}
