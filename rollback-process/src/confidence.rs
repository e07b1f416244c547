//! What a program has besides what it was given in confidence, and may repeat when it fails.

use std::ffi::OsString;

use rollback_core::masking::{Secrets, argument};

/// What a program finds in its environment besides what it is given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Environment {
    /// This process's `PATH`, and nothing else of it.
    Path,
    /// All that this process has.
    Inherited,
}

/// Variables in everybody's environment that are no secret, and that errors are full of.
const KNOWN: [&str; 14] = [
    "PATH", "HOME", "PWD", "OLDPWD", "LANG", "LANGUAGE", "LC_ALL", "USER", "LOGNAME", "SHELL",
    "TERM", "HOSTNAME", "TMPDIR", "TZ",
];

/// The values of its arguments, and of what it inherits.
pub(crate) fn of(args: &[OsString], environment: Environment) -> Secrets {
    let args = args.iter().map(|arg| arg.to_string_lossy());
    let secrets = args.fold(Secrets::default(), |secrets, arg| match argument(&arg) {
        Some(value) => secrets.found(value),
        None => secrets,
    });
    match environment {
        Environment::Path => secrets,
        Environment::Inherited => std::env::vars_os()
            .filter(|(name, _)| !KNOWN.iter().any(|known| name == known))
            .fold(secrets, |secrets, (_, value)| {
                secrets.found(value.to_string_lossy())
            }),
    }
}
