//! A successor beside what is live: it is asked itself, and what has the traffic vouches for nobody.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use rollback_core::backend::{Address, Addresses};
use rollback_core::prelude::*;
use rollback_health::{CommandCheck, HttpCheck, TcpCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn cx() -> Context {
    Context::new(Duration::from_secs(10))
}

fn beside(addresses: Addresses) -> Probe {
    let release = Release::new("none".parse().unwrap(), Artifact::new("v2", "v2"));
    let instance = Instance::new(release, Handle::new("green"));
    Probe::beside("api@web-1".parse().unwrap(), instance, addresses)
}

/// Answers every request with this status; where, and what it was asked last.
async fn answering(status: &'static str) -> (Address, tokio::sync::watch::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().into();
    let (tell, told) = tokio::sync::watch::channel(String::new());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap_or(0);
            tell.send_replace(String::from_utf8_lossy(&request[..n]).into_owned());
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, told)
}

#[tokio::test]
async fn what_was_live_vouched_for_a_sick_successor() {
    let (blue, _) = answering("200 OK").await;
    let (green, asked) = answering("500 Sick").await;
    let check = HttpCheck::new(&format!("http://{blue}/ready")).unwrap();
    let probe = beside(Addresses::default().with("http", green.clone()));
    assert!(check.aim().reaches(&probe));
    let no = check.check(&cx(), &probe).await.unwrap_err();
    assert!(no.diagnostic.contains("500"), "{no}");
    // The same question, at another address.
    let request = asked.borrow().clone();
    assert!(request.starts_with("GET /ready "), "{request}");
    assert!(request.contains(&format!("host: {blue}\r\n")), "{request}");
    // Of several ports the named one is asked; none is guessed.
    let (admin, _) = answering("200 OK").await;
    let two = beside(
        Addresses::default()
            .with("http", green)
            .with("admin", admin),
    );
    assert!(!check.aim().reaches(&two));
    let check = check.port("admin");
    assert!(check.aim().reaches(&two));
    check.check(&cx(), &two).await.unwrap();
}

#[tokio::test]
async fn a_port_of_the_successor_that_nobody_listens_on_is_no_connection() {
    let (blue, _) = answering("200 OK").await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let green: Address = gone.local_addr().unwrap().into();
    drop(gone);
    let check = TcpCheck::new(&blue.to_string()).unwrap();
    let probe = beside(Addresses::default().with("tcp", green));
    assert!(check.aim().reaches(&probe));
    check.check(&cx(), &probe).await.unwrap_err();
    assert!(!check.aim().reaches(&beside(Addresses::default())));
    assert!(!check.port("http").aim().reaches(&probe));
}

#[tokio::test]
async fn a_program_is_told_where_the_successor_answers_and_is_asked_only_if_it_minds() {
    let script = r#"test "$ROLLBACK_SITE $ROLLBACK_HANDLE $ROLLBACK_ARTIFACT" = "beside green v2" \
        && test "$ROLLBACK_ADDRESS $ROLLBACK_ADDRESS_HTTP_1" = "10.0.0.2:80 10.0.0.2:80""#;
    let check = CommandCheck::new("sh", ["-c", script]).unwrap();
    let addresses = Addresses::default().with("http-1", Address::new("10.0.0.2", 80));
    let probe = beside(addresses);
    assert!(!check.aim().reaches(&probe), "it may look at what is live");
    let check = check.looks_beside();
    assert!(check.aim().reaches(&probe));
    check.check(&cx(), &probe).await.unwrap();
    let socket = HttpCheck::unix("/run/api.sock", "/").unwrap();
    assert!(!socket.aim().reaches(&probe), "it is the live one's");
}
