//! What would be published: each package is whole, and all of them build from what is packaged.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stages::{cargo, run_to_end};

/// What a package must hold: what a reader, a lawyer and a compiler look for first.
const HELD: &[&str] = &[
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "src/lib.rs",
];

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The crates that are published: those in directories that are named like the project.
pub(crate) fn published() -> Result<Vec<String>, String> {
    let entries = fs::read_dir(root()).map_err(|e| format!("the workspace: {e}"))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("rollback-"))
        .collect();
    names.sort();
    Ok(names)
}

/// Packages every published crate, unpacks them side by side, and checks them there as one
/// workspace. Cargo's own verification builds each by itself, with dependencies of other features:
/// that takes ten times as long and finds no more.
pub(crate) fn check() -> Result<(), String> {
    let names = published()?;
    let mut args = vec!["package", "--quiet", "--no-verify", "--allow-dirty"];
    args.extend(names.iter().flat_map(|name| ["--package", name]));
    cargo(&args, &[])?;

    let packaged = root().join("target/packaged");
    let _ = fs::remove_dir_all(&packaged);
    fs::create_dir_all(&packaged).map_err(|e| format!("{}: {e}", packaged.display()))?;
    let (mut members, mut patches) = (String::new(), String::new());
    for name in &names {
        let dir = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let archive = root().join(format!("target/package/{dir}.crate"));
        run_to_end(
            Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("-C")
                .arg(&packaged),
        )
        .map_err(|e| format!("tar on {}: {e}", archive.display()))?;
        is_whole(&packaged.join(&dir))?;
        // Writing to a string cannot fail.
        let _ = writeln!(members, "  {dir:?},");
        let _ = writeln!(patches, "{name} = {{ path = {dir:?} }}");
    }
    // With the same profiles, so that what was built of the dependencies is used again.
    let ours = fs::read_to_string(root().join("Cargo.toml")).map_err(|e| e.to_string())?;
    let profiles = ours.find("[profile.").map_or("", |at| &ours[at..]);
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\n{members}]\n\n[patch.crates-io]\n{patches}\n{profiles}"
    );
    let place = packaged.join("Cargo.toml");
    fs::write(&place, manifest)
        .and_then(|()| fs::copy(root().join("Cargo.lock"), packaged.join("Cargo.lock")))
        .map_err(|e| format!("{}: {e}", packaged.display()))?;
    let (place, target) = (place.display().to_string(), root().join("target"));
    let target = target.display().to_string();
    cargo(
        &[
            "check",
            "--workspace",
            "--manifest-path",
            &place,
            "--target-dir",
            &target,
        ],
        &[],
    )
}

/// Fails for a package that lacks something, or has a link in its place.
fn is_whole(package: &Path) -> Result<(), String> {
    for name in HELD {
        let file = package.join(name);
        let meta = fs::symlink_metadata(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        if !meta.is_file() || meta.len() == 0 {
            return Err(format!(
                "{} is no file with something in it",
                file.display()
            ));
        }
    }
    Ok(())
}
