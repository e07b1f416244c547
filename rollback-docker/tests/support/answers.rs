//! A manager that answers some questions otherwise than the one behind it: what one machine cannot show.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Passes on to `service` what comes to `socket`, but for questions that begin with one of these,
/// whose answer is given.
pub fn answering(socket: &Path, service: PathBuf, answers: Vec<(String, serde_json::Value)>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (service, answers) = (service.clone(), answers.clone());
            std::thread::spawn(move || drop(serve(client, &service, &answers)));
        }
    });
}

/// Passes on to `service` what comes to `socket`, but for questions that begin with this, which are
/// never answered.
pub fn hanging(socket: &Path, service: PathBuf, words: String) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (service, words) = (service.clone(), words.clone());
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut head = [0; 16 * 1024];
                let read = client.read(&mut head)?;
                if path(&head[..read]).starts_with(&words) {
                    // Until whoever asked has given up.
                    return std::io::copy(&mut client, &mut std::io::sink()).map(drop);
                }
                pass(client, &service, &head[..read])
            });
        }
    });
}

/// What is asked for, without the version of the API: `nodes` of `GET /v1.41/nodes`.
fn path(head: &[u8]) -> String {
    let asked = String::from_utf8_lossy(head);
    let asked = asked.split_once('/').map_or("", |(_, path)| path);
    let asked = match asked.strip_prefix("v1.") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => asked,
    };
    asked.to_owned()
}

fn pass(mut client: UnixStream, service: &Path, head: &[u8]) -> std::io::Result<()> {
    let mut service = UnixStream::connect(service)?;
    service.write_all(head)?;
    let (mut from, mut to) = (client.try_clone()?, service.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut service, &mut client).map(drop)
}

fn serve(
    mut client: UnixStream,
    service: &Path,
    answers: &[(String, serde_json::Value)],
) -> std::io::Result<()> {
    let mut head = [0; 16 * 1024];
    let read = client.read(&mut head)?;
    let head = &head[..read];
    let asked = path(head);
    if let Some((_, answer)) = answers.iter().find(|(words, _)| asked.starts_with(words)) {
        let body = answer.to_string();
        return write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
    }
    pass(client, service, head)
}
