//! [`Asked`]: what was asked under an idempotency key.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::IdempotencyKey;
use crate::release::Restore;
use crate::wish::{Reapply, Wish};

/// What was asked under an idempotency key: the key, and a digest of the wish, which tells the same
/// request from another one that has taken its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Asked {
    /// The key that the caller has given the request.
    pub key: IdempotencyKey,
    /// The SHA-256 of what was to be made live and how, in hexadecimal digits. Not of who asked, or
    /// why.
    pub wish: String,
}

/// What a wish's digest is of.
#[derive(Serialize)]
struct Canonical<'a> {
    wish: &'a Wish,
    restore: Option<&'a Restore>,
    reapply: Reapply,
}

impl Asked {
    /// What a request asks under a key.
    pub fn new(
        key: IdempotencyKey,
        wish: &Wish,
        restore: Option<&Restore>,
        reapply: Reapply,
    ) -> Self {
        let canonical = Canonical {
            wish,
            restore,
            reapply,
        };
        Self::of(key, &canonical)
    }

    /// That this is asked under a key.
    pub(crate) fn of(key: IdempotencyKey, what: &impl Serialize) -> Self {
        Self {
            key,
            wish: digest(what),
        }
    }
}

fn digest(of: &impl Serialize) -> String {
    // Plain enums of strings are always written; an empty text would only make two keys differ.
    let text = serde_json::to_vec(of).unwrap_or_default();
    let digest = Sha256::digest(&text);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
