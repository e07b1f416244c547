//! The second witness of a holder's life: the process itself, as the kernel shows it.

use std::fs;

use rollback_core::history::{Holder, Liveness};
use rollback_core::time::Timestamp;

/// Whether this process is the holder.
pub(crate) fn is_this_process(holder: &Holder) -> bool {
    let this = Holder::this_process(Timestamp::UNIX_EPOCH);
    let of = |h: &Holder| (h.pid, h.boot.clone(), h.started, h.namespace);
    of(holder) == of(&this)
}

/// Whether a holder's process runs. Without proof of its death it lives: another namespace's
/// processes cannot be seen from here.
pub(crate) fn liveness(holder: &Holder) -> Liveness {
    let this = Holder::this_process(Timestamp::UNIX_EPOCH);
    if this.boot.is_none() {
        return Liveness::Alive;
    }
    if holder.boot != this.boot {
        return Liveness::Dead;
    }
    if holder.namespace.is_none() || holder.namespace != this.namespace {
        return Liveness::Alive;
    }
    match started(&holder.pid.to_string()) {
        Some(started) if Some(started) == holder.started => Liveness::Alive,
        _ => Liveness::Dead,
    }
}

/// Whether a holder's process can be told from here to live or not.
pub(crate) fn sees(holder: &Holder) -> bool {
    let this = Holder::this_process(Timestamp::UNIX_EPOCH);
    let known = this.boot.is_some() && this.namespace.is_some();
    known && (holder.boot != this.boot || holder.namespace == this.namespace)
}

/// The 22nd field of proc_pid_stat(5); the second, the program's name, may hold anything. A zombie
/// acts no more.
fn started(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_told_from_another_that_has_its_number_and_from_one_of_another_boot() {
        let _alone = crate::alone::alone();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut holder = Holder::this_process(Timestamp::UNIX_EPOCH);
        assert!(holder.boot.is_some() && holder.namespace.is_some());
        assert!(is_this_process(&holder));
        assert_eq!(liveness(&holder), Liveness::Alive);
        holder.pid = child.id();
        assert!(!is_this_process(&holder));
        holder.started = started(&child.id().to_string());
        assert_eq!(liveness(&holder), Liveness::Alive);
        let mut other = holder.clone();
        other.started = Some(1);
        assert_eq!(liveness(&other), Liveness::Dead);
        let mut other = holder.clone();
        other.boot = Some("another".to_owned());
        assert_eq!(liveness(&other), Liveness::Dead);
        let mut other = holder.clone();
        other.namespace = Some(1);
        assert_eq!(liveness(&other), Liveness::Alive);
        child.kill().unwrap();
        // Dead, though nobody has waited for it.
        for _ in 0..1_000 {
            if liveness(&holder) == Liveness::Dead {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(liveness(&holder), Liveness::Dead);
        child.wait().unwrap();
        assert_eq!(liveness(&holder), Liveness::Dead);
    }
}
