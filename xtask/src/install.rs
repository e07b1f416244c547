//! What the tests need from the machine, and how it gets there.

use std::path::Path;
use std::process::Command;

/// A program the tests need, and the Debian package that has it.
const NEEDS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("git", "git"),
    ("strace", "strace"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("dockerd", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("docker-compose", "docker-compose"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("systemd-nspawn", "systemd-container"),
    ("dbus-daemon", "dbus"),
];

/// Installs what is missing as root on Debian; elsewhere says what it is. Only CI insists: a
/// laptop without a service skips that service's tests.
pub(crate) fn what_tests_need() -> Result<(), String> {
    let missing: Vec<_> = NEEDS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .collect();
    if missing.is_empty() {
        println!("everything the tests need is here");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !is_root() || !on_path("apt-get") {
        let list = packages.join(" ");
        println!("missing: install the Debian packages {list} (or their like) to run every test");
        return match std::env::var_os("CI") {
            Some(_) => Err(format!("CI needs {list}")),
            None => Ok(()),
        };
    }
    println!("installing {}", packages.join(" "));
    apt(&["update", "-qq"])?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&packages);
    apt(&args)?;
    match NEEDS.iter().find(|(program, _)| !on_path(program)) {
        Some((program, package)) => Err(format!(
            "{package} was installed, but {program} is not on the PATH"
        )),
        None => Ok(()),
    }
}

fn apt(args: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Where nothing is in charge of services, as in a container, Debian's scripts start none;
        // elsewhere this keeps the older ones from it. The tests start their own.
        .env("RUNLEVEL", "1")
        .status()
        .map_err(|e| format!("apt-get cannot be run: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("apt-get {} failed", args.join(" ")))
    }
}

/// Whether a program is on the PATH, or where Debian keeps those of root.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| Path::new(&dir).join(program).is_file())
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|l| {
        l.strip_prefix("Uid:")
            .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
    })
}
