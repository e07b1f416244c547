//! [`downtime`]: for how long nobody answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks a service of this host every 2 ms while something is done to it: the longest time between two
/// answers. It answers before and afterwards.
pub(crate) async fn downtime(port: u16, act: impl Future<Output = ()>) -> Duration {
    let (answers, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let (heard, ends) = (Arc::clone(&answers), Arc::clone(&over));
    let asks = std::thread::spawn(move || ask(port, &heard, &ends));
    wait_for_more(&answers, 0).await;
    act.await;
    let before = count(&answers);
    wait_for_more(&answers, before).await;
    over.store(true, Ordering::Relaxed);
    asks.join().unwrap();
    let answers = answers.lock().unwrap();
    let gaps = answers.windows(2).map(|two| two[1] - two[0]);
    gaps.max().unwrap_or_default()
}

type Answers = Mutex<Vec<Instant>>;

fn count(answers: &Answers) -> usize {
    answers.lock().unwrap().len()
}

async fn wait_for_more(answers: &Answers, than: usize) {
    while count(answers) <= than {
        tokio::time::sleep(PAUSE).await;
    }
}

fn ask(port: u16, answers: &Answers, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if once(port).is_some() {
            answers.lock().unwrap().push(Instant::now());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether it answers.
fn once(port: u16) -> Option<()> {
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())
}
