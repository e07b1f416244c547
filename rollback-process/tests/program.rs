//! Programs, and what they say.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rollback_core::context::Context;
use rollback_process::Program;

const CHILD: &str = "ROLLBACK_PROCESS_NO_TMP";

/// Not a test by itself: what runs where there is no directory for temporary files.
#[tokio::test]
async fn child_without_a_temporary_directory() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let cx = Context::new(Duration::from_secs(10));
    let program = Program::new("/bin/sh", ["-c", "echo told; exit 3"]).unwrap();
    let said = program.run(&cx).await.unwrap_err().to_string();
    assert_eq!(said, "exit status: 3\ntold");
}

#[test]
fn without_a_temporary_directory_no_program_could_be_run() {
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_without_a_temporary_directory"])
        .env(CHILD, "1")
        .env("TMPDIR", "/no/such/place")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
