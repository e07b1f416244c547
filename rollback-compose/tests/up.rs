//! A later `docker-compose up -d` finds nothing to change.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::prelude::*;
use support::{Shop, me};

const REST: [&str; 12] = [
    "command: [serve, '--secret', 'pa$$word']",
    "environment: {PORT: '8080', TOKEN: 'pa$$word'}",
    "ports: ['127.0.0.1:18080:8080', '9000:9000/udp']",
    "volumes: ['data:/data', '/etc/hostname:/conf:ro']",
    "networks: {default: {}, back: {aliases: [b], ipv4_address: 10.77.0.5}}",
    "restart: unless-stopped",
    "labels: {team: a}",
    "hostname: shop",
    "ulimits: {nofile: {soft: 1024, hard: 2048}}",
    "mem_limit: 64m",
    "stop_grace_period: 3s",
    "cap_add: [NET_ADMIN]",
];

const BACK: &str = "volumes: {data: {}}\n\
                    networks: {back: {ipam: {config: [{subnet: 10.77.0.0/16}]}}}\n";

fn write(shop: &Shop, image: &str, more: &[&str]) {
    shop.write_api(image, &[&REST[..], more].concat());
    let file = shop.dir.join("docker-compose.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{text}{BACK}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_and_rolled_back_is_up_to_date_for_compose() {
    let Some(shop) = Shop::new() else { return };
    write(&shop, "api:v1", &[]);
    shop.deploy().await;
    assert_eq!(shop.version(), "v1");
    shop.up_changes_nothing();
    // Compose has made the network and the volume: it will remove them, too.
    let label = "{{index .Labels \"com.docker.compose.project\"}}";
    for about in [["network", "shop_back"], ["volume", "shop_data"]] {
        let [kind, name] = about;
        assert_eq!(
            shop.fixture
                .must(&[kind, "inspect", "-f", label, name])
                .trim(),
            "shop"
        );
    }
    write(&shop, "api:v2", &[]);
    shop.deploy().await;
    assert_eq!(shop.version(), "v2");
    shop.up_changes_nothing();
    // Back by a program that has read the newer file, to the container that stands by.
    let engine = shop.engine().await;
    let back = engine.rollback(&Shop::id(), Goal::Previous, me()).await;
    let report = back.unwrap().await.unwrap();
    assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
    assert_eq!(shop.version(), "v1");
    write(&shop, "api:v1", &[]);
    shop.up_changes_nothing();
    // Forth again, with the settings that it had.
    write(&shop, "api:v2", &[]);
    shop.deploy().await;
    assert_eq!(shop.version(), "v2");
    shop.up_changes_nothing();
}
