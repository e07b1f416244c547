//! A history on a read-only file system, to which the kernel falls back after a disk error: it is
//! read and copied, if that is possible without writing and without missing anything.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rollback_core::error::StoreError;
use rollback_fs::{check_local, read_only, system};
use rusqlite::{Connection, OpenFlags};

use crate::error::{Failure, sqlite};
use crate::open::{BUSY, Opened, check_file, plain};
use crate::schema;

/// Whether the path cannot be written to where it is mounted.
pub(crate) fn is_mounted_so(path: &Path) -> Result<bool, StoreError> {
    let vfs = rustix::fs::statvfs(path)
        .map_err(|e| system("the file system cannot be examined", path, e.into()))?;
    let flag = rustix::fs::StatVfsMountFlags::RDONLY;
    Ok(vfs.f_flag.contains(flag))
}

/// Opens what is there for reading.
pub(crate) fn open(path: &Path) -> Result<Opened, StoreError> {
    check_file(path)?;
    let path =
        fs::canonicalize(path).map_err(|e| system("the path cannot be resolved", path, e))?;
    check_local(&path)?;
    let found = schema::version(&connect(&path)?).map_err(|e| sqlite(&path, e))?;
    if found < schema::newest() {
        return Err(read_only(&path).advice(
            "it was written by an older version and has to be migrated: copy it, with the files \
             -wal and -shm beside it, to where it can be written",
        ));
    }
    Ok(Opened { path, writer: None })
}

/// A connection that cannot write.
///
/// SQLite reads a file with a log if the log and its index are there; and a file without, which a
/// clean end leaves, only if it is told that nobody can change it
/// (<https://sqlite.org/wal.html#read_only_databases>).
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let (log, index) = (size(path, "-wal")?, size(path, "-shm")?);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if log.is_some() && index.is_some() {
        Connection::open_with_flags(path, flags)
    } else if !nobody_writes(path) {
        return Err(read_only(path).advice(
            "it is mounted read-only here, and others may write it elsewhere: open it there, or \
             a copy of it",
        ));
    } else if log.is_some_and(|bytes| bytes > 0) {
        return Err(read_only(path).advice(
            "its last transactions are in the file -wal beside it, which cannot be read here: \
             copy both to where they can be written",
        ));
    } else {
        let uri = format!("file:{}?immutable=1", escaped(path));
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
    };
    let connection = connection.map_err(|e| sqlite(path, e))?;
    connection.busy_timeout(BUSY).map_err(|e| sqlite(path, e))?;
    schema::check(&connection).map_err(|e| match e {
        Failure::Store(e) => e.on(path.display()),
        e => e.at(path),
    })?;
    plain(&connection).map_err(|e| sqlite(path, e))?;
    Ok(connection)
}

/// The size of a file beside the history; `None` if there is none.
fn size(path: &Path, suffix: &str) -> Result<Option<u64>, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    let name = PathBuf::from(name);
    match fs::metadata(&name) {
        Ok(meta) => Ok(Some(meta.len())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        // On a failing disk "cannot be seen" is not "is not there".
        Err(e) => Err(system("a file of the history cannot be seen", &name, e)),
    }
}

/// Whether the file system as a whole is read-only, and not just this mount of it.
fn nobody_writes(path: &Path) -> bool {
    let (Ok(meta), Ok(mounts)) = (
        fs::metadata(path),
        fs::read_to_string("/proc/self/mountinfo"),
    ) else {
        return false;
    };
    let device = format!(
        "{}:{}",
        rustix::fs::major(meta.dev()),
        rustix::fs::minor(meta.dev())
    );
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    // (proc_pid_mountinfo(5)); the last field is the file system's own.
    mounts.lines().any(|line| {
        let of = line.split(' ').nth(2);
        let whole = line.rsplit(' ').next().unwrap_or_default();
        of == Some(&*device) && whole.split(',').any(|option| option == "ro")
    })
}

/// A path as it stands in a URI.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte));
            }
            byte => {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    text
}
