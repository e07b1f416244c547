//! A bus that ends its own process at a chosen request: the engine is connected to the real one
//! through it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rollback_testkit::kill::{Point, Side};

/// The requests that are counted.
const CHANGING: [&str; 3] = ["Reload", "RestartUnit", "StopUnit"];

/// The address of a bus that forwards to the real one, and kills this process at the point: before
/// a request is sent, or after it, when nobody has seen what it came to.
pub(crate) fn bus(dir: &Path, real: &str, point: Point) -> String {
    let real = socket(real).to_owned();
    let path = dir.join(format!("bus-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, real) = (client.unwrap(), UnixStream::connect(&real).unwrap());
            let (mut from, mut to) = (real.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let requests = Arc::clone(&requests);
            std::thread::spawn(move || {
                let _ = forward(&client, &real, &requests, point);
                let _ = real.shutdown(Shutdown::Both);
            });
        }
    });
    leads(dir, &path)
}

/// The real bus at the address that the watched one had.
pub(crate) fn same_address(dir: &Path, real: &str) -> String {
    leads(dir, Path::new(socket(real)))
}

fn socket(address: &str) -> &str {
    address.strip_prefix("unix:path=").unwrap()
}

/// The one address of this world's bus, which leads to that socket from now on.
fn leads(dir: &Path, to: &Path) -> String {
    let (link, fresh) = (dir.join("bus"), dir.join("bus.new"));
    let _ = std::fs::remove_file(&fresh);
    symlink(to, &fresh).unwrap();
    std::fs::rename(fresh, &link).unwrap();
    format!("unix:path={}", link.display())
}

/// Forwards what the client says: lines until it begins, messages afterwards.
fn forward(
    mut client: &UnixStream,
    mut real: &UnixStream,
    requests: &AtomicUsize,
    point: Point,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    while !line.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        real.write_all(&byte)?;
        line.push(byte[0]);
    }
    loop {
        // The fixed part of a header (D-Bus specification, "Message Format"), little endian.
        let mut message = vec![0; 16];
        client.read_exact(&mut message)?;
        assert_eq!(message[0], b'l');
        let number = |at: usize| {
            let bytes: [u8; 4] = message[at..at + 4].try_into().unwrap();
            u32::from_le_bytes(bytes) as usize
        };
        let whole = 16 + number(12).next_multiple_of(8) + number(4);
        message.resize(whole, 0);
        client.read_exact(&mut message[16..])?;
        let counted = changes(&message).then(|| requests.fetch_add(1, Ordering::SeqCst) + 1);
        let dies = |side| counted == Some(point.nth) && point.side == side;
        if dies(Side::Before) {
            die();
        }
        real.write_all(&message)?;
        if dies(Side::After) {
            die();
        }
    }
}

/// Whether it is a call of one of those methods: a name is as long as its length says, and ends
/// with NUL.
fn changes(message: &[u8]) -> bool {
    let calls = |name: &&str| {
        let mut field = u32::try_from(name.len()).unwrap().to_le_bytes().to_vec();
        field.extend(name.as_bytes());
        field.push(0);
        message.windows(field.len()).any(|w| w == field)
    };
    message[1] == 1 && CHANGING.iter().any(calls)
}

fn die() -> ! {
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}
