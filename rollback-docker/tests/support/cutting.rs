//! [`CuttingProxy`]: a registry that goes away in the middle of an answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rollback_testkit::fixtures::docker::DockerFixture;

use super::DockerWorld;

/// In front of the registry, where the daemon finds it: passes on what is asked, and so many bytes of the
/// answers. After them every connection ends, and so does each new one.
pub struct CuttingProxy {
    at: String,
    left: Arc<AtomicU64>,
}

impl CuttingProxy {
    /// One that passes everything on until it is [`cut`](Self::cut).
    pub fn new(fixture: &Arc<DockerFixture>) -> Self {
        let listener = fixture.listen().unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let (own, fixture) = (Arc::clone(&left), Arc::downgrade(fixture));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(fixture) = fixture.upgrade() else {
                    return;
                };
                let Ok(registry) = fixture.connect(fixture.registry()) else {
                    continue;
                };
                let left = Arc::clone(&own);
                let (asker, asked) = (client.try_clone(), registry.try_clone());
                let (asker, asked) = (asker.unwrap(), asked.unwrap());
                std::thread::spawn(move || pass(&asker, &asked, &AtomicU64::new(u64::MAX)));
                std::thread::spawn(move || pass(&registry, &client, &left));
            }
        });
        Self { at, left }
    }

    /// Its host and port: another registry, as far as docker knows.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Passes on so many bytes more, and nothing after them.
    pub fn cut(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Is there again.
    pub fn mend(&self) {
        self.left.store(u64::MAX, Ordering::SeqCst);
    }

    /// Whether it has passed on all that it may.
    pub fn is_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }
}

/// Passes on as long as there is anything left, then ends both.
fn pass(mut from: &TcpStream, mut to: &TcpStream, left: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let spend = |left: u64| match left {
            u64::MAX => None,
            left => Some(left.saturating_sub(n as u64)),
        };
        let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend);
        let may = spent.unwrap_or(u64::MAX).min(n as u64);
        let part = &buffer[..usize::try_from(may).unwrap()];
        if to.write_all(part).is_err() || part.len() < n {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// An image with layers of that many MiB that cannot be compressed.
pub fn large(w: &DockerWorld, name: &str, layers: &[u64]) -> String {
    let reference = format!("{}/{}:{name}", w.fixture.registry(), w.name);
    let version = format!("ENV VERSION={name}");
    let large = w.fixture.publish_large(&reference, &[&version], layers);
    large.unwrap();
    reference
}
