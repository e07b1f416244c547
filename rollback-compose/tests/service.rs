//! What a service of a compose file is, and what it is not.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use rollback_core::error::BackendErrorKind;
use rollback_core::history::Query;
use rollback_core::prelude::*;
use support::{Shop, me};

const CANARY: &str = "nobody-may-see-this";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_compose_has_made_is_taken_over_and_stays_one_container() {
    let Some(shop) = Shop::new() else { return };
    let lines = [
        "environment: {TOKEN: first}",
        "volumes: ['data:/data', '/anonymous']",
        "restart: always",
    ];
    let volumes = "volumes: {data: {}}\n";
    let write = |image: &str, lines: &[&str]| {
        shop.write_api(image, lines);
        let file = shop.dir.join("docker-compose.yml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{text}{volumes}")).unwrap();
    };
    write("api:v1", &lines);
    shop.compose(&["up", "-d"]);
    let made = shop.counted();
    assert_eq!(made.len(), 1);
    let volume = "{{range .Mounts}}{{println .Name .Destination}}{{end}}";
    let mounted = |container: &str| -> Vec<String> {
        let all = shop.fixture.must(&["inspect", "-f", volume, container]);
        let mut all: Vec<String> = all.lines().map(str::to_owned).collect();
        all.sort_unstable();
        all.retain(|line| !line.is_empty());
        all
    };
    let volumes_of_first = mounted("shop_api_1");
    write("api:v2", &[lines[0], "volumes: ['data:/data']", lines[2]]);
    let engine = shop.engine().await;
    let adopted = engine
        .adopt(&Shop::id(), me())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(adopted.outcome(), Outcome::Succeeded);
    assert_eq!(shop.counted(), made, "nothing was touched");
    shop.deploy().await;
    assert_eq!(shop.version(), "v2");
    shop.up_changes_nothing();
    // Back to what compose had made, with all of its settings, and with its volumes.
    let request = Request::rollback(Shop::id(), Goal::Previous, me());
    let request = request.restore(Restore::Everything);
    let plan = engine.preview(&request).await.unwrap();
    let report = engine.execute(plan).await.unwrap().await.unwrap();
    assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
    assert_eq!(shop.version(), "v1");
    assert_eq!(mounted("shop_api_1"), volumes_of_first);
    write("api:v1", &lines);
    shop.up_changes_nothing();
    // And nothing is left over: what stands by, and what is live.
    let all = shop.fixture.must(&["ps", "-aq"]);
    assert_eq!(all.lines().count(), 2, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_several_containers_is_refused_before_anything_moves() {
    let Some(shop) = Shop::new() else { return };
    shop.write_api("api:v1", &[]);
    shop.compose(&["up", "-d", "--scale", "api=2"]);
    let before = shop.counted();
    assert_eq!(before.len(), 2);
    shop.write_api("api:v2", &[]);
    let service = shop.read().await;
    let engine = shop.engine().await;
    engine
        .adopt(&Shop::id(), me())
        .await
        .unwrap()
        .await
        .unwrap();
    let run = engine.deploy(&Shop::id(), service.image(), me()).await;
    let report = run.unwrap().await.unwrap();
    assert_eq!(report.outcome(), Outcome::Failed, "{}", report.summary());
    assert!(
        report.summary().contains("shop_api_2"),
        "{}",
        report.summary()
    );
    assert_eq!(shop.counted(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_file_is_in_no_record_plan_error_or_debug() {
    let Some(shop) = Shop::new() else { return };
    let token = format!("environment: {{TOKEN: {CANARY}, PORT: '80'}}");
    let label = format!("labels: {{key: {CANARY}}}");
    let command = format!("command: [serve, --token, {CANARY}]");
    let check = format!("healthcheck: {{test: [CMD, /server, check, {CANARY}], retries: 9}}");
    let lines = [token.as_str(), label.as_str(), command.as_str()];
    let mut told = Vec::new();
    for image in ["api:v1", "api:v2"] {
        shop.write_api(image, &lines);
        let service = shop.read().await;
        told.push(format!(
            "{service:?} {:?} {:?}",
            shop.project(),
            shop.config(&service)
        ));
        let engine = shop.engine().await;
        let request = Request::deploy(Shop::id(), service.image(), me());
        let plan = engine.preview(&request).await.unwrap();
        told.push(format!(
            "{plan:?} {}",
            serde_json::to_string(&plan).unwrap()
        ));
        let report = engine.execute(plan).await.unwrap().await.unwrap();
        assert_eq!(report.outcome(), Outcome::Succeeded, "{}", report.summary());
        told.push(report.summary());
        let page = engine.list(&Query::default()).await.unwrap();
        for record in &page.deployments {
            told.push(serde_json::to_string(record).unwrap());
        }
    }
    assert!(
        told.iter().any(|text| text.contains("TOKEN")),
        "the facet is there"
    );
    // A file that compose does not take: it would repeat the value.
    shop.write_api("api:v1", &[&format!("ports: {{{CANARY}: {CANARY}}}")]);
    told.push(format!(
        "{:?}",
        shop.project().read("api").await.unwrap_err()
    ));
    // What no container can be made with is named, and not shown.
    shop.write_api("api:v1", &[&check, &format!("external_links: [{CANARY}]")]);
    let service = shop.read().await;
    let e = service
        .config(Shop::id(), shop.dir.join("state"))
        .unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported);
    assert!(e.to_string().contains("external_links"), "{e}");
    told.push(format!("{e} {e:?}"));
    let service = service.without("external_links").unwrap();
    shop.config(&service);
    for text in told {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_says_and_no_container_can_be_made_with_is_refused_by_name() {
    let Some(shop) = Shop::new() else { return };
    for (name, lines) in [
        (
            "deploy",
            ["deploy: {resources: {limits: {memory: 64m}}}"].as_slice(),
        ),
        ("scale", &["scale: 2"]),
        ("volumes./cache", &["volumes: ['/cache']"]),
        ("environment.DEBUG", &["environment: [DEBUG]"]),
        ("network_mode", &["network_mode: 'service:other'"]),
        ("pid", &["pid: 'service:other'"]),
        ("security_opt", &["security_opt: ['seccomp:profile.json']"]),
        ("healthcheck", &["healthcheck: {interval: 5s}"]),
        ("links", &["links: [other]"]),
    ] {
        shop.write_api("api:v1", lines);
        let file = shop.dir.join("docker-compose.yml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{text}  other:\n    image: api:v1\n")).unwrap();
        std::fs::write(shop.dir.join("profile.json"), "{}").unwrap();
        let service = shop.read().await;
        let e = service
            .config(Shop::id(), shop.dir.join("state"))
            .unwrap_err();
        assert!(e.to_string().contains(name), "{name}: {e}");
        // And left out by that name.
        let service = service.without(name).unwrap();
        shop.config(&service);
    }
    // Compose writes it with an exponent.
    shop.write_api("api:v1", &["cpus: 0.00001"]);
    let e = shop.project().read("api").await.unwrap_err();
    assert_eq!(e.kind(), BackendErrorKind::Unsupported, "{e}");
    assert!(e.to_string().contains("cpus"), "{e}");
    shop.write_api("api:v1", &[]);
    let file = shop.dir.join("docker-compose.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{text}  other:\n    image: api:v1\n")).unwrap();
    let missing = shop.project().read("nothing").await.unwrap_err();
    assert_eq!(missing.kind(), BackendErrorKind::NotFound);
    assert!(missing.to_string().contains("api, other"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_since_it_was_read_is_not_deployed_as_what_it_was() {
    let Some(shop) = Shop::new() else { return };
    shop.write_api("api:v1", &["user: '0'"]);
    let engine = shop.engine().await;
    shop.write_api("api:v1", &["user: '1000'"]);
    let run = engine.deploy(&Shop::id(), "api:v1", me()).await.unwrap();
    let report = run.await.unwrap();
    assert_eq!(report.outcome(), Outcome::Failed);
    assert!(
        report.summary().contains("read it again"),
        "{}",
        report.summary()
    );
    assert!(shop.counted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_does_not_say_is_not_up_to_date_for_compose() {
    let Some(shop) = Shop::new() else { return };
    shop.write_api("api:v1", &[]);
    let engine = shop.engine().await;
    let run = engine.deploy(&Shop::id(), "api:v2", me()).await.unwrap();
    assert_eq!(run.await.unwrap().outcome(), Outcome::Succeeded);
    assert_eq!(shop.version(), "v2");
    // One without a hash does not exist for compose from version 2 on.
    let hash = "{{index .Config.Labels \"com.docker.compose.config-hash\"}}";
    let hash = shop.fixture.must(&["inspect", "-f", hash, "shop_api_1"]);
    assert_eq!(hash.trim(), "0".repeat(64));
    let said = shop.compose(&["up", "-d"]);
    assert!(said.contains("Recreating"), "{said}");
    assert_eq!(shop.version(), "v1");
    assert_eq!(shop.counted().len(), 1);
}
