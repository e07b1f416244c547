//! [`Tag`]: what a name in the repository of a workload's pins says. The only place that writes
//! such a name, and the only one that reads it.

use std::fmt;

use rollback_core::backend::Operation;
use rollback_core::context::Context;
use rollback_core::history::Fence;
use rollback_core::release::Release;

use crate::fence;

/// For whom an image is pinned again whose own pin somebody has taken away.
const KEPT: &str = "kept";

/// A tag of a workload's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Holds an image.
    Hold(Hold),
    /// A fencing token.
    Token(Fence),
    /// Nothing that this crate writes.
    Unknown(String),
}

/// A hold on an image: `<digest>.<deployment>.<history>`, without the last part where the
/// history is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The 64 digits of the artifact's digest.
    pub(crate) artifact: String,
    /// The deployment's name for itself: see [`pin_name`].
    by: String,
    history: Option<String>,
}

impl Tag {
    pub(crate) fn parse(tag: &str) -> Self {
        if let Some(fence) = fence::parse(tag) {
            return Self::Token(fence);
        }
        match tag.split_once('.') {
            Some((artifact, owner)) => Self::Hold(Hold::parse(artifact, owner)),
            None => Self::Unknown(tag.to_owned()),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(hold) => hold.fmt(f),
            Self::Token(fence) => f.write_str(&fence::tag(fence).unwrap_or_default()),
            Self::Unknown(tag) => f.write_str(tag),
        }
    }
}

impl Hold {
    /// What an operation holds its release's image by.
    pub(crate) fn by(cx: &Context, op: &Operation, release: &Release) -> Self {
        Self::new(cx, artifact_of(release), &pin_name(op))
    }

    /// What an artifact is held by that is kept and whose own pin is gone.
    pub(crate) fn again(cx: &Context, artifact: &str) -> Self {
        Self::new(cx, artifact, KEPT)
    }

    fn new(cx: &Context, artifact: &str, by: &str) -> Self {
        Self {
            artifact: artifact.to_owned(),
            by: by.to_owned(),
            history: cx.fence().map(|fence| fence.history.to_string()),
        }
    }

    fn parse(artifact: &str, owner: &str) -> Self {
        let (by, history) = match owner.split_once('.') {
            Some((by, history)) => (by, Some(history.to_owned())),
            None => (owner, None),
        };
        Self {
            artifact: artifact.to_owned(),
            by: by.to_owned(),
            history,
        }
    }

    /// Whether this operation has made it.
    pub(crate) fn is_of(&self, cx: &Context, op: &Operation) -> bool {
        *self == Self::new(cx, &self.artifact, &pin_name(op))
    }

    /// Whether another history than this one has made it.
    pub(crate) fn is_elsewhere(&self, cx: &Context) -> bool {
        match (cx.fence(), &self.history) {
            (Some(own), Some(history)) => own.history.as_str() != history,
            (None, _) | (_, None) => false,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.artifact, self.by)?;
        match &self.history {
            Some(history) => write!(f, ".{history}"),
            None => Ok(()),
        }
    }
}

/// The 64 digits by which a release's artifact is pinned. A manifest's digest says what is in it,
/// whatever the repository; an image's id says so, too.
pub(crate) fn artifact_of(release: &Release) -> &str {
    let digest = &release.artifact().digest;
    digest.rsplit(':').next().unwrap_or(digest)
}

/// What a deployment calls its container and its pin: the place in the order for people, the
/// end of the id because another history may count from 1 again.
pub(crate) fn pin_name(op: &Operation) -> String {
    let id = op.deployment.as_str();
    format!("{}-{}", op.sequence, id.rsplit('-').next().unwrap_or(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_is_written_as_it_was_read() {
        let digits = "a".repeat(64);
        let token =
            "f.0123456789abcdef.fedcba9876543210.2.1.deploy-20260315-143022-a3f2b901a3f2b901";
        for (tag, is_hold) in [
            (format!("{digits}.12-abcd.0123456789abcdef"), true),
            // What versions before fencing wrote.
            (format!("{digits}.12-abcd"), true),
            (format!("{digits}.kept.0123456789abcdef"), true),
            (token.to_owned(), false),
            ("latest".to_owned(), false),
        ] {
            let parsed = Tag::parse(&tag);
            assert_eq!(parsed.to_string(), tag);
            assert_eq!(matches!(parsed, Tag::Hold(_)), is_hold, "{tag}");
        }
        assert!(matches!(Tag::parse(token), Tag::Token(_)));
    }
}
