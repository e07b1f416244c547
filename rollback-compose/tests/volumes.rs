//! What a service's containers have of volumes and networks, from one to the next.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::prelude::*;
use support::{Shop, me};

fn write(shop: &Shop, image: &str, volume: &str) {
    shop.write_api(image, &[&format!("volumes: [{volume}]")]);
    let file = shop.dir.join("docker-compose.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{text}volumes: {{data: {{}}}}\n")).unwrap();
}

async fn roll_back(shop: &Shop) {
    let engine = shop.engine().await;
    let back = engine.rollback(&Shop::id(), Goal::Previous, me()).await;
    let report = back.unwrap().await.unwrap();
    assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_volume_in_the_long_form_is_taken_over_and_goes_back() {
    let Some(shop) = Shop::new() else { return };
    let long = "{type: volume, source: data, target: /data}";
    write(&shop, "api:v1", long);
    shop.compose(&["up", "-d"]);
    write(&shop, "api:v2", long);
    let adopted = shop.engine().await.adopt(&Shop::id(), me()).await;
    assert_eq!(
        adopted.unwrap().await.unwrap().outcome(),
        Outcome::Succeeded
    );
    shop.deploy().await;
    shop.up_changes_nothing();
    roll_back(&shop).await;
    assert_eq!(shop.version(), "v1");
    assert_eq!(shop.counted().len(), 1);
    shop.deploy().await;
    assert_eq!(shop.version(), "v2");
    shop.up_changes_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_copying_stands_by_and_is_gone_back_to_after_down() {
    let Some(shop) = Shop::new() else { return };
    for image in ["api:v1", "api:v2"] {
        write(&shop, image, "'data:/data:nocopy'");
        shop.deploy().await;
    }
    shop.up_changes_nothing();
    // It takes the live container and the network away, and knows nothing of what stands by.
    shop.compose(&["down"]);
    assert!(shop.counted().is_empty());
    roll_back(&shop).await;
    assert_eq!(shop.version(), "v1");
    write(&shop, "api:v1", "'data:/data:nocopy'");
    shop.up_changes_nothing();
}
