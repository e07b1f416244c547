//! Which history this is, and the token that fences what it publishes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Epoch, Sequence};
use crate::id::{DeploymentId, InvalidId};

/// A random name of 16 hex digits, given once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HistoryId(String);

impl HistoryId {
    /// A new one.
    ///
    /// # Errors
    ///
    /// Where the system gives no random bytes: two histories of one name could not be told apart.
    pub fn generate() -> Result<Self, std::io::Error> {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(Self(base16ct::lower::encode_string(&bytes)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HistoryId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if s.len() == 16 && s.bytes().all(hex) {
            return Ok(Self(s.to_owned()));
        }
        Err(InvalidId::new("history id", s, "write 16 hex digits"))
    }
}

impl TryFrom<String> for HistoryId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<HistoryId> for String {
    fn from(id: HistoryId) -> String {
        id.0
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which history a store keeps, and which life of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Given when the history was made; a copy of it keeps it.
    pub history: HistoryId,
    /// Given anew whenever a backup is put in its place.
    pub incarnation: HistoryId,
}

impl Identity {
    /// This life of this history.
    pub fn new(history: HistoryId, incarnation: HistoryId) -> Self {
        Self {
            history,
            incarnation,
        }
    }

    /// The identity of a history that is made now.
    ///
    /// # Errors
    ///
    /// As [`HistoryId::generate`].
    pub fn generate() -> Result<Self, std::io::Error> {
        Ok(Self {
            history: HistoryId::generate()?,
            incarnation: HistoryId::generate()?,
        })
    }

    /// The same history in a new life: what a store's `restore` gives it.
    ///
    /// # Errors
    ///
    /// As [`HistoryId::generate`].
    pub fn restored(&self) -> Result<Self, std::io::Error> {
        Ok(Self {
            history: self.history.clone(),
            incarnation: HistoryId::generate()?,
        })
    }
}

/// A fencing token: who published at a target, in an order that grows with every deployment and
/// every take-over.
///
/// What publishes keeps the newest token at the target itself, and refuses to act with an older
/// one ([`BackendErrorKind::Fenced`](crate::error::BackendErrorKind::Fenced)): so an actor that was
/// taken for dead, and acts late, cannot undo what came after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Fence {
    /// The history that the publisher's record is in.
    pub history: HistoryId,
    /// Which life of it.
    pub incarnation: HistoryId,
    /// The deployment's place in that history.
    pub sequence: Sequence,
    /// How often the workload's lease had changed hands.
    pub epoch: Epoch,
    /// The deployment that published, for people who look at the target.
    pub deployment: DeploymentId,
}

impl Fence {
    /// The token of one deployment, as it was held with this epoch.
    pub fn new(
        history: HistoryId,
        incarnation: HistoryId,
        sequence: Sequence,
        epoch: Epoch,
        deployment: DeploymentId,
    ) -> Self {
        Self {
            history,
            incarnation,
            sequence,
            epoch,
            deployment,
        }
    }

    /// Whether its bearer may publish where `published` is the newest token. Two histories have no
    /// order between them: neither keeps the other out.
    #[must_use]
    pub fn admits(&self, published: &Self) -> bool {
        self.history != published.history
            || (self.sequence, self.epoch) >= (published.sequence, published.epoch)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (number {} of history {})",
            self.deployment, self.sequence, self.history
        )
    }
}
