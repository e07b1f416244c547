//! A docker daemon and a registry to play with: `cargo xtask docker` runs it. It stays until Ctrl-C, and
//! leaves nothing behind.
#![allow(clippy::print_stdout)]

use std::error::Error;

use rollback_testkit::fixtures::docker::DockerFixture;

/// What is published: a version, and how the small server in it behaves.
const IMAGES: [(&str, &str); 3] = [("v1", ""), ("v2", ""), ("sick", "sick")];

/// So many MiB come with each version, for a pull to be seen.
const BALLAST: [u64; 2] = [16, 8];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!("starting dockerd and docker-registry ...");
    let docker = DockerFixture::start()?;
    for (version, mode) in IMAGES {
        let lines = [format!("ENV VERSION={version} MODE={mode}")];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        docker.publish_large(&image(&docker, version), &lines, &BALLAST)?;
    }
    let host = format!("unix://{}", docker.socket().display());
    let [v1, v2, sick] = IMAGES.map(|(version, _)| image(&docker, version));
    println!("a daemon without networks of its own, and three images at its registry:\n");
    println!("  export DOCKER_HOST={host}");
    println!("  docker run -d --network host -e PORT=8080 {v1}");
    println!("  cargo run --example docker_swap -- {v1} {v2} {sick}\n");
    println!("Ctrl-C ends it, and removes everything.");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("ending ...");
    drop(docker);
    Ok(())
}

fn image(docker: &DockerFixture, version: &str) -> String {
    format!("{}/demo:{version}", docker.registry())
}
