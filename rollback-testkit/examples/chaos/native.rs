//! The few lines of C that no safe Rust can stand for, compiled where they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a source into this directory. `Err` says why that is not possible.
pub(crate) fn compiled(
    source: &str,
    dir: &Path,
    name: &str,
    flags: &[&str],
) -> Result<PathBuf, String> {
    let (file, built) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&file, source).map_err(|e| e.to_string())?;
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-o"])
        .arg(&built)
        .arg(&file)
        .args(flags);
    let output = cc.output().map_err(|e| format!("cc cannot be run: {e}"))?;
    if output.status.success() {
        Ok(built)
    } else {
        Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
