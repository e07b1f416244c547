//! The TCP check against real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use rollback_core::prelude::*;
use rollback_health::TcpCheck;
use support::{LONG, free_port, look, serve};

#[tokio::test]
async fn tcp_says_whether_somebody_listens() {
    let port = serve(None).await;
    let check = |port| TcpCheck::new(&format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(look(&check(port), LONG).await, Ok(()));
    let said = look(&check(free_port().await), LONG).await.unwrap_err();
    assert!(said.contains("no connection"), "{said}");
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    for bad in [
        "",
        "localhost",
        "localhost:",
        ":80",
        "::1:80",
        "localhost:99999",
        "localhost:0",
        "local host:80",
        "[::1]",
    ] {
        assert!(TcpCheck::new(bad).is_err(), "{bad:?}");
    }
    let said = TcpCheck::new("u:s3cret@localhost:80").unwrap_err();
    assert!(!format!("{said} {said:?}").contains("s3cret"));
    assert_eq!(TcpCheck::new("[::1]:80").unwrap().name(), "TCP [::1]:80");
}
