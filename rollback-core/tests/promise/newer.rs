//! What a newer version began, and an older one has to end.

use rollback_core::prelude::*;

use crate::support::Bench;
use crate::{instance, left_by_the_dead, prepared};

/// A step that this version does not know.
fn newer() -> Event {
    serde_json::from_str(r#"{"event":"weighed","weight":5}"#).unwrap()
}

#[tokio::test]
async fn what_a_newer_version_had_begun_was_gone_on_with_by_an_older_one() {
    let v2 = instance("v2");
    // Where the platform stands, and what is live by it.
    for live in ["v1", "v2", ""] {
        let b = Bench::new();
        let first = b.deploy("v1").await;
        let events = vec![
            Event::PrepareIntended,
            prepared(&v2),
            newer(),
            Event::SwitchIntended,
        ];
        let id = left_by_the_dead(&b, "v2", events).await;
        let before = {
            let mut target = b.shelf.0.lock().unwrap();
            match live {
                "v1" => {}
                "v2" => target.live = Some(v2.clone()),
                _ => target.live = None,
            }
            (target.switches, target.retires)
        };
        let recovered = b.engine.recover().await.unwrap();
        let report = recovered[0].result.as_ref().unwrap();
        assert_eq!(report.outcome(), Outcome::Interrupted);
        let live_now = match live {
            "v1" => LiveRecord::Known(first.deployment().id().clone()),
            "v2" => LiveRecord::Known(id.clone()),
            _ => LiveRecord::Nothing,
        };
        assert_eq!(report.live(), &live_now, "{live}");
        let after = {
            let target = b.shelf.0.lock().unwrap();
            (target.switches, target.retires)
        };
        assert_eq!(after, before, "nothing is done");
        assert!(
            report.summary().contains("newer version"),
            "{}",
            report.summary()
        );
        // It is no hindrance to what comes next.
        assert!(b.deploy("v3").await.succeeded());
    }
}

#[tokio::test]
async fn of_a_newer_version_something_foreign_is_left_as_of_any_other() {
    let b = Bench::new();
    b.deploy("v1").await;
    left_by_the_dead(&b, "v2", vec![newer()]).await;
    b.shelf.0.lock().unwrap().live = Some(instance("by-hand"));
    let recovered = b.engine.recover().await.unwrap();
    let report = recovered[0].result.as_ref().unwrap();
    assert_eq!(report.live(), &LiveRecord::Unknown);
}
