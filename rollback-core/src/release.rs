//! A release: what a backend can make live, described once and never changed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::BackendKind;

/// What was asked for, and what it resolved to: the tag and the image digest, the branch and the
/// commit, the unit's name and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Artifact {
    /// The reference as a person wrote it. For display; never resolved again.
    pub reference: String,
    /// What the reference meant when it was resolved. This alone is run.
    pub digest: String,
    /// Whether the reference is of a kind that moves on.
    #[serde(default, skip_serializing_if = "ReferenceKind::is_fixed")]
    pub kind: ReferenceKind,
    /// What a person should know of how the reference was resolved: that nobody was asked whether
    /// it means something newer, say. Plans warn of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
    /// What the artifact is built for where it runs on some machines alone, such as `linux/amd64`. No
    /// part of what a release is: the digest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Box<str>>,
    /// The sources that it was built of, where it says so. No part of what a release is, either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Box<Sources>>,
}

/// The sources that an artifact was built of, by its own words: for a person who asks what changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sources {
    /// The revision: a commit.
    pub revision: String,
    /// The repository's address, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

impl Sources {
    /// A revision of a repository, where that is known. What bears a name or a password before its
    /// host is no address to record, and is left out.
    pub fn new(revision: impl Into<String>, repository: Option<String>) -> Self {
        Self {
            revision: revision.into(),
            repository: repository.filter(|address| !address.contains('@')),
        }
    }
}

/// Whether a reference is of a kind that moves on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReferenceKind {
    /// It is meant to stay: a version's tag, a digest, a file's name.
    #[default]
    Fixed,
    /// It is meant to move, or has moved: a branch, an image's `latest`.
    Moving,
}

impl ReferenceKind {
    fn is_fixed(&self) -> bool {
        *self == Self::Fixed
    }
}

impl Artifact {
    /// An artifact. `digest` is the platform's own immutable name.
    pub fn new(reference: impl Into<String>, digest: impl Into<String>) -> Self {
        Self {
            reference: reference.into(),
            digest: digest.into(),
            kind: ReferenceKind::Fixed,
            note: None,
            platform: None,
            sources: None,
        }
    }

    /// The same with a remark on how the reference was resolved.
    #[must_use]
    pub fn noting(self, note: impl Into<Box<str>>) -> Self {
        Self {
            note: Some(note.into()),
            ..self
        }
    }

    /// The same, built for this platform.
    #[must_use]
    pub fn built_for(self, platform: impl Into<Box<str>>) -> Self {
        Self {
            platform: Some(platform.into()),
            ..self
        }
    }

    /// The same, built of these sources.
    #[must_use]
    pub fn built_of(self, sources: Sources) -> Self {
        Self {
            sources: Some(Box::new(sources)),
            ..self
        }
    }

    /// An artifact by a branch, which may mean another one tomorrow.
    pub fn by_branch(branch: impl Into<String>, digest: impl Into<String>) -> Self {
        Self {
            kind: ReferenceKind::Moving,
            ..Self::new(branch, digest)
        }
    }

    /// The digest, cut to what a person compares: 12 characters after any algorithm prefix.
    pub fn short(&self) -> &str {
        let bare = self.digest.rsplit(':').next().unwrap_or(&self.digest);
        short(bare)
    }
}

/// The first 12 characters.
fn short(text: &str) -> &str {
    text.get(..12).unwrap_or(text)
}

/// The commits between two revisions, as git writes them.
pub(crate) fn commits(from: &Artifact, to: &Artifact) -> Option<String> {
    let (from, to) = (from.sources.as_deref()?, to.sources.as_deref()?);
    let range = (from.revision != to.revision).then(|| {
        let (from, to) = (short(&from.revision), short(&to.revision));
        format!("{from}..{to}")
    })?;
    Some(match (&from.repository, &to.repository) {
        (Some(a), Some(b)) if a == b => format!("{range} of {a}"),
        (Some(a), Some(b)) => format!("{range}, from {a} to {b}"),
        _ => range,
    })
}

/// One value in a [`Facet::Table`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FacetValue {
    /// A value that anyone may read.
    Plain(String),
    /// A keyed fingerprint of a secret: tells whether it changed, never what it is.
    Fingerprint(String),
}

/// One named part of a release's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Facet {
    /// A text, compared line by line: a unit file, a compose file.
    Text(String),
    /// Names and values: environment, labels, mounts.
    Table(BTreeMap<String, FacetValue>),
}

/// An immutable description of what a backend can make live.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    backend: BackendKind,
    artifact: Artifact,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    facets: BTreeMap<String, Facet>,
}

impl Release {
    /// A release without configuration of its own.
    pub fn new(backend: BackendKind, artifact: Artifact) -> Self {
        Self {
            backend,
            artifact,
            facets: BTreeMap::new(),
        }
    }

    /// Adds or replaces a facet.
    #[must_use]
    pub fn with_facet(mut self, name: impl Into<String>, facet: Facet) -> Self {
        self.facets.insert(name.into(), facet);
        self
    }

    /// Which backend can run it.
    pub fn backend(&self) -> &BackendKind {
        &self.backend
    }

    /// The artifact that runs: the reference as asked for, and its digest.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The configuration it runs with, by name.
    pub fn facets(&self) -> &BTreeMap<String, Facet> {
        &self.facets
    }

    /// This release's artifact with another's configuration, as far as `restore` says.
    #[must_use]
    pub fn restored(&self, today: &Release, restore: &Restore) -> Release {
        let mut facets = match restore {
            Restore::Everything => return self.clone(),
            Restore::Artifact => today.facets.clone(),
            Restore::Facets(names) => {
                let mut facets = today.facets.clone();
                for name in names {
                    match self.facets.get(name) {
                        Some(facet) => facets.insert(name.clone(), facet.clone()),
                        None => facets.remove(name),
                    };
                }
                facets
            }
        };
        facets.retain(|_, f| !matches!(f, Facet::Table(t) if t.is_empty()));
        Release {
            backend: self.backend.clone(),
            artifact: self.artifact.clone(),
            facets,
        }
    }

    /// What a rollback to this release makes live: restored over today's, where today's is the same
    /// backend's. Another backend's configuration means nothing to this release.
    pub fn brought_back(&self, today: Option<&Self>, restore: &Restore) -> Self {
        match today {
            Some(today) if today.backend == self.backend => self.restored(today, restore),
            _ => self.clone(),
        }
    }

    /// The canonical digest of what runs: two releases with the same digest are the same
    /// release, whatever tag or branch they were asked for by.
    ///
    /// Every field is length-prefixed, so no two releases can spell the same bytes.
    pub fn digest(&self) -> ReleaseDigest {
        let mut spelled = Spelled::default();
        spelled.put("rollback release 1");
        spelled.put(self.backend.as_str());
        spelled.put(&self.artifact.digest);
        for (name, facet) in &self.facets {
            spelled.put(name);
            spelled.put_facet(facet);
        }
        ReleaseDigest(spelled.hex())
    }
}

impl Facet {
    /// A digest of what it says, 32 hex digits: two facets with the same one are the same.
    pub fn digest(&self) -> String {
        let mut spelled = Spelled::default();
        spelled.put("rollback facet 1");
        spelled.put_facet(self);
        let mut hex = spelled.hex();
        hex.truncate(32);
        hex
    }
}

/// A text of length-prefixed fields, as its hash.
#[derive(Default)]
struct Spelled(Sha256);

impl Spelled {
    fn put(&mut self, field: &str) {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field.as_bytes());
    }

    fn put_facet(&mut self, facet: &Facet) {
        match facet {
            Facet::Text(text) => {
                self.put("text");
                self.put(text);
            }
            Facet::Table(table) => {
                self.put("table");
                self.put(&table.len().to_string());
                for (key, value) in table {
                    self.put(key);
                    match value {
                        FacetValue::Plain(v) => {
                            self.put("plain");
                            self.put(v);
                        }
                        FacetValue::Fingerprint(v) => {
                            self.put("fingerprint");
                            self.put(v);
                        }
                    }
                }
            }
        }
    }

    fn hex(self) -> String {
        base16ct::lower::encode_string(&self.0.finalize())
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reference == self.digest {
            f.write_str(self.short())
        } else {
            write!(f, "{} ({})", self.reference, self.short())
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.artifact.fmt(f)
    }
}

/// SHA-256 over a release's canonical form, in lowercase hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseDigest(String);

impl ReleaseDigest {
    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How much of an older release a rollback brings back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Restore {
    /// The artifact, with today's configuration.
    Artifact,
    /// The artifact and the configuration recorded with it.
    Everything,
    /// The artifact and these facets; the others stay as they are today.
    Facets(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(reference: &str, digest: &str) -> Release {
        Release::new("git".parse().unwrap(), Artifact::new(reference, digest))
    }

    fn table(rows: &[(&str, &str)]) -> Facet {
        Facet::Table(
            rows.iter()
                .map(|(k, v)| ((*k).into(), FacetValue::Plain((*v).into())))
                .collect(),
        )
    }

    #[test]
    fn a_moved_tag_does_not_change_what_a_release_is() {
        assert_eq!(
            release("v1", "abc").digest(),
            release("latest", "abc").digest()
        );
        assert_ne!(release("v1", "abc").digest(), release("v1", "abd").digest());
    }

    #[test]
    fn the_commits_between_two_artifacts_are_told_where_both_say_what_they_are_of() {
        let of = |revision: &str, repository: Option<&str>| {
            let sources = Sources::new(revision, repository.map(str::to_owned));
            Artifact::new("v", revision).built_of(sources)
        };
        let bare = Artifact::new("v", "0");
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let repository = Some("https://example.org/api");
        let told = |from: &Artifact, to: &Artifact| commits(from, to);
        assert_eq!(told(&bare, &of(&b, None)), None);
        assert_eq!(told(&of(&a, None), &of(&a, None)), None);
        let range = "aaaaaaaaaaaa..bbbbbbbbbbbb";
        assert_eq!(
            told(&of(&a, None), &of(&b, repository)).as_deref(),
            Some(range)
        );
        let same = told(&of(&a, repository), &of(&b, repository)).unwrap();
        assert_eq!(same, format!("{range} of https://example.org/api"));
        let secret = of(&a, Some("https://me:hunter2@example.org/api"));
        assert_eq!(secret.sources.unwrap().repository, None);
    }

    #[test]
    fn facets_cannot_be_shifted_into_one_another() {
        let a = release("v", "d").with_facet("env", table(&[("A", "B=C")]));
        let b = release("v", "d").with_facet("env", table(&[("A=B", "C")]));
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn restore_artifact_keeps_todays_configuration() {
        let old = release("v1", "1").with_facet("env", table(&[("MODE", "old")]));
        let new = release("v2", "2").with_facet("env", table(&[("MODE", "new")]));
        let back = old.restored(&new, &Restore::Artifact);
        assert_eq!(back.artifact().digest, "1");
        assert_eq!(back.facets(), new.facets());
        assert_eq!(old.restored(&new, &Restore::Everything), old);
        assert_eq!(
            old.restored(&new, &Restore::Facets(vec!["env".into()])),
            old
        );
    }
}
