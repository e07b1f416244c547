//! Proof that the oracle sees: each thing that it looks for is planted by hand, and must be found.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use crate::damage::copy;
use crate::ground::{Ground, SITES, Site};
use crate::ledger::{Ledger, Line};
use crate::oracle::Breaches;
use crate::rounds::{self, Asked};
use crate::site;
use crate::tally::Tally;

/// Something planted, and the class of breach that it has to be.
type Plant = (&'static str, fn(&Ground, &Site));

const PLANTS: [Plant; 14] = [
    ("live is not what is on record", another_is_current),
    ("something else serves", |ground, site| {
        fs::write(ground.serving(site), "v99").unwrap();
    }),
    ("the live release is not whole", |ground, site| {
        fs::write(live(ground, site).join("app/body"), "").unwrap();
    }),
    ("a standing release is not whole", |ground, site| {
        fs::write(standby(ground, site).join("app/body"), "").unwrap();
    }),
    ("a directory without a record", |ground, site| {
        let stray = ground.root(site).join("releases/stray");
        copy(&live(ground, site), &stray);
    }),
    ("left over", |ground, site| {
        // Where nobody sweeps: what lies in the deploy root is put right before it is looked for.
        let beside = ground.root(site).with_file_name(".tmpAbCdEf");
        fs::write(beside, "").unwrap();
    }),
    ("left over", |ground, site| {
        let heads = ground.repository(site).join("refs/heads");
        fs::write(heads.join("planted.lock"), "").unwrap();
    }),
    ("a pinned commit cannot be read", |ground, site| {
        let (_, commit) = pin(ground, site);
        let object = ground.repository(site).join("objects").join(&commit[..2]);
        fs::remove_file(object.join(&commit[2..])).unwrap();
    }),
    ("an acknowledged deployment is lost", |ground, site| {
        add(ground, |deployment| Line::Begun {
            workload: site.id().to_string(),
            deployment,
        });
    }),
    ("an acknowledged event is lost", |ground, site| {
        let (name, _) = pin(ground, site);
        let deployment = name.rsplit('/').next().unwrap().to_owned();
        for _ in 0..2 {
            add(ground, |_| Line::Written {
                deployment: deployment.clone(),
                event: "switched".to_owned(),
            });
        }
    }),
    ("an outcome is not as reported", |ground, site| {
        let (name, _) = pin(ground, site);
        let deployment = name.rsplit('/').next().unwrap().to_owned();
        add(ground, |_| Line::Reported {
            deployment,
            outcome: "refused".to_owned(),
            live: None,
        });
    }),
    ("an acknowledged note is lost", |ground, site| {
        let (name, _) = pin(ground, site);
        let deployment = name.rsplit('/').next().unwrap().to_owned();
        add(ground, |_| Line::Noted {
            deployment,
            text: "never written".to_owned(),
        });
    }),
    ("an acknowledged setting is lost", |ground, site| {
        add(ground, |_| Line::Set {
            by: 1,
            what: format!("hold {}", site.id()),
            value: "yes".to_owned(),
            ok: true,
        });
    }),
    ("panic", |ground, _| {
        Ledger::open(&ground.log).unwrap().wrong("panic", "planted");
    }),
];

/// Plants everything once, whatever number of rounds is asked for.
pub(crate) fn play(asked: &Asked) -> Tally {
    let mut tally = Tally::new("prove", asked);
    let (whole, dir) = rounds::new_ground(asked);
    let built = rounds::run(&whole, "history", &["1"], Duration::from_secs(120));
    assert!(built.0.is_empty(), "{built:?}");
    // A workload with a restart command, so that there is something to serve.
    let site = SITES.iter().find(|site| site.restarts()).unwrap();
    for (nth, (class, plant)) in (0..).zip(PLANTS) {
        let ground = Ground {
            dir: dir.path().join("planted"),
            log: dir.path().join("planted.log"),
            store: whole.store,
        };
        copy(&whole.dir, &ground.dir);
        fs::copy(&whole.log, &ground.log).unwrap();
        plant(&ground, site);
        let found = rounds::run(&ground, "oracle", &["1"], rounds::ORACLE);
        let mut breaches = Breaches::default();
        if !found.0.iter().any(|breach| breach.class == class) {
            breaches.add("planted and not found", format!("{class}: {found:?}"));
        }
        tally.round(nth, breaches);
        fs::remove_dir_all(&ground.dir).unwrap();
    }
    tally
}

fn add(ground: &Ground, line: impl FnOnce(String) -> Line) {
    let never = "deploy-29991231-235959-0123456789abcdef".to_owned();
    Ledger::open(&ground.log).unwrap().add(&line(never));
}

fn live(ground: &Ground, site: &Site) -> PathBuf {
    site::current(&ground.root(site)).unwrap().unwrap()
}

/// A release that stands and is not live.
fn standby(ground: &Ground, site: &Site) -> PathBuf {
    let live = live(ground, site);
    let all = fs::read_dir(ground.root(site).join("releases")).unwrap();
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.retain(|dir| *dir != live);
    all.pop().unwrap()
}

fn another_is_current(ground: &Ground, site: &Site) {
    let link = ground.root(site).join("current");
    let other = standby(ground, site);
    fs::remove_file(&link).unwrap();
    symlink(other, link).unwrap();
}

/// One of the workload's pins: its name, and its commit.
fn pin(ground: &Ground, site: &Site) -> (String, String) {
    let prefix = format!("refs/rollback/{}/", site.id());
    let mut kept = site::pins(&ground.repository(site)).unwrap().kept;
    kept.retain(|(name, _)| name.starts_with(&prefix));
    kept.pop().unwrap()
}
