//! The HTTP check against real sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use rollback_core::context::Cancellation;
use rollback_core::prelude::*;
use rollback_health::{HttpCheck, InvalidCheckKind, MAX_BODY};
use support::{LONG, SHORT, free_port, look, look_in, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn at(port: u16) -> HttpCheck {
    HttpCheck::new(&format!("http://127.0.0.1:{port}")).unwrap()
}

async fn http(status: &str, body: &str) -> u16 {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: /elsewhere\r\n\r\n{body}",
        body.len()
    );
    serve(Some(answer.into_bytes())).await
}

/// Answers one request with 200; the request is what comes back.
async fn overheard(check: &HttpCheck, listener: TcpListener) -> String {
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let n = stream.read(&mut request).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(request[..n].to_vec()).unwrap()
    });
    assert_eq!(look(check, LONG).await, Ok(()));
    server.await.unwrap().to_lowercase()
}

#[tokio::test]
async fn two_hundred_is_healthy_and_nothing_else_is() {
    assert_eq!(look(&at(http("200 OK", "fine").await), LONG).await, Ok(()));
    for status in ["204 No Content", "404 Not Found", "500 Oops", "503 Busy"] {
        let said = look(&at(http(status, "").await), LONG).await.unwrap_err();
        assert!(
            said.contains(&status[..3]) && said.contains("expected 200"),
            "{said}"
        );
    }
    let lenient = at(http("204 No Content", "").await)
        .statuses([200, 204])
        .unwrap();
    assert_eq!(look(&lenient, LONG).await, Ok(()));
}

#[tokio::test]
async fn a_redirect_is_not_followed_even_to_a_healthy_page() {
    let healthy = http("200 OK", "fine").await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{healthy}/healthz\r\ncontent-length: 0\r\n\r\n"
    );
    let said = look(&at(serve(Some(answer.into_bytes())).await), LONG).await;
    assert_eq!(said.unwrap_err(), "answered 302, expected 200");
}

#[tokio::test]
async fn the_path_is_healthz_unless_the_url_has_one() {
    let name = |url: &str| HttpCheck::new(url).unwrap().name();
    assert_eq!(name("http://localhost"), "GET http://localhost:80/healthz");
    assert_eq!(name("http://localhost/"), "GET http://localhost:80/");
    assert_eq!(
        name("HTTP://localhost:81/up?token=x"),
        "GET http://localhost:81/up"
    );
    assert_eq!(
        name("http://localhost?token=x"),
        "GET http://localhost:80/healthz"
    );
    assert_eq!(name("http://[::1]:81/#x"), "GET http://[::1]:81/");
}

#[tokio::test]
async fn the_request_names_its_host_once_and_an_ipv6_host_in_brackets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = at(listener.local_addr().unwrap().port())
        .header("host", "api.example")
        .unwrap()
        .header("x-probe", "yes")
        .unwrap();
    let asked = overheard(&check, listener).await;
    assert!(asked.starts_with("get /healthz http/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nhost: api.example\r\n"), "{asked}");
    assert!(asked.contains("\r\nx-probe: yes\r\n"), "{asked}");
    assert_eq!(asked.matches("\r\nhost:").count(), 1, "{asked}");

    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return eprintln!("skipped: this machine has no IPv6");
    };
    let port = listener.local_addr().unwrap().port();
    let check = HttpCheck::new(&format!("http://[::1]:{port}/?a=b")).unwrap();
    let asked = overheard(&check, listener).await;
    assert!(asked.starts_with("get /?a=b http/1.1\r\n"), "{asked}");
    assert!(
        asked.contains(&format!("\r\nhost: [::1]:{port}\r\n")),
        "{asked}"
    );
}

#[tokio::test]
async fn a_body_is_searched_as_far_as_its_first_64_kib() {
    let wanting = |port| at(port).body_contains("ready");
    assert_eq!(
        look(&wanting(http("200 OK", "ready!").await), LONG).await,
        Ok(())
    );
    let said = look(&wanting(http("200 OK", "starting").await), LONG).await;
    let said = said.unwrap_err();
    assert_eq!(said, "answered 200 without \"ready\"; its body: starting");

    let filler = |n: usize| "x".repeat(n);
    let just_inside = format!("{}ready{}", filler(MAX_BODY - 5), filler(MAX_BODY));
    assert_eq!(
        look(&wanting(http("200 OK", &just_inside).await), LONG).await,
        Ok(())
    );
    let just_outside = format!("{}ready{}", filler(MAX_BODY - 4), filler(MAX_BODY));
    let said = look(&wanting(http("200 OK", &just_outside).await), LONG).await;
    let said = said.unwrap_err();
    let begins = format!("\"ready\"; its body begins: {}…", filler(256));
    assert!(said.ends_with(&begins), "{said}");
}

#[tokio::test]
async fn a_text_that_arrives_in_two_pieces_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        for piece in [
            "HTTP/1.1 200 OK\r\n\r\nwe are rea",
            "dy, and more would follow",
        ] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Never closed: the check must not wait for the end once it has its answer.
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let check = at(port).body_contains("ready");
    assert_eq!(look(&check, LONG).await, Ok(()));
    server.abort();
}

#[tokio::test]
async fn a_server_that_is_slow_absent_or_not_http_is_unhealthy_in_time() {
    let began = Instant::now();
    let said = look(&at(serve(None).await), SHORT).await.unwrap_err();
    assert!(
        said.contains("no answer within") && began.elapsed() < LONG,
        "{said}"
    );
    for garbage in [
        "SSH-2.0-x\r\n",
        "HTTP/1.1 2000 ?\r\n\r\n",
        "\0\u{1}\u{2}",
        "",
    ] {
        let said = look(&at(serve(Some(garbage.into())).await), LONG).await;
        assert!(said.unwrap_err().contains("no answer"), "{garbage:?}");
    }
    let said = look(&at(free_port().await), LONG).await.unwrap_err();
    assert!(said.contains("no connection"), "{said}");
}

#[tokio::test]
async fn a_look_ends_when_it_is_cancelled_and_does_not_begin_afterwards() {
    let check = at(serve(None).await);
    let cancellation = Cancellation::new();
    let cx = Context::new(LONG).with_cancellation(cancellation.clone());
    let began = Instant::now();
    let (said, ()) = tokio::join!(look_in(&check, &cx), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancellation.cancel();
    });
    assert_eq!(said.unwrap_err(), "cancelled while looking");
    assert!(began.elapsed() < LONG);
    let healthy = at(http("200 OK", "fine").await);
    let said = look_in(&healthy, &cx).await.unwrap_err();
    assert_eq!(said, "cancelled before looking");
    let said = look(&healthy, Duration::ZERO).await.unwrap_err();
    assert_eq!(said, "no time was left to look");
}

#[test]
fn a_url_that_cannot_be_checked_is_refused_at_once() {
    let http = |url: &str| HttpCheck::new(url).unwrap_err();
    assert_eq!(http("https://localhost").kind(), InvalidCheckKind::Scheme);
    assert!(
        http("https://localhost")
            .to_string()
            .contains("https is not supported")
    );
    assert_eq!(http("ftp://localhost").kind(), InvalidCheckKind::Scheme);
    for bad in [
        "",
        "localhost:80",
        "http://",
        "http://:80",
        "http://u:p@localhost",
        "http://a b",
        "http://localhost/a b",
        "http://[::1",
        "http://[localhost]",
        "http://[::1]80",
        "\0",
    ] {
        assert_eq!(http(bad).kind(), InvalidCheckKind::Address, "{bad:?}");
    }
    assert!(http(&"x".repeat(10_000)).to_string().len() < 400);
}

#[test]
fn a_port_that_is_none_is_refused_instead_of_being_taken_for_80() {
    for port in ["99999", "0", "", "+80", "http"] {
        let said = HttpCheck::new(&format!("http://localhost:{port}/")).unwrap_err();
        assert!(said.to_string().contains("its port"), "{port}: {said}");
    }
}

#[test]
fn statuses_that_nothing_can_answer_are_refused() {
    let check = || HttpCheck::new("http://localhost").unwrap();
    for bad in [vec![], vec![99], vec![200, 1000]] {
        let said = check().statuses(bad).unwrap_err();
        assert_eq!(said.kind(), InvalidCheckKind::Status);
    }
}

#[tokio::test]
async fn credentials_are_in_no_error_no_name_and_no_debug() {
    for url in [
        "http://u:s3cret@localhost",
        "http://u:s3cret?@localhost",
        "http://s3cret@localhost/a?b",
        "http://local host/?token=s3cret",
        "http://local host/?token=x@s3cret",
        "localhost#s3cret",
    ] {
        let said = HttpCheck::new(url).unwrap_err();
        assert!(!format!("{said} {said:?}").contains("s3cret"), "{said}");
    }
    let check = at(http("500 Oops", "").await)
        .header("authorization", "s3cret")
        .unwrap();
    assert!(!format!("{check:?} {}", check.name()).contains("s3cret"));
    assert!(!look(&check, LONG).await.unwrap_err().contains("s3cret"));
    assert!(check.clone().header("bad name", "x").is_err());
    let said = check.header("x", "line\nbreak-s3cret").unwrap_err();
    assert_eq!(said.kind(), InvalidCheckKind::Header);
    assert!(!format!("{said} {said:?}").contains("s3cret"));
}
