//! From the bus's and the file system's errors to the backend's.

use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};

/// A D-Bus call that failed.
pub(crate) fn bus_error(what: &str, e: zbus::Error) -> BackendError {
    let (kind, advice) = match &e {
        zbus::Error::MethodError(name, _, _) => match name.as_str() {
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => (
                Kind::Denied,
                "run as root, or allow this user to manage units in polkit",
            ),
            "org.freedesktop.systemd1.NoSuchUnit" => (Kind::NotFound, "check the unit's name"),
            "org.freedesktop.systemd1.UnitMasked" => (Kind::Unsupported, "unmask the unit first"),
            "org.freedesktop.DBus.Error.NoReply" | "org.freedesktop.DBus.Error.Timeout" => {
                (Kind::Unreachable, "look at the manager, then try again")
            }
            _ => (Kind::Failed, "look at the unit's status"),
        },
        zbus::Error::InputOutput(_) | zbus::Error::Handshake(_) | zbus::Error::Address(_) => (
            Kind::Unreachable,
            "check that systemd's system bus is there, then try again",
        ),
        _ => (Kind::Failed, "look at the cause"),
    };
    BackendError::new(kind, what).advice(advice).because(e)
}

/// A file operation that failed.
pub(crate) fn file_error(what: &str, path: &Path, e: std::io::Error) -> BackendError {
    use std::io::ErrorKind as Io;
    let (kind, advice) = match e.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem => {
            (Kind::Denied, "give this user the right to write there")
        }
        Io::StorageFull | Io::QuotaExceeded => (Kind::Exhausted, "make room, then try again"),
        Io::NotFound => (Kind::NotFound, "check the path"),
        _ => (Kind::Failed, "look at the cause"),
    };
    BackendError::new(kind, what)
        .on(path.display())
        .advice(advice)
        .because(e)
}
