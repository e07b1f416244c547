//! [`Reference`]: what a person may ask for: a tag, a digest or an image id.

use rollback_core::error::{BackendError, BackendErrorKind};
use rollback_core::release::ReferenceKind;

/// A parsed image reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A tag: moves.
    Tag { repository: String, tag: String },
    /// A manifest digest in a repository: never moves.
    Digest { repository: String, digest: String },
    /// An image id: never moves, and is known to one daemon only.
    Id(String),
}

impl Reference {
    /// Whether it is of a kind that moves on: `latest`, said or not. Other tags are meant to stay.
    pub(crate) fn kind(&self) -> ReferenceKind {
        match self {
            Self::Tag { tag, .. } if tag == "latest" => ReferenceKind::Moving,
            _ => ReferenceKind::Fixed,
        }
    }

    /// Parses what docker would take: `[host[:port]/]path[:tag][@sha256:…]` or `sha256:…`.
    pub(crate) fn parse(text: &str) -> Result<Self, BackendError> {
        let bad = || {
            let shown: String = text.chars().take(80).collect();
            BackendError::new(
                BackendErrorKind::InvalidReference,
                "this is not an image reference",
            )
            .on(format!("{shown:?}"))
            .advice("write it as registry/name:tag, registry/name@sha256:…, or sha256:…")
            .untouched()
        };
        if text.is_empty() || text.len() > 512 || !text.is_ascii() {
            return Err(bad());
        }
        if is_digest(text) {
            return Ok(Self::Id(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest)),
            Some(_) => return Err(bad()),
            None => (text, None),
        };
        let last = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(i) => (&rest[..last + i], Some(&rest[last + i + 1..])),
            None => (rest, None),
        };
        if !is_repository(name) || !tag.is_none_or(is_tag) {
            return Err(bad());
        }
        let repository = familiar(name).to_owned();
        Ok(match digest {
            Some(digest) => Self::Digest {
                repository,
                digest: digest.to_owned(),
            },
            None => Self::Tag {
                repository,
                tag: tag.unwrap_or("latest").to_owned(),
            },
        })
    }
}

/// The registry's host and port of a repository, a reference or a name with a digest; Docker's own
/// where it names none.
pub(crate) fn host_of(name: &str) -> String {
    match name.split_once('/') {
        Some((first, _)) if names_host(first) => canonical(first),
        _ => HUB.to_owned(),
    }
}

/// A registry's host as people and `docker login` write it: with a scheme, a path, capitals.
/// `None` if it is no host.
pub(crate) fn parse_host(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let host = bare.split('/').next().unwrap_or_default();
    (host.len() <= 255 && is_host(host)).then(|| canonical(host))
}

/// Docker's own registry.
pub(crate) const HUB: &str = "docker.io";

fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        _ => host,
    }
}

/// Whether the first part of a name is a host and no part of a path.
fn names_host(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// The name as docker writes it in an image's digests.
fn familiar(name: &str) -> &str {
    let hub = name
        .strip_prefix("docker.io/")
        .or_else(|| name.strip_prefix("index.docker.io/"));
    let name = hub.unwrap_or(name);
    match name.strip_prefix("library/") {
        Some(official) if !official.contains('/') => official,
        _ => name,
    }
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_repository(name: &str) -> bool {
    let mut parts = name.split('/');
    let first = parts.next().unwrap_or_default();
    let has_host = name.contains('/') && names_host(first);
    (1..=255).contains(&name.len())
        && (if has_host {
            is_host(first)
        } else {
            is_part(first)
        })
        && parts.all(is_part)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().is_ok()),
        None => (host, true),
    };
    port && name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

fn is_part(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|b| alnum(*b))
        && bytes.last().is_some_and(|b| alnum(*b))
        && bytes.iter().all(|b| alnum(*b) || b"._-".contains(b))
        && !part.contains("..")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_are_read_as_docker_reads_them() {
        let tag = |repository: &str, tag: &str| Reference::Tag {
            repository: repository.into(),
            tag: tag.into(),
        };
        for (text, expected) in [
            ("api", tag("api", "latest")),
            ("api:v1", tag("api", "v1")),
            ("127.0.0.1:5000/a/b:v1", tag("127.0.0.1:5000/a/b", "v1")),
            ("localhost:5000/api", tag("localhost:5000/api", "latest")),
            ("docker.io/library/nginx:1", tag("nginx", "1")),
            ("docker.io/me/x:1", tag("me/x", "1")),
        ] {
            assert_eq!(Reference::parse(text).unwrap(), expected, "{text}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            Reference::parse(&digest).unwrap(),
            Reference::Id(digest.clone())
        );
        assert_eq!(
            Reference::parse(&format!("r.example/api:v1@{digest}")).unwrap(),
            Reference::Digest {
                repository: "r.example/api".into(),
                digest
            }
        );
    }

    #[test]
    fn a_name_belongs_to_one_host_however_it_is_written() {
        for (name, host) in [
            ("api", "docker.io"),
            ("me/api:v1", "docker.io"),
            ("docker.io/library/nginx", "docker.io"),
            ("index.docker.io/me/api", "docker.io"),
            ("evil.example/docker.io/x", "evil.example"),
            ("docker.io.evil.example/x", "docker.io.evil.example"),
            ("Registry.Example:5000/a@sha256:00", "registry.example:5000"),
            ("localhost/api", "localhost"),
        ] {
            assert_eq!(host_of(name), host, "{name}");
        }
        for (written, host) in [
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("REGISTRY.example", Some("registry.example")),
            ("127.0.0.1:5000", Some("127.0.0.1:5000")),
            ("", None),
            ("a b", None),
            ("user@host", None),
        ] {
            assert_eq!(parse_host(written).as_deref(), host, "{written}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_without_echoing_it_all() {
        let long = "x".repeat(10_000);
        for bad in [
            "",
            " ",
            "..",
            "а",
            "a\nb",
            "-x",
            "--upload-pack=x",
            "a//b",
            "/a",
            "a/",
            "API",
            "a:",
            "a:b:c",
            "a@sha256:12",
            "a?x=1",
            "a/../b",
            &long,
        ] {
            let e = Reference::parse(bad).unwrap_err();
            assert_eq!(e.kind(), BackendErrorKind::InvalidReference, "{bad}");
            assert!(e.to_string().len() < 400);
        }
    }
}
