//! From the bus's and the file system's errors to the backend's.

use std::path::Path;

use rollback_core::error::{BackendError, BackendErrorKind as Kind};
use zbus::DBusError;

/// A D-Bus call that failed.
pub(crate) fn bus_error(what: &str, e: zbus::Error) -> BackendError {
    let (kind, advice) = match &e {
        zbus::Error::MethodError(name, _, _) => named(name.as_str()),
        zbus::Error::FDO(error) => match error.as_ref() {
            zbus::fdo::Error::ZBus(zbus::Error::MethodError(name, _, _)) => named(name.as_str()),
            zbus::fdo::Error::ZBus(e) => away(e),
            error => named(error.name().as_str()),
        },
        e => away(e),
    };
    BackendError::new(kind, what).advice(advice).because(e)
}

/// What an error that has a name on the bus means.
fn named(name: &str) -> (Kind, &'static str) {
    let (space, short) = name.rsplit_once('.').unwrap_or(("", name));
    match (space, short) {
        (_, "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed") => (
            Kind::Denied,
            "run as root, or allow this user to manage units in polkit",
        ),
        // The manager is about to go, or is just coming: nothing was refused for good.
        ("org.freedesktop.systemd1", "TransactionIsDestructive" | "ShuttingDown") => (
            Kind::Unreachable,
            "another job has to end first; if the machine shuts down, recover when it is up again",
        ),
        (
            "org.freedesktop.DBus.Error",
            "ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Timeout" | "TimedOut"
            | "Disconnected" | "NoServer" | "NoNetwork" | "IOError",
        ) => (Kind::Unreachable, "look at the manager, then try again"),
        ("org.freedesktop.DBus.Error", "LimitsExceeded" | "NoMemory") => {
            (Kind::Exhausted, "make room, then try again")
        }
        ("org.freedesktop.systemd1", "NoSuchUnit") => (Kind::NotFound, "check the unit's name"),
        ("org.freedesktop.systemd1", "UnitMasked") => (Kind::Unsupported, "unmask the unit first"),
        ("org.freedesktop.systemd1", "OnlyByDependency") => (
            Kind::Unsupported,
            "take RefuseManualStart= and RefuseManualStop= out of the unit",
        ),
        _ => (Kind::Failed, "look at the unit's status"),
    }
}

/// What an error of the connection means.
fn away(e: &zbus::Error) -> (Kind, &'static str) {
    match e {
        zbus::Error::InputOutput(_)
        | zbus::Error::Handshake(_)
        | zbus::Error::Address(_)
        | zbus::Error::Connection(..) => (
            Kind::Unreachable,
            "check that systemd's system bus is there, then try again",
        ),
        _ => (Kind::Failed, "look at the cause"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_goes_or_comes_is_away_and_a_denial_is_one() {
        let told = |name: &str| bus_error("x", reply(name));
        for transient in [
            "org.freedesktop.systemd1.TransactionIsDestructive",
            "org.freedesktop.systemd1.ShuttingDown",
            "org.freedesktop.DBus.Error.ServiceUnknown",
            "org.freedesktop.DBus.Error.NameHasNoOwner",
            "org.freedesktop.DBus.Error.NoReply",
            "org.freedesktop.DBus.Error.Timeout",
            "org.freedesktop.DBus.Error.TimedOut",
            "org.freedesktop.DBus.Error.Disconnected",
        ] {
            let e = told(transient);
            assert_eq!(e.kind(), Kind::Unreachable, "{transient}");
            assert!(e.is_transient(), "{transient}");
        }
        for denied in [
            "org.freedesktop.DBus.Error.AccessDenied",
            "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
        ] {
            assert_eq!(told(denied).kind(), Kind::Denied, "{denied}");
        }
        for (name, kind) in [
            (
                "org.freedesktop.systemd1.OnlyByDependency",
                Kind::Unsupported,
            ),
            ("org.freedesktop.systemd1.BadUnitSetting", Kind::Failed),
            ("com.example.TransactionIsDestructive", Kind::Failed),
        ] {
            assert_eq!(told(name).kind(), kind, "{name}");
            assert!(!told(name).is_transient(), "{name}");
        }
    }

    /// The error as the bus library makes it of a reply.
    fn reply(name: &str) -> zbus::Error {
        let call = zbus::Message::method_call("/x", "M").build(&()).unwrap();
        let reply = zbus::Message::error(&call.header(), name);
        zbus::Error::from(reply.build(&("told",)).unwrap())
    }
}
