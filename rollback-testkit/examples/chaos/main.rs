//! Chaos: programs that embed the crates are killed, stopped, cut off from power and lied to by
//! their disk, at random but by a seed; then an oracle holds what it finds against what was
//! acknowledged. See `docs/crash-testing.md`; run it with `cargo xtask chaos`.
//!
//! It is an example of this crate because it needs a backend and the stores, which need this crate
//! for their own tests.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod damage;
mod debris;
mod dice;
mod faults;
mod ground;
mod ledger;
mod native;
mod oracle;
mod power;
mod prove;
mod rounds;
mod site;
mod syncs;
mod tally;
mod worker;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use faults::Start;
use ground::{Ground, Store};
use oracle::{After, Breaches};
use rounds::{Asked, Repositories};
use tally::Tally;

const USAGE: &str =
    "usage: chaos [--kind kill|power|damage|faults|prove|sync] [--rounds N] [--seed S] \
[--store sqlite|json|both] [--dir DIR] [--keep]

  --kind   kill: SIGKILL and SIGSTOP at random instants
           power: the disk is cut off from power (ext4, as root)
           damage: one file of a history is changed
           faults: one call of an operation kills, fails, or finds the disk full
           sync: each operation is watched, and what it did not sync is told
           prove: each thing that the oracle looks for is planted, and must be found
  --dir    where to work; the system's directory for temporary files unless given
  --keep   leave the directory of a breach where it is, and say where
";

/// What is done to the programs and their files.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Kill,
    Power,
    Damage,
    Faults,
    Prove,
    Sync,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "kill" => Self::Kill,
            "power" => Self::Power,
            "damage" => Self::Damage,
            "faults" => Self::Faults,
            "prove" => Self::Prove,
            "sync" => Self::Sync,
            _ => return None,
        })
    }

    /// `None`: not possible here.
    fn play(self, asked: &Asked) -> Option<Tally> {
        match self {
            Self::Kill => Some(rounds::play(asked)),
            Self::Power => power::play(asked),
            Self::Damage => Some(damage::play(asked)),
            Self::Faults => faults::play(asked),
            Self::Prove => Some(prove::play(asked)),
            Self::Sync => syncs::play(asked),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = role(&args) {
        return code;
    }
    match asked(&args) {
        Ok((Kind::Power, _)) if !power::is_apart() => power::apart(&args),
        Ok((kind, all)) => {
            let mut well = true;
            for asked in all {
                println!("{kind:?} on {}, seed {}", asked.store.as_str(), asked.seed);
                well &= kind.play(&asked).is_none_or(Tally::close);
            }
            if well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Plays one of the parts that this program starts itself for.
fn role(args: &[String]) -> Option<ExitCode> {
    let [role, rest @ ..] = args else { return None };
    if let ("restart", [serving]) = (role.as_str(), rest) {
        return Some(match ground::restart(serving.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        });
    }
    let [dir, log, store, rest @ ..] = rest else {
        return None;
    };
    let ground = Ground {
        dir: dir.into(),
        log: log.into(),
        store: store_named(store)?,
    };
    match (role.as_str(), rest) {
        ("worker" | "worker-beside-an-owner", [seed, lasts]) => {
            let lasts = Duration::from_millis(lasts.parse().ok()?);
            let whose = if role == "worker" {
                Repositories::Ours
            } else {
                Repositories::Shared
            };
            worker::work(&ground, whose, seed.parse().ok()?, lasts);
        }
        ("oracle" | "oracle-after-a-cut", [seed]) => {
            let seed = seed.parse().ok()?;
            let after = if role == "oracle" {
                After::Kills
            } else {
                After::Cut
            };
            tell(block_on(oracle::judge(&ground, seed, after)));
        }
        ("history" | "history-killed", [nth]) => {
            let mut breaches = Breaches::default();
            let nth = nth.parse().ok()?;
            let open = block_on(damage::build(&ground, nth, &mut breaches));
            if role == "history-killed" {
                let me = rustix::process::getpid();
                rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            }
            drop(open);
            tell(breaches);
        }
        ("operate" | "operate-when-told", [task, site, file]) => {
            let site = ground::SITES.get(site.parse::<usize>().ok()?)?;
            let task = faults::Task::named(task)?;
            let start = if role == "operate" {
                Start::AtOnce(file.as_ref())
            } else {
                Start::WhenMade(file.as_ref())
            };
            block_on(faults::perform(&ground, task, site, start));
        }
        ("baseline", [to]) => {
            let mut breaches = Breaches::default();
            block_on(damage::baseline(&ground, to.as_ref(), &mut breaches));
            tell(breaches);
        }
        ("damaged", [baseline, file, how]) => {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let mut breaches = Breaches::default();
                breaches.add("panic", panic);
                tell(breaches);
                before(panic);
            }));
            let mut breaches = Breaches::default();
            let (baseline, file) = (baseline.as_ref(), file.as_ref());
            block_on(damage::judge(&ground, baseline, file, how, &mut breaches));
            tell(breaches);
        }
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

/// What a fresh process has to say to the one that started it.
fn tell(breaches: Breaches) {
    for breach in breaches.0 {
        let line = serde_json::to_string(&(breach.class, breach.what));
        println!("{}", line.unwrap());
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

fn asked(args: &[String]) -> Result<(Kind, Vec<Asked>), String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let (mut kind, mut stores) = (Kind::Kill, vec![Store::Sqlite, Store::Json]);
    let mut asked = Asked {
        rounds: 50,
        seed: now.map_or(1, |now| now.as_secs()),
        store: Store::Sqlite,
        dir: std::env::temp_dir(),
        keep: false,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--keep" {
            asked.keep = true;
            continue;
        }
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        let number = || value.parse().map_err(|e| format!("{arg} {value}: {e}"));
        match arg.as_str() {
            "--kind" => kind = Kind::named(value).ok_or(format!("no such kind: {value}"))?,
            "--rounds" => asked.rounds = number()?,
            "--seed" => asked.seed = number()?,
            "--dir" => {
                asked.dir = PathBuf::from(value);
                fs::create_dir_all(value).map_err(|e| format!("--dir {value}: {e}"))?;
            }
            "--store" if value == "both" => {}
            "--store" => {
                stores = vec![store_named(value).ok_or(format!("no such store: {value}"))?];
            }
            _ => return Err(format!("{arg} is not known")),
        }
    }
    let all = stores.into_iter().map(|store| Asked {
        store,
        ..asked.clone()
    });
    Ok((kind, all.collect()))
}

fn store_named(name: &str) -> Option<Store> {
    [Store::Sqlite, Store::Json]
        .into_iter()
        .find(|store| store.as_str() == name)
}
