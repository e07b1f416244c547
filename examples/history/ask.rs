//! Asking before something is done that cannot be taken back as easily.

use std::io::{IsTerminal, stdin};

use crate::end::{End, FAILED, REFUSED};
use crate::out;

/// Whether somebody is there to ask; `Err` says what to do if not.
pub(crate) fn somebody() -> Result<(), End> {
    if stdin().is_terminal() {
        return Ok(());
    }
    Err(End::new(REFUSED, "nobody is here to ask; say --yes"))
}

/// Goes on if somebody says so.
pub(crate) fn confirm() -> Result<(), End> {
    somebody()?;
    let mut answer = String::new();
    let asked = out::ask("Go ahead? [y/N] ").and_then(|()| stdin().read_line(&mut answer));
    asked.map_err(|e| {
        End::new(
            FAILED,
            format!("nothing was done, nobody can be asked: {e}"),
        )
    })?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(End::new(REFUSED, "nothing was done")),
    }
}
