//! Every check against a real socket or a real process.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use rollback_core::prelude::*;
use rollback_health::{CommandCheck, HttpCheck, InvalidCheckKind, TcpCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each connection with these bytes, whatever is asked; `None` never answers.
async fn serve(answer: Option<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                match answer {
                    Some(answer) => {
                        let _ = stream.write_all(&answer).await;
                    }
                    None => tokio::time::sleep(Duration::from_secs(60)).await,
                }
            });
        }
    });
    port
}

async fn http(status: &str, body: &str) -> u16 {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: /elsewhere\r\n\r\n{body}",
        body.len()
    );
    serve(Some(answer.into_bytes())).await
}

async fn look(check: &impl HealthCheck, allowed: Duration) -> Result<(), String> {
    let release = Release::new("none".parse().unwrap(), Artifact::new("v1", "v1"));
    let probe = Probe {
        workload: "api@web-1".parse().unwrap(),
        instance: Instance {
            release,
            handle: Handle::new("h"),
        },
        site: Site::Live,
    };
    check
        .check(&Context::new(allowed), &probe)
        .await
        .map_err(|e| e.diagnostic)
}

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn two_hundred_is_healthy_and_nothing_else_is() {
    let check = |port| HttpCheck::new(&format!("http://127.0.0.1:{port}")).unwrap();
    assert_eq!(
        look(&check(http("200 OK", "fine").await), LONG).await,
        Ok(())
    );
    for status in [
        "204 No Content",
        "302 Found",
        "404 Not Found",
        "500 Oops",
        "503 Busy",
    ] {
        let said = look(&check(http(status, "").await), LONG)
            .await
            .unwrap_err();
        assert!(
            said.contains(&status[..3]) && said.contains("expected 200"),
            "{said}"
        );
    }
    let lenient = check(http("204 No Content", "").await).statuses([200, 204]);
    assert_eq!(look(&lenient, LONG).await, Ok(()));
}

#[tokio::test]
async fn the_path_is_healthz_unless_the_url_has_one() {
    let name = |url: &str| HttpCheck::new(url).unwrap().name();
    assert_eq!(name("http://localhost"), "GET http://localhost:80/healthz");
    assert_eq!(name("http://localhost/"), "GET http://localhost:80/");
    assert_eq!(
        name("http://localhost:81/up?token=x"),
        "GET http://localhost:81/up"
    );
}

#[tokio::test]
async fn a_body_that_lacks_the_text_or_never_ends_is_unhealthy() {
    let check = |port| {
        HttpCheck::new(&format!("http://127.0.0.1:{port}"))
            .unwrap()
            .body_contains("ready")
    };
    assert_eq!(
        look(&check(http("200 OK", "ready!").await), LONG).await,
        Ok(())
    );
    assert!(
        look(&check(http("200 OK", "starting").await), LONG)
            .await
            .is_err()
    );
    let huge = "x".repeat(1024 * 1024);
    let said = look(&check(http("200 OK", &huge).await), LONG)
        .await
        .unwrap_err();
    assert!(said.len() < 300, "{}", said.len());
}

#[tokio::test]
async fn a_server_that_is_slow_absent_or_not_http_is_unhealthy_in_time() {
    let check = |port| HttpCheck::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let began = Instant::now();
    let said = look(&check(serve(None).await), SHORT).await.unwrap_err();
    assert!(said.contains("no answer within") && began.elapsed() < LONG, "{said}");
    let said = look(&check(serve(Some(b"SSH-2.0-x\r\n".to_vec())).await), LONG).await;
    assert!(said.is_err());
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    assert!(
        look(&check(free), LONG)
            .await
            .unwrap_err()
            .contains("no connection")
    );
}

#[tokio::test]
async fn tcp_says_whether_somebody_listens() {
    let port = serve(None).await;
    let check = |port| TcpCheck::new(&format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(look(&check(port), LONG).await, Ok(()));
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    assert!(look(&check(free), LONG).await.is_err());
}

#[tokio::test]
async fn a_command_is_healthy_when_it_exits_with_zero() {
    let run = |program: &str, args: &[&str]| {
        CommandCheck::new(program, args.iter().map(|a| (*a).to_owned())).unwrap()
    };
    assert_eq!(look(&run("true", &[]), LONG).await, Ok(()));
    assert!(
        look(&run("false", &[]), LONG)
            .await
            .unwrap_err()
            .contains("exit status: 1")
    );
    let said = look(&run("ls", &["/no/such/place"]), LONG)
        .await
        .unwrap_err();
    assert!(said.contains("/no/such/place"), "{said}");
    let said = look(&run("no-such-program-here", &[]), LONG)
        .await
        .unwrap_err();
    assert!(said.contains("cannot be run"), "{said}");
    assert!(
        look(&run("printenv", &["HOME"]), LONG).await.is_err(),
        "the environment is cleared"
    );
    let with = run("printenv", &["TOKEN"]).env("TOKEN", "s3cret");
    assert_eq!(look(&with, LONG).await, Ok(()));
    assert!(!format!("{with:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_and_waited_for() {
    let marker = format!("{}.125", 60 + std::process::id() % 1_000);
    let check = CommandCheck::new("sleep", [marker.clone()]).unwrap();
    let began = Instant::now();
    assert!(look(&check, SHORT).await.unwrap_err().contains("killed"));
    assert!(began.elapsed() < LONG);
    let running = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|c| c == format!("sleep\0{marker}\0").into_bytes())
    });
    assert!(!running);
}

#[test]
fn what_cannot_be_checked_is_said_at_once() {
    let http = |url: &str| HttpCheck::new(url).unwrap_err();
    assert_eq!(http("https://localhost").kind(), InvalidCheckKind::Scheme);
    for bad in [
        "",
        "localhost:80",
        "http://",
        "http://u:p@localhost",
        "http://a b",
        "\0",
    ] {
        assert_eq!(http(bad).kind(), InvalidCheckKind::Address, "{bad:?}");
    }
    assert!(http(&"x".repeat(10_000)).to_string().len() < 400);
    for bad in [
        "",
        "localhost",
        "localhost:",
        ":80",
        "::1:80",
        "localhost:99999",
    ] {
        assert!(TcpCheck::new(bad).is_err(), "{bad:?}");
    }
    assert!(TcpCheck::new("[::1]:80").is_ok());
    assert!(CommandCheck::new("", [""; 0]).is_err());
    let check = HttpCheck::new("http://localhost").unwrap();
    assert!(check.clone().header("bad name", "x").is_err());
    let said = check
        .header("x", "line\nbreak-s3cret")
        .unwrap_err()
        .to_string();
    assert!(!said.contains("s3cret"));
}
