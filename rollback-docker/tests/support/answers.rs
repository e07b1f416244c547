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

fn serve(
    mut client: UnixStream,
    service: &Path,
    answers: &[(String, serde_json::Value)],
) -> std::io::Result<()> {
    let mut head = [0; 16 * 1024];
    let read = client.read(&mut head)?;
    let head = &head[..read];
    let asked = String::from_utf8_lossy(head);
    // Without the version of the API: `GET /v1.41/nodes`.
    // With the version of the API or without: `GET /v1.41/nodes`.
    let asked = asked.split_once('/').map_or("", |(_, path)| path);
    let asked = match asked.strip_prefix("v1.") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => asked,
    };
    if let Some((_, answer)) = answers.iter().find(|(words, _)| asked.starts_with(words)) {
        let body = answer.to_string();
        return write!(
            client,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let mut service = UnixStream::connect(service)?;
    service.write_all(head)?;
    let (mut from, mut to) = (client.try_clone()?, service.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut service, &mut client).map(drop)
}
