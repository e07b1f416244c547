//! [`Journal`]: what a unit's invocations have logged, as `journalctl` tells it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollback_core::context::Context;
use rollback_core::diagnosis::MAX_LOG_LINES;
use rollback_core::time::Timestamp;
use rollback_process::{Program, Unsuccessful};

use crate::config::UnitName;
use crate::hidden::Hidden;

/// How long reading may take, with what is read before: the facts of a diagnosis are not to be lost
/// with its log.
pub(crate) const READING: Duration = Duration::from_secs(3);

/// The length of `2026-03-15T14:30:22`.
const STAMP: usize = 19;

/// A line is in the journal a moment after its program has ended: how often one is looked for, and
/// how far apart.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(100);

/// The id of one run of a unit (systemd.exec(5)): what it logged bears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation(String);

impl Invocation {
    /// Of 32 hexadecimal digits. A unit that never ran has none.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let fits = id.len() == 32
            && id.bytes().all(|b| b.is_ascii_hexdigit())
            && id.bytes().any(|b| b != b'0');
        fits.then(|| Self(id.to_ascii_lowercase()))
    }
}

/// Whose lines are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) unit: &'a UnitName,
    pub(crate) invocations: Vec<Invocation>,
    /// Processes of the last of them. The journal does not always find out of which invocation a
    /// process was that ends as soon as it has said why (systemd#2913).
    pub(crate) processes: &'a [u32],
    /// When the manager was started: before that, processes with these numbers were others.
    pub(crate) boot: Timestamp,
}

/// The journal of the machine below a root directory.
pub(crate) struct Journal {
    journalctl: OsString,
    root: PathBuf,
}

impl Journal {
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            journalctl: "journalctl".into(),
            root: root.to_owned(),
        }
    }

    /// The last lines of some invocations, oldest first: what the unit's programs said, and what
    /// the manager said of them. `Err` says why there are none; it is in nobody's way.
    pub(crate) async fn last_lines(
        &self,
        cx: &Context,
        of: &Wanted<'_>,
        hidden: Hidden,
    ) -> Result<String, String> {
        let program = Program::new(&self.journalctl, self.arguments(of))
            .map_err(|e| e.to_string())?
            .masking(hidden.secrets());
        let cx = cx.looking().within(READING);
        for look in 1.. {
            let text = program.answer(&cx).await;
            let text = text.map_err(|e| self.no_log(&e))?;
            let text = since(of.boot, &text);
            if !text.is_empty() {
                return Ok(text.to_owned());
            }
            if look == LOOKS || cx.sleep(BETWEEN).await.is_err() {
                break;
            }
        }
        Err(format!(
            "the journal below {} has no line of it that this user may read",
            self.root.display()
        ))
    }

    /// Options and fields that systemd 252 knows. `--all`: of a line with one unprintable character
    /// `journalctl` otherwise tells nothing but its length.
    fn arguments(&self, of: &Wanted<'_>) -> Vec<OsString> {
        let options = ["--quiet", "--no-pager", "--all", "--no-hostname", "--utc"];
        let mut args: Vec<OsString> = options.map(Into::into).into();
        // Beside all that follows: a process of an earlier boot with the same number was another's.
        args.push("--boot=0".into());
        args.push("--output=short-iso".into());
        args.push(format!("--lines={MAX_LOG_LINES}").into());
        if self.root != Path::new("/") {
            let mut root = OsString::from("--root=");
            root.push(&self.root);
            args.push(root);
        }
        // Matches of one field are alternatives, those of several are all necessary, and what
        // stands on the two sides of `+` are alternatives again.
        let ids = |field: &str| -> Vec<OsString> {
            let ids = of.invocations.iter();
            ids.map(|id| format!("{field}={}", id.0).into()).collect()
        };
        args.extend(ids("_SYSTEMD_INVOCATION_ID"));
        args.push("+".into());
        args.extend(ids("INVOCATION_ID"));
        if !of.processes.is_empty() {
            args.push("+".into());
            args.push(format!("_SYSTEMD_UNIT={}", of.unit).into());
            args.extend(of.processes.iter().map(|pid| format!("_PID={pid}").into()));
        }
        args
    }

    fn no_log(&self, e: &Unsuccessful) -> String {
        let name = self.journalctl.to_string_lossy();
        let why = e.to_string().replace('\n', ": ");
        format!("{name} gave no log: {why}")
    }
}

/// The text from the first line on that is not older; lines begin with their time, or go on with
/// what others began: of what goes on at the beginning nobody knows how old it is. `--since` with
/// `--lines` would give the first lines instead of the last, and what starts anew without a boot, such
/// as a container, has its numbers twice in one.
fn since(boot: Timestamp, text: &str) -> &str {
    let boot = boot.to_string();
    let mut rest = text;
    let mut older = true;
    for line in text.split_inclusive('\n') {
        older = stamp(line).map_or(older, |at| Some(at) < boot.get(..STAMP));
        if !older {
            break;
        }
        rest = &rest[line.len()..];
    }
    rest
}

/// The time with which a line begins, if it does.
fn stamp(line: &str) -> Option<&str> {
    let stamp = line.get(..STAMP)?;
    let shape = |(at, b): (usize, u8)| match at {
        4 | 7 => b == b'-',
        10 => b == b'T',
        13 | 16 => b == b':',
        _ => b.is_ascii_digit(),
    };
    stamp.bytes().enumerate().all(shape).then_some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789ABCDEF";

    fn ids() -> Vec<Invocation> {
        vec![Invocation::parse(ID).unwrap()]
    }

    fn boot() -> Timestamp {
        "2026-03-15T14:30:22.9Z".parse().unwrap()
    }

    async fn why_not(journal: Journal) -> String {
        read(journal).await.unwrap_err()
    }

    async fn read(journal: Journal) -> Result<String, String> {
        read_hiding(journal, Hidden::default()).await
    }

    async fn read_hiding(journal: Journal, hidden: Hidden) -> Result<String, String> {
        let wanted = Wanted {
            unit: &"api.service".parse().unwrap(),
            invocations: ids(),
            processes: &[42],
            boot: boot(),
        };
        let cx = Context::new(Duration::from_secs(30));
        journal.last_lines(&cx, &wanted, hidden).await
    }

    #[test]
    fn what_is_no_invocation_id_would_become_an_option_or_match_everything() {
        assert_eq!(ids(), [Invocation(ID.to_lowercase())]);
        let zero = "0".repeat(32);
        for bad in ["", "--flush", &zero, &ID[1..], &format!("{ID}0")] {
            assert_eq!(Invocation::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Invocation::parse(&ID.replace('0', "+")), None);
    }

    #[test]
    fn a_program_that_ended_as_it_spoke_lost_its_last_words() {
        let unit = "api.service".parse().unwrap();
        let mut wanted = Wanted {
            unit: &unit,
            invocations: ids(),
            processes: &[42, 43],
            boot: boot(),
        };
        let matches = |wanted: &Wanted<'_>| {
            let args = Journal::below(Path::new("/")).arguments(wanted);
            let args: Vec<String> = args.into_iter().map(|a| a.into_string().unwrap()).collect();
            let options = args.iter().take_while(|a| a.starts_with("--")).count();
            let boot = args.iter().position(|a| a == "--boot=0");
            assert!(boot.is_some_and(|at| at < options), "{args:?}");
            args[options..].join(" ")
        };
        let id = ID.to_lowercase();
        let by_id = format!("_SYSTEMD_INVOCATION_ID={id} + INVOCATION_ID={id}");
        assert_eq!(
            matches(&wanted),
            format!("{by_id} + _SYSTEMD_UNIT=api.service _PID=42 _PID=43")
        );
        // Without a process every line of the unit would match, the former release's too.
        wanted.processes = &[];
        assert_eq!(matches(&wanted), by_id);
    }

    #[test]
    fn a_process_of_an_earlier_boot_with_the_same_number_had_its_lines_told() {
        let old = "2026-03-15T14:30:21+0000 api[42]: well\n    and more of it\n";
        let new = "2026-03-15T14:30:22+0000 api[42]: no table\n    called users\n";
        assert_eq!(
            since(boot(), &format!("{old}{old}{new}{old}")),
            format!("{new}{old}")
        );
        assert_eq!(since(boot(), old), "");
        assert_eq!(since(boot(), ""), "");
        // A line that was cut, or one that is none of the journal's, told nothing of what followed.
        for other in ["Journal file x is truncated, ignoring file.\n", "e\n", "\n"] {
            assert_eq!(since(boot(), other), "");
            assert_eq!(since(boot(), &format!("{other}{old}")), "");
            assert_eq!(since(boot(), &format!("{other}{old}{new}")), new);
        }
    }

    #[tokio::test]
    async fn where_there_is_no_journalctl_a_diagnosis_says_so() {
        let journal = Journal {
            journalctl: "/no/such/journalctl".into(),
            root: "/".into(),
        };
        let why = why_not(journal).await;
        assert!(why.contains("/no/such/journalctl gave no log"), "{why}");
        assert!(why.contains("No such file"), "{why}");
    }

    #[tokio::test]
    async fn a_journal_without_a_line_is_looked_at_some_times_and_not_without_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let looks = dir.path().join("looks");
        let journal = stub(dir.path(), &format!("echo >> '{}'", looks.display()));
        let why = why_not(journal).await;
        assert!(why.contains("no line of it"), "{why}");
        let looks = std::fs::read_to_string(looks).unwrap();
        assert_eq!(looks.len(), LOOKS as usize);
    }

    #[tokio::test]
    async fn a_warning_of_journalctl_was_taken_for_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let warning = "Journal file x is truncated, ignoring file.";
        let why = why_not(stub(dir.path(), &format!("echo '{warning}' >&2"))).await;
        assert!(why.contains("no line of it"), "{why}");
        let old = "2026-03-15T14:30:21+0000 api[42]: of another";
        let new = "2026-03-15T14:30:22+0000 api[42]: no table";
        let both = format!("echo '{warning}' >&2; echo '{old}'; echo '{new}'");
        let read = read(stub(dir.path(), &both)).await;
        assert_eq!(read.unwrap(), new);
        let fails = stub(dir.path(), &format!("echo '{new}'; echo no >&2; exit 1"));
        let why = why_not(fails).await;
        assert!(why.ends_with("gave no log: exit status: 1: no"), "{why}");
    }

    #[tokio::test]
    async fn a_secret_with_a_colour_in_it_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let hidden = || Hidden::values_of(&["hunter2"]);
        let line = "2026-03-15T14:30:22+0000 api[42]:";
        let says = "hun\\033[1mter2 hunt\\rer2 hunter2";
        let both = stub(dir.path(), &format!("printf \"{line} {says}\\n\""));
        let read = read_hiding(both, hidden()).await.unwrap();
        assert_eq!(read, format!("{line} *** *** ***"));
        let fails = stub(dir.path(), &format!("printf \"{says}\" >&2; exit 1"));
        let why = read_hiding(fails, hidden()).await.unwrap_err();
        assert!(why.ends_with("status: 1: *** *** ***"), "{why}");
    }

    #[tokio::test]
    async fn a_journalctl_that_does_not_end_is_given_up_before_the_diagnosis_is() {
        let dir = tempfile::tempdir().unwrap();
        let began = std::time::Instant::now();
        let why = why_not(stub(dir.path(), "exec sleep 60")).await;
        assert!(why.contains("did not end in time"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(9));
    }

    /// A `journalctl` that does this. Written by another process: what this one has open for writing
    /// the children of other tests may have as well, and nobody could run it.
    fn stub(dir: &Path, script: &str) -> Journal {
        let path = dir.join("journalctl");
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\"";
        let mut written = std::process::Command::new("/bin/sh");
        let written = written.args(["-c", write]).arg(&path).arg(script).status();
        assert!(written.unwrap().success());
        Journal {
            journalctl: path.into(),
            root: "/".into(),
        }
    }
}
