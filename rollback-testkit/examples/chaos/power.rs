//! Power cuts: everything lies on an ext4 file system in a file, which is shut down while programs
//! write to it, repaired, mounted again, and given to the oracle.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rollback_testkit::service::unavailable;

use crate::dice::Dice;
use crate::ground::{Ground, SITES};
use crate::ledger::{Ledger, Line};
use crate::native::compiled;
use crate::rounds::{self, Asked, Repositories};
use crate::tally::Tally;

/// Cuts on one disk before a new one is made.
const CUTS_A_DISK: u64 = 10;
/// Room for the repositories, a few dozen releases and a history.
const SIZE: u64 = 192 * 1024 * 1024;
/// What was started there may take a moment to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Says that this program has mounts of its own.
const APART: &str = "CHAOS_APART";
/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Whether this program may mount what it likes without anybody else seeing it.
pub(crate) fn is_apart() -> bool {
    std::env::var_os(APART).is_some()
}

/// Runs this program again with mounts of its own: after each cut it sees another boot, as it would
/// after a real one, and nobody else on the machine does.
pub(crate) fn apart(args: &[String]) -> ExitCode {
    let mut program = Command::new("unshare");
    let status = program
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(args)
        .env(APART, "yes")
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) if status.code() == Some(2) => ExitCode::from(2),
        Ok(_) if is_root() => ExitCode::FAILURE,
        _ => {
            unavailable("power is cut as root alone");
            ExitCode::SUCCESS
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The boot that programs see. A real power cut begins another one.
struct Boot(PathBuf);

impl Boot {
    fn first(outside: &Path) -> Result<Self, String> {
        let boot = Self(outside.join("boot"));
        boot.next(0);
        run(Command::new("mount")
            .arg("--bind")
            .arg(&boot.0)
            .arg(BOOT_ID))?;
        Ok(boot)
    }

    fn next(&self, nth: u64) {
        fs::write(&self.0, format!("00000000-0000-4000-8000-{nth:012x}\n")).unwrap();
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(BOOT_ID));
    }
}

/// Plays the cuts; `None` where that is not possible, which has then been said.
pub(crate) fn play(asked: &Asked) -> Option<Tally> {
    let outside = tempfile::Builder::new()
        .prefix("rollback-chaos-")
        .tempdir_in(&asked.dir)
        .unwrap();
    let cutter = match compiled(include_str!("cut.c"), outside.path(), "cut", &[]) {
        Ok(cutter) => cutter,
        Err(why) => {
            unavailable(&why);
            return None;
        }
    };
    let boot = match Boot::first(outside.path()) {
        Ok(boot) => boot,
        Err(why) => {
            unavailable(&format!("power cannot be cut here: {why}"));
            return None;
        }
    };
    let mut tally = Tally::new("power", asked);
    let mut disk: Option<Disk> = None;
    for cut in 0..asked.rounds {
        let mut dice = Dice::of(asked.seed, cut);
        if cut % CUTS_A_DISK == 0 {
            disk = None;
        }
        if disk.is_none() {
            disk = match Disk::make(outside.path(), &format!("disk-{cut}"), asked) {
                Ok(disk) => Some(disk),
                Err(why) => {
                    unavailable(&format!("power cannot be cut here: {why}"));
                    return None;
                }
            };
        }
        let used = disk.as_mut().unwrap();
        let (off, log) = (used.at.clone(), used.ground.log.clone());
        rounds::shake(
            &used.ground,
            &mut dice,
            &mut tally,
            Repositories::Ours,
            Duration::from_secs(1),
            || {
                let ledger = Ledger::open(&log).unwrap();
                ledger.add(&Line::Cutting);
                let done = Command::new(&cutter).arg(&off).status().unwrap();
                assert!(done.success(), "the disk cannot be shut down");
            },
        );
        used.repair().unwrap();
        boot.next(cut + 1);
        Ledger::open(&used.ground.log).unwrap().add(&Line::Back);
        let seed = dice.throw().to_string();
        let breaches = rounds::run(&used.ground, "oracle-after-a-cut", &[&seed], rounds::ORACLE);
        let broken = !breaches.0.is_empty();
        tally.round(cut, breaches);
        if broken {
            let used = disk.take().unwrap();
            if asked.keep {
                let kept = asked.dir.join(format!("cut-{cut}.img"));
                fs::copy(&used.image, &kept).unwrap();
                fs::copy(&used.ground.log, kept.with_extension("log")).unwrap();
                println!("the disk of cut {cut} is kept as {}", kept.display());
            }
        }
    }
    Some(tally)
}

/// A file system in a file; unmounted and gone when dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    ground: Ground,
}

impl Disk {
    fn make(outside: &Path, name: &str, asked: &Asked) -> Result<Self, String> {
        let image = outside.join(format!("{name}.img"));
        let at = outside.join(name);
        fs::create_dir(&at).map_err(|e| e.to_string())?;
        let file = File::create(&image).and_then(|f| f.set_len(SIZE));
        file.map_err(|e| e.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let disk = Self {
            ground: Ground {
                dir: at.join("ground"),
                log: outside.join(format!("{name}.log")),
                store: asked.store,
            },
            image,
            at,
        };
        disk.mount()?;
        rounds::prepare(&disk.ground);
        // Packed references are rewritten as a whole when a pin among them goes.
        for site in &SITES {
            let mut git = Command::new("git");
            git.arg("-C").arg(disk.ground.repository(site));
            run(git.args(["pack-refs", "--all"]))?;
        }
        // What the first cut must not take: it was there before anybody acknowledged anything.
        disk.unmount()?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.at))
    }

    fn unmount(&self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            match run(Command::new("umount").arg(&self.at)) {
                Err(_) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }

    /// What a machine does that comes up again.
    fn repair(&self) -> Result<(), String> {
        self.unmount()?;
        let mut check = Command::new("e2fsck");
        let status = check
            .arg("-fp")
            .arg(&self.image)
            .stdout(Stdio::null())
            .status();
        // 1: errors were corrected, such as the count of free blocks.
        match status.map_err(|e| e.to_string())?.code() {
            Some(0 | 1) => self.mount(),
            code => Err(format!("e2fsck ended with {code:?}")),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
        let _ = fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program} cannot be run: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}
