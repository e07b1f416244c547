//! What is written for people and scripts goes through here, since whoever reads may stop early, as
//! `head` does. That ends what is written and not the command: it may be deploying.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::end::{End, FAILED};

/// Why nothing more is written.
static BROKEN: OnceLock<io::Error> = OnceLock::new();

/// One line, to whoever still reads.
macro_rules! say {
    () => { $crate::out::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// One line beside what was asked for.
macro_rules! aside {
    ($($text:tt)*) => { $crate::out::beside(format_args!($($text)*)) };
}

pub(crate) use {aside, say};

pub(crate) fn write(text: fmt::Arguments<'_>) {
    if BROKEN.get().is_none()
        && let Err(e) = io::stdout().lock().write_fmt(text)
    {
        let _ = BROKEN.set(e);
    }
}

pub(crate) fn beside(text: fmt::Arguments<'_>) {
    // If this cannot be told, nobody can be told of that either.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A question, which has to reach somebody.
pub(crate) fn ask(question: &str) -> io::Result<()> {
    if BROKEN.get().is_some() {
        return Err(ErrorKind::BrokenPipe.into());
    }
    let mut out = io::stdout().lock();
    out.write_all(question.as_bytes())?;
    out.flush()
}

/// The code to end with. An answer that is not whole for want of a reader is none the worse; for
/// want of space it is.
pub(crate) fn end(code: ExitCode) -> ExitCode {
    if let Err(e) = io::stdout().lock().flush() {
        let _ = BROKEN.set(e);
    }
    match BROKEN.get() {
        Some(e) if e.kind() != ErrorKind::BrokenPipe && code == ExitCode::SUCCESS => {
            End::new(FAILED, format!("the answer could not be written: {e}")).tell()
        }
        _ => code,
    }
}
