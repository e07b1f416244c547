//! Connecting to somebody else.

use rollback_core::backend::Address;
use rollback_core::health::Unhealthy;
use tokio::net::TcpStream;

/// A connection that somebody has accepted.
pub(crate) async fn connected(to: &Address) -> Result<TcpStream, Unhealthy> {
    let stream = TcpStream::connect((to.host.as_str(), to.port)).await;
    let stream = stream.map_err(|e| Unhealthy::new(format!("no connection: {e}")))?;
    if is_to_itself(&stream) {
        return Err(Unhealthy::new("no connection: nobody listens"));
    }
    Ok(stream)
}

/// Where nobody listens on a port of this machine, the kernel may happen to give that very port to
/// whoever tries: TCP then connects the try with itself.
fn is_to_itself(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(own), Ok(peer)) => own == peer,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_port_where_nobody_listens_was_healthy_when_a_check_met_itself() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        assert!(is_to_itself(&socket.connect(own).await.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let address = Address::new("127.0.0.1", address.port());
        assert!(connected(&address).await.is_ok());
    }
}
