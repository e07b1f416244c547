//! Programs, and what they say.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use rollback_core::context::Context;
use rollback_core::masking::{MOST_SECRETS, Secrets};
use rollback_process::{Confided, Ending, MAX_ANSWER, MAX_OUTPUT, Program};

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

#[tokio::test]
async fn what_a_program_answered_was_lost_when_it_succeeded() {
    let cx = Context::new(Duration::from_secs(10));
    let program = Program::new("/bin/sh", ["-c", "echo one hunter2; echo two >&2"]).unwrap();
    let said = program
        .masking(&Secrets::default().given("hunter2"))
        .answer(&cx)
        .await
        .unwrap();
    assert_eq!(said, "one ***");
    let silent = Program::new("/bin/true", [""; 0]).unwrap();
    assert_eq!(silent.answer(&cx).await.unwrap(), "");
}

#[tokio::test]
async fn a_warning_was_taken_for_the_answer() {
    let cx = Context::new(Duration::from_secs(10));
    let script = |script: &str| Program::new("/bin/sh", ["-c", script]).unwrap();
    let masked = |text: &str| script(text).masking(&Secrets::default().given("hunter2"));
    let warned = masked("printf hunt; echo a warning >&2; echo er2; exit $E");
    assert_eq!(warned.answer(&cx).await.unwrap(), "***");
    let only = script("echo a warning >&2");
    assert_eq!(only.answer(&cx).await.unwrap(), "");
    // Of one that fails it is the reason.
    let failed = warned.env("E", "3").answer(&cx).await.unwrap_err();
    assert_eq!(failed.to_string(), "exit status: 3\na warning");
    let silent = masked("echo no hunter2; exit 3").answer(&cx).await;
    assert_eq!(silent.unwrap_err().output, "no ***");
    let both = script("echo one; echo two >&2; exit 3").run(&cx).await;
    assert_eq!(both.unwrap_err().output, "one\ntwo");
    let endless = script("exec yes >&2").answer(&cx).await.unwrap_err();
    assert_eq!(endless.ending, Ending::Stopped);
}

#[tokio::test]
async fn the_last_word_of_a_whole_answer_was_masked_for_a_secret_that_begins_like_it() {
    let cx = Context::new(Duration::from_secs(10));
    let says = |end: &str| {
        let script = format!("echo cannot open /srv; {end}");
        let program = Program::new("/bin/sh", ["-c", &script]).unwrap();
        program.masking(&Secrets::default().given("/srv/keys/of-ours"))
    };
    let said = says("printf 'see /srv/keys'").answer(&cx).await.unwrap();
    assert_eq!(said, "cannot open /srv\nsee /srv/keys");
    let failed = says("printf /srv/keys; exit 3").run(&cx).await.unwrap_err();
    assert!(failed.output.ends_with("/srv/keys"), "{failed}");
    // Whoever was killed may have been about to say more.
    let killed = says("printf /srv/keys; kill -9 $$").run(&cx).await;
    let killed = killed.unwrap_err();
    assert!(killed.output.ends_with("***"), "{killed}");
    let short = Context::new(Duration::from_millis(500));
    let late = says("printf /srv/keys; exec sleep 60").run(&short).await;
    let late = late.unwrap_err();
    assert_eq!(late.ending, Ending::Stopped);
    assert!(late.output.ends_with("***"), "{late}");
}

#[tokio::test]
async fn a_secret_was_told_in_another_form_or_in_part() {
    const CANARY: &str = "canary-that-sings";
    let cx = Context::new(Duration::from_secs(10));
    // In this order: a line of a key, base64, a colour, an escape, and one that nobody gave.
    let script = "echo \"$KEY\" | tail -n 1; printf $TOKEN | base64; \
                  printf 'canary-\\033[1mthat-sings\\n'; echo 'canary\\u002dthat-sings'; \
                  echo $URL | cut -d: -f3; echo password=unlisted-$TOKEN; exit 3";
    let program = Program::new("/bin/sh", ["-c", script]).unwrap();
    let program = program
        .env("KEY", format!("-----BEGIN-----\n{CANARY}-key"))
        .env("TOKEN", CANARY)
        .env("URL", format!("postgres://api:{CANARY}-url@db/"));
    let failed = program.run(&cx).await.unwrap_err();
    assert_eq!(failed.output, "***\n***=\n***\n***\n***@db/\npassword=***");
    let shown = format!("{failed:?} {failed} {program:?} {}", program.name());
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn more_secrets_than_can_be_masked_were_told() {
    let cx = Context::new(Duration::from_secs(10));
    let program = Program::new("/bin/sh", ["-c", "echo hunter2; exit 3"]).unwrap();
    let values = (0..=MOST_SECRETS).map(|n| format!("secret{n:06}"));
    let many = values.fold(Secrets::default(), Secrets::given);
    let failed = program.masking(&many).run(&cx).await.unwrap_err();
    assert!(failed.output.contains("not told"), "{failed}");
    assert!(!failed.output.contains("hunter2"), "{failed}");
}

#[tokio::test]
async fn of_what_a_program_inherited_the_rest_of_a_line_was_told() {
    let cx = Context::new(Duration::from_secs(10));
    let script = "echo the token is hunter2 indeed; echo no table; exit 3";
    let program = Program::new("/bin/sh", ["-c", script]).unwrap();
    let failed = program.inheriting().run(&cx).await.unwrap_err();
    assert_eq!(failed.output, "the token ***\nno table");
}

#[tokio::test]
async fn what_a_program_was_told_in_its_arguments_or_inherited_was_told_when_it_failed() {
    let cx = Context::new(Duration::from_secs(10));
    let script = "echo no $0 $1 at /etc/x $CARGO_MANIFEST_DIR; exit 3";
    let args = ["-c", script, "--pw=hunter22", "s3cret-value"];
    let program = Program::new("/bin/sh", args).unwrap();
    let failed = program.clone().run(&cx).await.unwrap_err();
    assert_eq!(failed.output, "no --pw=*** *** at /etc/x");
    let failed = program.inheriting().run(&cx).await.unwrap_err();
    assert_eq!(failed.output, "no --pw=*** *** at /etc/x ***");
    // What was asked for with them is the answer.
    let echo = Program::new("/bin/echo", ["main-branch"]).unwrap();
    assert_eq!(echo.answer(&cx).await.unwrap(), "main-branch");
}

#[tokio::test]
async fn an_answer_without_an_end_filled_the_disk() {
    let cx = Context::new(Duration::from_secs(60));
    let endless = Program::new("/usr/bin/yes", ["hunter2-and-more"]).unwrap();
    let stopped = endless
        .masking(&Secrets::default().given("hunter2-and-more"))
        .answer(&cx)
        .await
        .unwrap_err();
    assert_eq!(stopped.ending, Ending::Stopped);
    assert!(stopped.how.contains("more than 4 MiB"), "{stopped}");
    assert!(stopped.output.len() <= MAX_OUTPUT);
    assert!(!stopped.output.contains("hunter2"), "{stopped}");
    // Bounded as well where it ends by itself.
    let long = Program::new("/usr/bin/seq", ["100000"]).unwrap();
    let said = long.answer(&cx).await.unwrap();
    assert!(said.len() <= MAX_ANSWER && said.ends_with("\n99999\n100000"));
}

#[tokio::test]
async fn an_answer_in_confidence_was_masked_where_it_was_to_be_used() {
    let cx = Context::new(Duration::from_secs(10));
    let asked = async |script: &str, cx: &Context| {
        let program = Program::new("/bin/sh", ["-c", script]).unwrap();
        let program = program.input("https://registry.example");
        program.answer_in_confidence(cx).await
    };
    let url = "https://me:hunter2@registry.example token=hunter3";
    let told = asked(&format!("cat >&2; printf '{url}'"), &cx)
        .await
        .unwrap();
    assert_eq!(told, Confided::Answer(url.to_owned()));
    let echo = asked("cat", &cx).await.unwrap();
    assert_eq!(echo, Confided::Answer("https://registry.example".into()));
    let no = asked("echo hunter2; echo hunter3 >&2; exit 1", &cx)
        .await
        .unwrap();
    let refusal = Confided::Refusal {
        how: "exit status: 1".into(),
        said: "hunter2\n".into(),
    };
    assert_eq!(no, refusal);
    let long = asked("head -c 100000 /dev/zero", &cx).await.unwrap_err();
    let short = cx.within(Duration::from_millis(300));
    let slow = asked("echo hunter2; sleep 10", &short).await.unwrap_err();
    assert_eq!(
        (long.ending, slow.ending),
        (Ending::Failed, Ending::Stopped)
    );
    let shown = format!("{told:?} {no:?} {long:?} {slow:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[tokio::test]
async fn a_program_that_had_much_to_say_filled_the_disk() {
    let cx = Context::new(Duration::from_secs(60));
    let script = "yes | head -c 400000000; sleep 0.3; echo of 400 MB kept \
                  $(($(stat -L -c '%b * %B' /proc/$$/fd/1) / 1000000)); exit 3";
    let program = Program::new("/bin/sh", ["-c", script]).unwrap();
    let failed = program.run(&cx).await.unwrap_err();
    let (_, kept) = failed.output.rsplit_once(' ').unwrap();
    assert!(kept.parse::<u32>().unwrap() < 10, "{kept} MB");
    assert!(failed.output.len() <= MAX_OUTPUT);
}

#[tokio::test]
async fn what_was_said_in_confidence_was_written_to_a_disk() {
    let cx = Context::new(Duration::from_secs(10));
    let script = "for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done";
    let program = Program::new("/bin/sh", ["-c", script]).unwrap();
    let told = program.input("hunter2").answer_in_confidence(&cx).await;
    let Confided::Answer(told) = told.unwrap() else {
        panic!("it succeeds")
    };
    assert_eq!(told.matches("/memfd:").count(), 3, "{told}");
}

#[tokio::test]
async fn what_a_killed_program_had_started_was_not_gone_when_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("group");
    // The memory of the one that it starts takes the kernel a while to take back.
    let script = format!(
        "echo $$ > {}; dd if=/dev/zero of=/dev/null bs=600M count=1000 & wait",
        group.display()
    );
    let program = Program::new("/bin/sh", ["-c", &script]).unwrap();
    let short = Context::new(Duration::from_millis(1_500));
    let late = program.run(&short).await.unwrap_err();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|p| std::fs::read_to_string(p.path().join("stat")).ok());
    let group = std::fs::read_to_string(group).unwrap();
    let left = stats.filter(|stat| {
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let fields: Vec<&str> = fields.into_iter().flat_map(|f| f.split(' ')).collect();
        fields.get(2) == Some(&group.trim()) && fields[0] != "Z"
    });
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
    assert_eq!(late.ending, Ending::Stopped);
}
