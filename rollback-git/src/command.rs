//! The restart command: a program and its arguments, no shell.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use rollback_core::context::Context;
use rollback_core::error::{BackendError, BackendErrorKind};

use crate::error;

/// Longest tail of output that an error shows.
const TAIL: u64 = 4096;

/// Runs it in `dir` until it ends, the deadline passes or the call is cancelled. Nothing of it
/// runs on after this has returned with a deadline or a cancellation.
pub(crate) async fn run(cx: &Context, argv: &[String], dir: &Path) -> Result<(), BackendError> {
    let Some((program, args)) = argv.split_first() else {
        return Ok(());
    };
    let failed = |e| error::io("the restart command cannot be run", program, e);
    // A file, not a pipe: a daemon that inherits it must not keep us waiting for its end.
    let mut output = tempfile::tempfile().map_err(failed)?;
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output.try_clone().map_err(failed)?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    let status = tokio::select! {
        status = child.wait() => Some(status.map_err(failed)?),
        () = cx.cancellation().cancelled() => None,
        () = tokio::time::sleep_until(cx.deadline()) => None,
    };
    let Some(status) = status else {
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.wait().await;
        return Err(match cx.check() {
            Err(e) => e.on(program),
            Ok(()) => BackendError::new(BackendErrorKind::DeadlineExceeded, "it took too long")
                .on(program),
        });
    };
    if status.success() {
        return Ok(());
    }
    Err(BackendError::new(
        BackendErrorKind::Failed,
        format!(
            "the restart command failed ({status}); it said: {}",
            redact(&tail(&mut output))
        ),
    )
    .on(program)
    .advice("run it by hand in the release directory"))
}

fn tail(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = file.seek(SeekFrom::End(0)).unwrap_or(0);
    if file
        .seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .and_then(|_| file.read_to_end(&mut bytes))
        .is_err()
    {
        return "(its output cannot be read)".into();
    }
    // A cut first line could hide the name that marks a value as secret.
    let text = String::from_utf8_lossy(&bytes);
    let text = if length > TAIL {
        text.split_once('\n').map_or("", |(_, rest)| rest)
    } else {
        &text
    };
    text.trim().to_owned()
}

/// Hides what follows a secret-looking name, and passwords in URLs.
fn redact(text: &str) -> String {
    const NAMES: [&str; 8] = [
        "password",
        "passwd",
        "secret",
        "token",
        "key",
        "auth",
        "bearer",
        "credential",
    ];
    let line = |line: &str| {
        let lower = line.to_ascii_lowercase();
        if let Some(at) = NAMES.iter().filter_map(|n| lower.find(n)).min()
            && let Some(end) = line
                .get(at..)
                .and_then(|rest| rest.find(['=', ':', ' ']))
                .map(|n| at + n + 1)
        {
            return format!("{}***", line.get(..end).unwrap_or(""));
        }
        if let Some(scheme) = line.find("://")
            && let Some(host) = line.rfind('@').filter(|host| *host > scheme)
        {
            return format!("{}***{}", &line[..scheme + 3], &line[host..]);
        }
        line.to_owned()
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn what_looks_secret_is_hidden() {
        assert_eq!(redact("DB_PASSWORD=hunter2 x"), "DB_PASSWORD=***");
        assert_eq!(redact("GET http://a:b@h/x"), "GET http://***@h/x");
        assert_eq!(redact("Authorization: Bearer abc"), "Authorization:***");
        assert_eq!(redact("no such unit"), "no such unit");
    }
}
