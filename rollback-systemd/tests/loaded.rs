//! What a manager has loaded before it is not asked about again; what may be otherwise is.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rollback_core::backend::{Backend, End, Instance};
use rollback_core::prelude::*;
use rollback_testkit::backend_suite::Driver;
use rollback_testkit::world::Build;
use support::{SystemdWorld, boot};

/// Prepares what is kept once more; gives whether a copy was put among the units for that.
async fn is_asked(world: &SystemdWorld, d: &Driver, to: &Instance) -> Result<bool, BackendError> {
    let units = world.fragment().parent().unwrap().to_owned();
    let changed = || {
        let units = units.metadata().unwrap();
        (units.mtime(), units.mtime_nsec())
    };
    let op = d.operation(End::Placed(to.clone())).await;
    let before = changed();
    let prepared = world.systemd().prepare(&Driver::cx(), &op).await?;
    assert_eq!(prepared.to.handle, to.handle);
    Ok(changed() != before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_unit_was_loaded_as_a_copy_before_each_rollback() {
    let Some(fixture) = boot() else { return };
    let world = Arc::new(SystemdWorld::new(fixture));
    let d = Driver::new(world.clone());
    let one = d.deploy(Build::V1).await.to.instance().unwrap().clone();
    d.deploy(Build::V2).await;
    assert!(!is_asked(&world, &d, &one).await.unwrap());

    // By another manager, or by a start of it that is over.
    let note = world
        .dir()
        .join("state/instances")
        .join(one.handle.as_str());
    for other in ["version", "boot"] {
        let noted = fs::read_to_string(&note).unwrap();
        let mut read: serde_json::Value = serde_json::from_str(&noted).unwrap();
        let loaded = &mut read["loaded"][other];
        assert!(!loaded.is_null(), "{noted}");
        *loaded = match other {
            "boot" => 1.into(),
            _ => "1".into(),
        };
        fs::write(&note, read.to_string()).unwrap();
        assert!(is_asked(&world, &d, &one).await.unwrap(), "{other}");
        assert!(!is_asked(&world, &d, &one).await.unwrap(), "{other}");
    }

    // What an earlier version has kept.
    let mut read: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&note).unwrap()).unwrap();
    read.as_object_mut().unwrap().remove("loaded");
    fs::write(&note, read.to_string()).unwrap();
    assert!(is_asked(&world, &d, &one).await.unwrap());

    // What all services get.
    let all = world.fragment().with_file_name("service.d");
    fs::create_dir(&all).unwrap();
    fs::write(all.join("x.conf"), "[Unit]\nRefuseManualStart=yes\n").unwrap();
    let e = is_asked(&world, &d, &one).await.unwrap_err();
    assert!(e.to_string().contains("RefuseManualStart"), "{e}");
    fs::remove_dir_all(&all).unwrap();
    assert!(!is_asked(&world, &d, &one).await.unwrap());
}
