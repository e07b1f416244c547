//! The service that is deployed: a few lines of HTTP whose version and health are files in the
//! directory it was started in. So what answers is really what was rolled out, or back.
//!
//! The example programs run themselves as `serve` and as `restart`, which is the deploy root's
//! restart command.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(20);

/// Runs a hidden subcommand, if this process was started as one.
pub fn subcommand() -> Option<ExitCode> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [what, port, pid_file] = args.as_slice() else {
        return None;
    };
    let port = port.to_str()?.parse().ok()?;
    let done = match what.to_str()? {
        "serve" => serve(port, pid_file.as_ref()),
        "restart" => restart(port, pid_file.as_ref()),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "{}: {e}", what.display());
            ExitCode::FAILURE
        }
    })
}

/// Stops what the pid file names and starts the service in this directory.
pub fn restart(port: u16, pid_file: &Path) -> io::Result<()> {
    stop(pid_file)?;
    let child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(port.to_string())
        .arg(pid_file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Of its own group, so that a Ctrl-C meant for the program does not reach it.
        .process_group(0)
        .spawn()?;
    let id = child.id().to_string();
    until("the service did not start", || {
        fs::read_to_string(pid_file).is_ok_and(|text| text == id)
    })
}

/// Stops the service that the pid file names, if it runs.
pub fn stop(pid_file: &Path) -> io::Result<()> {
    let named = fs::read_to_string(pid_file).unwrap_or_default();
    let Some(pid) = named.parse().ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    // The descriptor first, the look second: whatever is signalled is what was looked at.
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && is_ours(pid, pid_file)
    {
        pidfd_send_signal(&process, Signal::KILL)?;
        // Readable once it has ended, its port included; /proc forgets it earlier.
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let patience = PATIENCE.try_into().map_err(io::Error::other)?;
        if poll(&mut ended, Some(&patience))? == 0 {
            return Err(io::Error::other("the old service did not stop"));
        }
    }
    fs::remove_file(pid_file)
}

fn is_ours(pid: Pid, pid_file: &Path) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let mut args = line.split(|b| *b == 0).skip(1);
    args.next() == Some(b"serve") && args.nth(1) == Some(pid_file.as_os_str().as_encoded_bytes())
}

fn until(otherwise: &str, done: impl Fn() -> bool) -> io::Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > PATIENCE {
            return Err(io::Error::other(otherwise));
        }
        sleep(TICK);
    }
    Ok(())
}

fn serve(port: u16, pid_file: &Path) -> io::Result<()> {
    let version = fs::read_to_string("version")?;
    let health = fs::read_to_string("health")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let id = std::process::id().to_string();
    fs::write(pid_file, &id)?;
    // If the playground is gone, so is the reason to run.
    let watched = pid_file.to_owned();
    std::thread::spawn(move || {
        while fs::read_to_string(&watched).is_ok_and(|text| text == id) {
            sleep(TICK * 10);
        }
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        // One request gone wrong is not the next one's trouble.
        let _ = stream.and_then(|s| answer(s, version.trim(), health.trim()));
    }
    Ok(())
}

fn answer(stream: TcpStream, version: &str, health: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    let mut reader = BufReader::new(&stream);
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (status, body) = match health {
        "ok" => ("200 OK", version),
        why => ("500 Internal Server Error", why),
    };
    write!(
        &stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// What the service answers: its version, or its status and complaint.
pub fn ask(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let text = io::read_to_string(stream)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("?");
    Ok(match status {
        "200" => body.to_owned(),
        status => format!("{status}: {body}"),
    })
}
