//! What a body says of a service that is not well, in a diagnostic, from real servers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use rollback_core::health::HealthCheck;
use rollback_health::{HttpCheck, Strictness};
use support::{LONG, look, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn at(port: u16) -> HttpCheck {
    HttpCheck::new(&format!("http://127.0.0.1:{port}")).unwrap()
}

async fn http(status: &str, body: &[u8]) -> u16 {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    serve(Some([head.as_bytes(), body].concat())).await
}

/// Sends this, and then nothing, without an end.
async fn stuck(answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    port
}

#[tokio::test]
async fn what_a_service_said_of_its_trouble_was_thrown_away() {
    let port = http("503 Busy", b"{\"db\":\n \"refused\"}\r\n").await;
    assert_eq!(
        look(&at(port), LONG).await.unwrap_err(),
        "answered 503, expected 200; its body: {\"db\": \"refused\"}"
    );
    let port = http("500 Oops", "é".repeat(100_000).as_bytes()).await;
    assert_eq!(
        look(&at(port), LONG).await.unwrap_err(),
        format!(
            "answered 500, expected 200; its body begins: {}…",
            "é".repeat(128)
        )
    );
    let port = http("500 Oops", b"\x1b[2J\xff\0").await;
    assert_eq!(
        look(&at(port), LONG).await.unwrap_err(),
        "answered 500, expected 200; its body: \u{fffd}\u{fffd}"
    );
    let port = http("404 No", b"no such page").await;
    let said = look(&at(port).strictness(Strictness::Strict), LONG).await;
    assert_eq!(
        said.unwrap_err(),
        "answered 404, expected 200; its body: no such page"
    );
}

#[tokio::test]
async fn a_body_that_does_not_end_costs_neither_the_answer_nor_the_deadline() {
    for (answer, says) in [
        ("content-length: 9999\r\n\r\n", "answered 500, expected 200"),
        (
            "content-length: 9999\r\n\r\nthe db is do",
            "answered 500, expected 200; its body begins: the db is do…",
        ),
        (
            "transfer-encoding: chunked\r\n\r\n4\r\ngone\r\n",
            "answered 500, expected 200; its body begins: gone…",
        ),
    ] {
        let port = stuck(format!("HTTP/1.1 500 Oops\r\n{answer}")).await;
        let began = Instant::now();
        assert_eq!(look(&at(port), LONG).await.unwrap_err(), says);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    // A short deadline is kept, and what was answered in it is told.
    let port = stuck("HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n".to_owned()).await;
    let said = look(&at(port), Duration::from_millis(600)).await;
    assert_eq!(said.unwrap_err(), "answered 500, expected 200");
}

#[tokio::test]
async fn an_answer_whose_body_breaks_off_is_still_an_answer() {
    let broken = "HTTP/1.1 500 Oops\r\ncontent-length: 999\r\n\r\nno db";
    let port = serve(Some(broken.into())).await;
    assert_eq!(
        look(&at(port), LONG).await.unwrap_err(),
        "answered 500, expected 200; its body begins: no db…"
    );
}

#[tokio::test]
async fn credentials_that_an_error_page_repeats_are_masked() {
    let page = b"bad token s3cret-token for /up?key=s3cret%20key (s3cret key), \
                 db http://me:s3cret-pass@db/";
    for status in ["401 No", "200 OK"] {
        let port = http(status, page).await;
        let check = HttpCheck::new(&format!("http://127.0.0.1:{port}/up?key=s3cret%20key"));
        let check = check
            .unwrap()
            .header("authorization", "Bearer s3cret-token");
        let check = check.unwrap().body_contains("ready");
        let said = look(&check, LONG).await.unwrap_err();
        assert!(
            said.ends_with("bad token *** for /up?*** (***), db http://***@db/"),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn credentials_were_shown_where_a_page_repeats_them_in_another_form() {
    // Of `api:canary-pass`, and what the page says of it: decoded, in JSON, in colour, in a URL.
    let basic = "Basic YXBpOmNhbmFyeS1wYXNz";
    let page = br#"{"no": "canary-pass", "sent": "YXBpOmNhbmFyeS1wYXNz", "key": "canary%2fkey",
                   "at": "canary\/key", "db": "x:\/\/a:canary@db", "tty": "canary-\u001b[1mpass"}"#;
    let port = http("401 No", page).await;
    let check = HttpCheck::new(&format!("http://127.0.0.1:{port}/up?key=canary%2Fkey"));
    let check = check.unwrap().header("authorization", basic).unwrap();
    let said = look(&check, LONG).await.unwrap_err();
    assert!(
        said.ends_with(
            r#"{"no": "***", "sent": "***", "key": "***", "at": "***", "db": "x:\/\/***@db", "tty": "***"}"#
        ),
        "{said}"
    );
    let shown = format!("{check:?} {}", HealthCheck::name(&check));
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn the_body_of_a_404_that_nobody_is_told_of_took_the_time_to_ask_for_the_root() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, mut asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            send.send(Instant::now()).unwrap();
            let status = match request[..read].starts_with(b"GET / ") {
                true => "200 OK",
                false => "404 No",
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 9\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // The bodies never come.
            open.push(stream);
        }
    });
    let lenient = at(port).strictness(Strictness::Lenient);
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        look(&lenient, LONG).await.unwrap();
        let (first, then) = (asked.recv().await.unwrap(), asked.recv().await.unwrap());
        shortest = shortest.min(then - first);
    }
    assert!(shortest < Duration::from_millis(400), "{shortest:?}");
}
