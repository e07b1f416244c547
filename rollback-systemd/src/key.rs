//! [`Key`]: what stands in records for contents and values that nobody may guess from them.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Begins a digest that only this target's key can make.
const KEYED: &str = "hmac-sha256:";

/// Began one in records of earlier versions: a plain SHA-256, from which a short secret can be
/// guessed.
const UNKEYED: &str = "sha256:";

/// Hex digits of a fingerprint.
const SHORT: usize = 12;

/// A key for digests and fingerprints: the same content gives the same on this target only.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A content's digest, as artifacts have it.
    pub(crate) fn digest(&self, content: &[u8]) -> String {
        format!("{KEYED}{}", hex(&self.mac(content)))
    }

    /// What tells whether a value changed, short enough for a line of a diff.
    pub(crate) fn fingerprint(&self, value: &[u8]) -> String {
        let mut print = hex(&self.mac(value));
        print.truncate(SHORT);
        print
    }

    /// Whether a recorded digest or fingerprint is this content's, in whichever way it was made:
    /// records outlive the version that wrote them.
    pub(crate) fn made(&self, recorded: &str, content: &[u8]) -> bool {
        if recorded.starts_with(KEYED) {
            recorded == self.digest(content)
        } else if let Some(plain) = recorded.strip_prefix(UNKEYED) {
            plain == sha256(content)
        } else if recorded.len() == SHORT {
            recorded == self.fingerprint(content)
        } else {
            recorded == sha256(content)
        }
    }

    /// HMAC-SHA256 (RFC 2104).
    fn mac(&self, message: &[u8]) -> [u8; 32] {
        // As HMAC does with a short key: the type takes whole blocks alone, and cannot refuse one.
        let mut key = [0; 64];
        key[..self.0.len()].copy_from_slice(&self.0);
        let mac = Hmac::<Sha256>::new(&key.into());
        mac.chain_update(message).finalize().into_bytes().into()
    }
}

/// Whether a digest is one that an earlier version recorded.
pub(crate) fn is_unkeyed(digest: &str) -> bool {
    digest.starts_with(UNKEYED)
}

/// The same content's digest as an earlier version recorded it.
pub(crate) fn unkeyed(content: &[u8]) -> String {
    format!("{UNKEYED}{}", sha256(content))
}

/// The hex digits of a digest, if it is one: a digest from a record becomes a file's name only
/// then.
pub(crate) fn digits(digest: &str) -> Option<&str> {
    let digits = digest
        .strip_prefix(KEYED)
        .or_else(|| digest.strip_prefix(UNKEYED))?;
    let is_one = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_one.then_some(digits)
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_hmac_sha256() {
        // RFC 4231, test case 2, its key padded with zeros as HMAC does.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = Key(key).digest(b"what do ya want for nothing?");
        assert_eq!(
            digest,
            "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_content_is_recognised_by_every_digest_that_was_ever_recorded() {
        let (key, other) = (Key([7; 32]), Key([8; 32]));
        for recorded in [
            key.digest(b"unit"),
            key.fingerprint(b"unit"),
            unkeyed(b"unit"),
            sha256(b"unit"),
        ] {
            assert!(key.made(&recorded, b"unit"), "{recorded}");
            assert!(!key.made(&recorded, b"another"), "{recorded}");
        }
        assert!(!other.made(&key.digest(b"unit"), b"unit"));
        assert!(!key.made("", b""));
    }

    #[test]
    fn only_a_digest_becomes_a_files_name() {
        let key = Key([7; 32]);
        for good in [key.digest(b"x"), unkeyed(b"x")] {
            assert!(digits(&good).is_some(), "{good}");
        }
        let slash = format!("sha256:../{}", "a".repeat(61));
        for bad in ["", "sha256:", "hmac-sha256:abc", &slash, &"a".repeat(64)] {
            assert_eq!(digits(bad), None, "{bad}");
        }
    }
}
