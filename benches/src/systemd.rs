//! The systemd backend's rollback, against the reload and the restart that it cannot do without.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;
use rollback_core::engine::{RollbackEngine, Workload};
use rollback_core::prelude::*;
use rollback_sqlite::SqliteStore;
use rollback_systemd::{SystemdBackend, SystemdConfig};
use rollback_testkit::fixtures::probe::free_port;
use rollback_testkit::fixtures::server::server;
use rollback_testkit::fixtures::systemd::SystemdFixture;
use zbus::OwnedObjectPath;

use crate::figure::{Figure, Unit, compare, timed};

const ROUNDS: usize = 30;
const SERVER: &str = "opt/rollback/server";

fn api() -> WorkloadId {
    "api@bench".parse().unwrap()
}

fn unit(version: &str, port: u16) -> String {
    format!(
        "[Unit]\nDescription=a service that is measured\n\n[Service]\nEnvironment=PORT={port}\n\
         Environment=VERSION={version}\nExecStart=/{SERVER}\n"
    )
}

/// A whole rollback to the unit file before. `Err` says why it cannot be measured here.
pub(crate) async fn rollback(dir: &Path) -> Result<Figure, String> {
    let fixture = SystemdFixture::boot()?;
    let to = fixture.root().join(SERVER);
    std::fs::create_dir_all(to.parent().unwrap()).map_err(|e| e.to_string())?;
    std::fs::copy(server()?, to).map_err(|e| e.to_string())?;
    let (sources, port) = (dir.join("units"), free_port());
    std::fs::create_dir(&sources).unwrap();
    let references = ["v1.service", "v2.service"];
    for reference in references {
        std::fs::write(sources.join(reference), unit(reference, port)).unwrap();
    }
    let name = "api.service".parse().unwrap();
    let config = SystemdConfig::new(api(), name, sources, dir.join("systemd"))
        .root(fixture.root())
        .bus(fixture.bus())
        .soak(Duration::ZERO);
    let gate = Gate::default().interval(Duration::from_millis(5));
    let workload = Workload::new(SystemdBackend::new(config).unwrap()).gate(gate);
    let store = SqliteStore::open(dir.join("systemd.db")).await.unwrap();
    let engine = RollbackEngine::builder(store)
        .workload(workload)
        .build()
        .unwrap();
    let actor = || Actor::user("bench").unwrap();
    let (id, mut ids) = (api(), Vec::new());
    for reference in references {
        let run = engine.deploy(&id, reference, actor());
        let report = run.await.unwrap().await.unwrap();
        assert!(report.succeeded(), "{}", report.summary());
        ids.push(report.deployment().id().clone());
    }
    let raw = Raw::new(&fixture).await;
    let last = Mutex::new(0);
    let (engine, ids, last, raw) = (&engine, &ids, &last, &raw);
    Ok(compare(
        "systemd: a whole rollback on SQLite, against daemon-reload + restart by D-Bus",
        Unit::Millis,
        ROUNDS,
        |_| async move {
            let goal = {
                let mut last = last.lock().unwrap();
                let goal = Goal::To(ids[*last].clone());
                *last = 1 - *last;
                goal
            };
            let whole = async {
                let run = engine.rollback(&api(), goal, actor()).await.unwrap();
                run.await.unwrap()
            };
            let (time, report) = timed(Box::pin(whole)).await;
            assert!(report.succeeded(), "{}", report.summary());
            time
        },
        |n| async move { timed(raw.rewind(n)).await.0 },
    )
    .await)
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// Another unit of the same kind, and a connection that is there already.
struct Raw {
    manager: ManagerProxy<'static>,
    fragment: PathBuf,
    units: [String; 2],
}

impl Raw {
    async fn new(fixture: &SystemdFixture) -> Self {
        let bus = fixture.bus();
        let connection = zbus::connection::Builder::address(&*bus).build().await;
        let manager = ManagerProxy::new(&connection.unwrap()).await.unwrap();
        manager.subscribe().await.unwrap();
        let port = free_port();
        Self {
            manager,
            fragment: fixture.root().join("etc/systemd/system/raw.service"),
            units: ["v1", "v2"].map(|version| unit(version, port)),
        }
    }

    async fn rewind(&self, n: usize) {
        std::fs::write(&self.fragment, &self.units[n % 2]).unwrap();
        let mut removed = self.manager.receive_job_removed().await.unwrap();
        self.manager.reload().await.unwrap();
        let restart = self.manager.restart_unit("raw.service", "replace");
        let job = restart.await.unwrap();
        loop {
            let signal = removed.next().await.unwrap();
            let args = signal.args().unwrap();
            if args.job == job {
                assert_eq!(args.result, "done");
                return;
            }
        }
    }
}
