//! A terminal of a given width, for programs that look whether they write to one.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What the command writes to a terminal that is so many columns wide.
pub(crate) fn written(command: &mut Command, columns: u16) -> String {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&theirs, size).unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(theirs).spawn().unwrap();
    // The command keeps the other end open; without it, reading ends when the child does.
    command.stdout(Stdio::null());
    let (mut written, mut ours) = (Vec::new(), File::from(ours));
    let mut buffer = [0; 4096];
    // At its end, Linux says that the input failed.
    while let Ok(count @ 1..) = ours.read(&mut buffer) {
        written.extend_from_slice(&buffer[..count]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(written).unwrap()
}
