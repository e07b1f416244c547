//! The tests' programs, run in three lanes: two of those that wait for real services most of the time, and
//! one of all others beside them. Who has done his own helps the others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Crates whose tests wait for dockerd and systemd.
const WAITING: &[&str] = &["rollback-docker", "rollback-compose", "rollback-systemd"];

/// Which take longest by what is in their names: they begin first, so that none is left alone at the end.
const LONGEST: &[&str] = &[
    "slow",
    "suite",
    "kill",
    "outages",
    "beside",
    "endpoints",
    "history",
    "real_stack",
    "simulator",
];

/// One program of tests.
struct Tests {
    package: String,
    name: String,
    program: PathBuf,
    /// Where its package is, and where it runs.
    root: PathBuf,
}

/// How one has ended.
struct Ended {
    name: String,
    output: String,
    took: Duration,
    passed: bool,
}

/// Builds every program of tests, and runs them with this directory for temporary files. All of them,
/// whether some fail or not.
pub(crate) fn run(tmp: &str) -> Result<(), String> {
    let mut built = built()?;
    // The last one is taken first.
    built.sort_by_key(Tests::is_long);
    let (waiting, others): (Vec<_>, Vec<_>) = built
        .into_iter()
        .partition(|tests| WAITING.contains(&&*tests.package));
    if waiting.is_empty() || others.is_empty() {
        return Err("cargo does not say what it has built".into());
    }
    let (tmp, all) = (Path::new(tmp), waiting.len() + others.len());
    let (waiting, others) = (Mutex::new(waiting), Mutex::new(others));
    let ended = std::thread::scope(|scope| {
        let beside = [(); 2].map(|()| scope.spawn(|| lane([&waiting, &others], tmp)));
        let mut ended = lane([&others, &waiting], tmp);
        for lane in beside {
            ended.extend(lane.join().unwrap_or_default());
        }
        ended
    });
    if ended.len() != all {
        return Err(format!("of {all} programs {} have ended", ended.len()));
    }
    let mut slowest: Vec<&Ended> = ended.iter().collect();
    slowest.sort_by_key(|ended| std::cmp::Reverse(ended.took));
    println!("\nthe slowest programs:");
    for ended in slowest.iter().take(8) {
        println!("{:<40} {:>6.1} s", ended.name, ended.took.as_secs_f64());
    }
    let failed = ended.iter().filter(|ended| !ended.passed);
    let failed: Vec<&str> = failed.map(|ended| &*ended.name).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("these tests failed: {}", failed.join(", "))),
    }
}

/// Runs what is left of these, of the first as long as there is any.
fn lane(left: [&Mutex<Vec<Tests>>; 2], tmp: &Path) -> Vec<Ended> {
    let next = |of: &&Mutex<Vec<Tests>>| of.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut ended = Vec::new();
    while let Some(tests) = left.iter().find_map(next) {
        ended.push(told(tests.run(tmp)));
    }
    ended
}

/// What cargo has built, as it names it.
fn built() -> Result<Vec<Tests>, String> {
    let args = [
        "test",
        "--workspace",
        "--all-features",
        "--lib",
        "--bins",
        "--tests",
    ];
    println!("cargo {} --no-run", args.join(" "));
    let output = Command::new(env!("CARGO"))
        .args(args)
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("the tests do not build, {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|l| serde_json::from_str(l).ok());
    Ok(messages.filter_map(|message| Tests::of(&message)).collect())
}

impl Tests {
    fn of(message: &Value) -> Option<Self> {
        let program = message["executable"].as_str()?;
        if message["profile"]["test"] != true {
            return None;
        }
        let root = Path::new(message["manifest_path"].as_str()?).parent()?;
        let package = root.file_name()?.to_str()?.to_owned();
        let target = message["target"]["name"].as_str()?;
        Some(Self {
            name: format!("{package}: {target}"),
            package,
            program: program.into(),
            root: root.to_owned(),
        })
    }

    fn is_long(&self) -> bool {
        LONGEST.iter().any(|part| self.name.contains(part))
    }

    /// As cargo runs it.
    fn run(&self, tmp: &Path) -> Ended {
        println!("running {}", self.name);
        let began = Instant::now();
        let output = Command::new(&self.program)
            .current_dir(&self.root)
            .env("CARGO_MANIFEST_DIR", &self.root)
            .env("TMPDIR", tmp)
            .stdin(Stdio::null())
            .output();
        let (output, passed) = match output {
            Ok(output) => {
                let [out, err] = [&output.stdout, &output.stderr];
                let text = String::from_utf8_lossy(out) + String::from_utf8_lossy(err);
                (text.into_owned(), output.status.success())
            }
            Err(e) => (format!("it cannot be run: {e}\n"), false),
        };
        Ended {
            name: self.name.clone(),
            output,
            took: began.elapsed(),
            passed,
        }
    }
}

/// Prints what a program has said, once it has ended: several run at once.
fn told(ended: Ended) -> Ended {
    let took = ended.took.as_secs_f64();
    println!("\n--- {}, {took:.1} s\n{}", ended.name, ended.output);
    ended
}
