//! A 404 strict and lenient, and HTTP over unix sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rollback_core::prelude::*;
use rollback_health::{HttpCheck, InvalidCheckKind, Strictness};
use support::{LONG, answer_of, look};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// The paths that were asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// A service that answers `/healthz` and `/` with these statuses.
async fn service(healthz: &'static str, root: &'static str) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let n = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..n]).into_owned();
            let path = text.split(' ').nth(1).unwrap().to_owned();
            let status = if path == "/" { root } else { healthz };
            log.lock().unwrap().push(path);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, asked)
}

fn at(port: u16) -> HttpCheck {
    HttpCheck::new(&format!("http://127.0.0.1:{port}")).unwrap()
}

#[tokio::test]
async fn a_404_is_a_no_unless_the_check_is_lenient_and_the_yes_says_so() {
    let (port, asked) = service("404 Not Found", "200 OK").await;
    let said = look(&at(port), LONG).await.unwrap_err();
    assert!(said.contains("answered 404"), "{said}");
    assert_eq!(*asked.lock().unwrap(), ["/healthz"]);
    let lenient = at(port).strictness(Strictness::Lenient);
    let healthy = answer_of(&lenient, LONG).await.unwrap();
    let note = healthy.note.unwrap();
    assert!(note.contains("404") && note.contains("on /: 200"), "{note}");
    assert_eq!(*asked.lock().unwrap(), ["/healthz", "/healthz", "/"]);
}

#[tokio::test]
async fn lenient_takes_any_answer_below_500_on_the_root_and_no_other() {
    for (root, healthy) in [
        ("301 Moved", true),
        ("401 No", true),
        ("404 No", true),
        ("500 Oops", false),
        ("503 Busy", false),
    ] {
        let (port, _) = service("404 Not Found", root).await;
        let lenient = at(port).strictness(Strictness::Lenient);
        assert_eq!(look(&lenient, LONG).await.is_ok(), healthy, "{root}");
    }
}

#[tokio::test]
async fn an_endpoint_that_says_no_is_believed_even_when_lenient() {
    for status in ["500 Oops", "503 Busy", "401 No"] {
        let (port, asked) = service(status, "200 OK").await;
        let lenient = at(port).strictness(Strictness::Lenient);
        look(&lenient, LONG).await.unwrap_err();
        assert_eq!(*asked.lock().unwrap(), ["/healthz"], "{status}");
    }
    let (port, asked) = service("200 OK", "200 OK").await;
    let lenient = at(port).strictness(Strictness::Lenient);
    assert_eq!(answer_of(&lenient, LONG).await.unwrap(), Healthy::yes());
    assert_eq!(asked.lock().unwrap().len(), 1);
}

fn serve_at(path: &Path, answer: Option<&'static str>) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let n = stream.read(&mut request).await.unwrap();
            assert!(
                String::from_utf8_lossy(&request[..n])
                    .to_lowercase()
                    .contains("host: localhost")
            );
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => tokio::time::sleep(Duration::from_secs(60)).await,
            }
        }
    });
}

#[tokio::test]
async fn a_service_on_a_unix_socket_is_asked_there() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("http.sock");
    serve_at(
        &socket,
        Some("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"),
    );
    let check = HttpCheck::unix(&socket, "/healthz").unwrap();
    assert_eq!(look(&check, LONG).await, Ok(()));
    assert_eq!(
        look(&check.clone().body_contains("fine"), LONG).await,
        Ok(())
    );
    look(&check.clone().body_contains("well"), LONG)
        .await
        .unwrap_err();
    assert_eq!(
        check.name(),
        format!("GET /healthz on {}", socket.display())
    );
}

#[tokio::test]
async fn a_socket_nobody_serves_is_a_no_and_a_slow_one_is_cut_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let missing = HttpCheck::unix(dir.path().join("none.sock"), "/healthz").unwrap();
    let said = look(&missing, LONG).await.unwrap_err();
    assert!(said.contains("no connection"), "{said}");
    let dead = dir.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let said = look(&HttpCheck::unix(&dead, "/").unwrap(), LONG)
        .await
        .unwrap_err();
    assert!(said.contains("no connection"), "{said}");
    let slow = dir.path().join("slow.sock");
    serve_at(&slow, None);
    let began = Instant::now();
    let said = look(
        &HttpCheck::unix(&slow, "/").unwrap(),
        Duration::from_millis(200),
    )
    .await;
    assert!(said.unwrap_err().contains("no answer within"));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_socket_is_named_by_its_absolute_path_and_a_path_begins_with_a_slash() {
    for (socket, path) in [
        ("http.sock", "/healthz"),
        ("/run/a.sock", "healthz"),
        ("/run/a.sock", "/a b"),
    ] {
        let e = HttpCheck::unix(socket, path).unwrap_err();
        assert_eq!(e.kind(), InvalidCheckKind::Address, "{e}");
    }
}
