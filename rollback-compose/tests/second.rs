//! Compose from version 2 on, which Debian does not have: its answers are played to what asks for them,
//! and a real dockerd makes the container.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;

use rollback_compose::ComposeProject;
use rollback_core::prelude::*;
use serde_json::{Value, json};
use support::{Shop, me};

const HASH: &str = "5f2c0e0b6d1d3c1f8f5ac9ad1cbe4a4a8a7c3c8e2b0d9f7e6c5b4a3928170605";

/// A program that answers as the plugin does.
fn plugin(shop: &Shop) -> ComposeProject {
    shop.write("services: {}\n");
    let answer = shop.dir.join("config.json");
    std::fs::write(&answer, include_str!("answers/config.json")).unwrap();
    let program = shop.dir.join("docker");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n*' -p '*) exit 18;;\n'compose version --short') echo 2.17.3;;\n\
         *' config --hash api') echo 'api {HASH}';;\n*' config --format json') cat {};;\n\
         *) exit 17;;\nesac\n",
        answer.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let argv = [program.display().to_string(), "compose".to_owned()];
    shop.project().program(argv)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plugin_says_becomes_the_container_that_it_says() {
    let Some(shop) = Shop::new() else { return };
    let service = plugin(&shop).read("api").await.unwrap();
    assert_eq!((service.project(), service.image()), ("shop", "api:v1"));
    assert_eq!(service.container(), "shop-api-1");
    let back = ["network", "create", "--subnet", "10.77.0.0/16", "shop_back"];
    shop.fixture.must(&back);
    shop.fixture.must(&["network", "create", "shop_default"]);
    shop.fixture.must(&["volume", "create", "shop_data"]);
    // The check is not for this image, which has no shell.
    let service = service.without("healthcheck").unwrap();
    let engine = shop.engine_of(shop.config(&service));
    let run = engine.deploy(&Shop::id(), service.image(), me()).await;
    let report = run.unwrap().await.unwrap();
    assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
    let show = |format: &str| -> Value {
        let text = shop.fixture.must(&["inspect", "-f", format, "shop-api-1"]);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    };
    let (config, host) = (show("{{json .Config}}"), show("{{json .HostConfig}}"));
    assert_eq!(config["Cmd"], json!(["serve", "--secret", "pa$word"]));
    let env = config["Env"].as_array().unwrap();
    assert!(env.contains(&json!("TOKEN=pa$word")) && env.contains(&json!("N=1")));
    let about = |name: &str| config["Labels"][format!("com.docker.compose.{name}")].clone();
    let image = shop
        .fixture
        .must(&["image", "inspect", "-f", "{{.Id}}", "api:v1"]);
    for (name, value) in [
        ("project", "shop"),
        ("service", "api"),
        ("oneoff", "False"),
        ("container-number", "1"),
        ("config-hash", HASH),
        ("version", "2.17.3"),
        ("image", image.trim()),
        ("depends_on", "db:service_healthy:false"),
    ] {
        assert_eq!(about(name), json!(value), "{name}");
    }
    assert_eq!(host["Memory"], json!(67_108_864));
    assert_eq!(host["PidsLimit"], json!(50));
    assert_eq!(host["NanoCpus"], json!(500_000_000));
    assert_eq!(host["ShmSize"], json!(134_217_728));
    assert_eq!(host["ExtraHosts"], json!(["gate:10.0.0.1"]));
    assert_eq!(host["RestartPolicy"]["Name"], json!("unless-stopped"));
    assert_eq!(host["Tmpfs"], json!({"/scratch": "size=1000000"}));
    let mut binds: Vec<&str> = host["Binds"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    binds.sort_unstable();
    assert_eq!(binds, ["/etc/hostname:/conf:ro", "shop_data:/data"]);
    let ports = &host["PortBindings"];
    assert_eq!(
        ports["8080/tcp"],
        json!([{"HostIp": "127.0.0.1", "HostPort": "18080"}])
    );
    assert_eq!(ports["53/udp"], json!([{"HostIp": "", "HostPort": "1053"}]));
    let networks = show("{{json .NetworkSettings.Networks}}");
    assert_eq!(networks["shop_back"]["IPAddress"], json!("10.77.0.5"));
    for network in ["shop_back", "shop_default"] {
        let aliases = networks[network]["Aliases"].as_array().unwrap();
        assert!(aliases.contains(&json!("api")), "{network}: {aliases:?}");
    }
}
