//! How dockerd's and the registry's failures become [`BackendError`]s.

use std::error::Error as _;
use std::fmt::Display;
use std::io;

use bollard::errors::Error as Bollard;
use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use rollback_core::masking::{Part, Secrets};

use crate::endpoint::{self, Refusal};

/// Longest text of the daemon's that an error repeats.
const MAX_TEXT: usize = 400;

/// An error of the daemon about something of its own.
pub(crate) fn docker(what: &str, subject: impl Display, e: Bollard) -> BackendError {
    if let Some(away) = unreachable(what, &e) {
        return away;
    }
    let text = text(&e);
    if is_other_version(&e) {
        return BackendError::new(Kind::Unreachable, format!("{what} ({text})"))
            .on(subject)
            .advice("try again: dockerd has been replaced, and a version is agreed on anew")
            .because(e);
    }
    let status = status(&e).unwrap_or(0);
    let (kind, advice) = if text.contains("no space left") {
        (Kind::Exhausted, "free space in docker's data directory")
    } else {
        match status {
            404 => (Kind::NotFound, "look what docker has with `docker ps -a`"),
            409 => (
                Kind::Conflict,
                "another program works on the same container; see who, then try again",
            ),
            503 => (Kind::Unreachable, "try again; see the daemon's log"),
            _ => (Kind::Failed, "see the daemon's log"),
        }
    };
    BackendError::new(kind, format!("{what} ({text})"))
        .on(subject)
        .advice(advice)
}

/// An error of the registry behind the daemon. The daemon answers 500 to nearly all of them, and
/// puts those of a pull inside a stream that begins with 200: only the text tells them apart.
pub(crate) fn registry(what: &str, subject: impl Display, e: Bollard) -> BackendError {
    if let Some(away) = unreachable(what, &e) {
        return away;
    }
    let text = text(&e);
    let (kind, advice) = classify(&text);
    let kind = kind.unwrap_or(match status(&e) {
        Some(404) => Kind::NotFound,
        Some(401 | 403) => Kind::Unauthorized,
        Some(429) => Kind::Exhausted,
        _ => Kind::Failed,
    });
    BackendError::new(kind, format!("{what} ({text})"))
        .on(subject)
        .advice(advice)
        .transient(matches!(kind, Kind::Unreachable | Kind::Exhausted))
}

fn classify(text: &str) -> (Option<Kind>, &'static str) {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if says(&["toomanyrequests", "too many requests", "rate limit", " 429"]) {
        return (
            Some(Kind::Exhausted),
            "wait for the registry's rate limit, or use credentials",
        );
    }
    if says(&["no space left"]) {
        return (
            Some(Kind::Exhausted),
            "free space in docker's data directory",
        );
    }
    if says(&[
        "unauthorized",
        "authentication required",
        "no basic auth",
        "denied",
        " 401",
        " 403",
    ]) {
        return (
            Some(Kind::Unauthorized),
            "check the name and the registry's credentials",
        );
    }
    if says(&[
        "manifest unknown",
        "unknown blob",
        "blob unknown",
        "name unknown",
        "not found",
        "no such image",
        "http 404",
    ]) {
        return (
            Some(Kind::NotFound),
            "check the tag, or push the image first",
        );
    }
    if says(&[
        "connection refused",
        "no such host",
        "timeout",
        "tls",
        "eof",
        "x509",
        "dial tcp",
        "server misbehaving",
        "network is unreachable",
        "deadline exceeded",
        "connection reset",
        " 500",
        " 502",
        " 503",
        " 504",
        "canceled while waiting",
    ]) {
        return (
            Some(Kind::Unreachable),
            "check the registry and the daemon's way to it",
        );
    }
    (None, "see the daemon's log")
}

/// Whether a start failed because something still holds its port.
pub(crate) fn is_port_busy(e: &Bollard) -> bool {
    let text = text(e).to_ascii_lowercase();
    text.contains("address already in use") || text.contains("port is already allocated")
}

/// Whether a change was refused because it says to be based on what is no longer so.
pub(crate) fn is_out_of_sequence(e: &Bollard) -> bool {
    status(e) == Some(409) || text(e).contains("update out of sequence")
}

pub(crate) fn status(e: &Bollard) -> Option<u16> {
    match e {
        Bollard::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

pub(crate) fn text(e: &Bollard) -> String {
    let text = match e {
        Bollard::DockerResponseServerError { message, .. } => message.clone(),
        Bollard::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    };
    let line = text.replace(['\n', '\r'], " ");
    line.chars().take(MAX_TEXT).collect()
}

/// The same error, without these in what the daemon says: it repeats a command that it cannot run.
pub(crate) fn without(secrets: &Secrets, e: Bollard) -> Bollard {
    let told = |text: &str| secrets.tell(text, Part::Whole);
    match e {
        Bollard::DockerResponseServerError {
            status_code,
            message,
        } => Bollard::DockerResponseServerError {
            status_code,
            message: told(&message),
        },
        Bollard::DockerStreamError { error } => Bollard::DockerStreamError {
            error: told(&error),
        },
        other => other,
    }
}

/// Whether an error shows that the daemon is, or was, another one than was agreed with.
pub(crate) fn is_lost(e: &Bollard) -> bool {
    is_away(e) || is_other_version(e)
}

fn is_away(e: &Bollard) -> bool {
    matches!(
        e,
        Bollard::SocketNotFoundError(_)
            | Bollard::HyperLegacyError { .. }
            | Bollard::HyperResponseError { .. }
            | Bollard::IOError { .. }
            | Bollard::RequestTimeoutError
    )
}

/// Whether the daemon does not speak the version of the API that was agreed on: another one has
/// taken its place.
fn is_other_version(e: &Bollard) -> bool {
    let text = text(e);
    let refuses = text.contains("is too old") || text.contains("is too new");
    status(e) == Some(400) && text.contains("client version") && refuses
}

fn unreachable(what: &str, e: &Bollard) -> Option<BackendError> {
    let all = || endpoint::causes(start(e));
    if let Some(refusal) = all().find_map(Refusal::of) {
        return Some(
            BackendError::new(refusal.kind, format!("{what}: {refusal}")).advice(refusal.advice),
        );
    }
    let is_denied = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
    };
    if all().any(is_denied) {
        return Some(
            BackendError::new(Kind::Denied, format!("{what}: the socket denies access"))
                .advice("run as a user that may use docker's socket"),
        );
    }
    is_away(e).then(|| {
        let cause = e.source().map(|s| format!(": {s}")).unwrap_or_default();
        BackendError::new(
            Kind::Unreachable,
            format!("{what}: dockerd does not answer ({e}{cause})"),
        )
        .advice("check that dockerd runs and that its address is right")
    })
}

/// Where the causes of an error begin: the library passes over one of them.
fn start(e: &Bollard) -> &(dyn std::error::Error + 'static) {
    match e {
        Bollard::IOError { err } => err,
        other => other,
    }
}

/// An error of the file system at `subject`.
pub(crate) fn io(what: &str, subject: impl Display, e: io::Error) -> BackendError {
    let (kind, advice) = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Kind::Exhausted, "free space and try again")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (Kind::Denied, "give this user the state directory")
        }
        _ => (Kind::Failed, "check the path and try again"),
    };
    BackendError::new(kind, what)
        .on(subject)
        .advice(advice)
        .because(e)
}

pub(crate) fn gone(what: impl Into<String>, subject: impl Display) -> BackendError {
    BackendError::new(Kind::Gone, what)
        .on(subject)
        .advice("deploy a release that is still available")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_busy_whoever_of_dockers_parts_says_so() {
        for (message, busy) in [
            (
                "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated",
                true,
            ),
            ("listen tcp4 0.0.0.0:80: bind: address already in use", true),
            (
                "failed to set up container networking: Address already in use",
                true,
            ),
            ("no such file or directory", false),
        ] {
            let e = Bollard::DockerResponseServerError {
                status_code: 500,
                message: message.to_owned(),
            };
            assert_eq!(is_port_busy(&e), busy, "{message}");
        }
    }

    #[test]
    fn a_secret_was_told_where_a_cut_of_dockerds_words_went_through_it() {
        let secrets = Secrets::default().found("hunter22");
        for filling in [0, MAX_TEXT - 12] {
            let e = Bollard::DockerResponseServerError {
                status_code: 400,
                message: format!("{}exec: \"--pw=hunter22\"", "x".repeat(filling)),
            };
            let failed = docker("cannot start", "a", without(&secrets, e)).to_string();
            assert!(!failed.contains("hun"), "{failed}");
            assert!(failed.contains("exec"), "{failed}");
        }
    }

    #[test]
    fn what_a_registry_says_is_told_apart() {
        for (text, kind) in [
            (
                "toomanyrequests: You have reached your pull rate limit",
                Kind::Exhausted,
            ),
            (
                "pull access denied for x, repository does not exist or may require 'docker login'",
                Kind::Unauthorized,
            ),
            ("unauthorized: authentication required", Kind::Unauthorized),
            (
                "manifest for x:v9 not found: manifest unknown",
                Kind::NotFound,
            ),
            (
                "error parsing HTTP 404 response body: unexpected end of JSON input: \"\"",
                Kind::NotFound,
            ),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Kind::Unreachable,
            ),
            (
                "dial tcp: lookup registry.example: no such host",
                Kind::Unreachable,
            ),
        ] {
            assert_eq!(classify(text).0, Some(kind), "{text}");
        }
        assert_eq!(classify("it fell over").0, None);
    }
}
