//! A history where nothing can be written, on a read-only file system (to which the kernel falls
//! back after a disk error) or a read-only mount: it is read and copied, if that is possible
//! without missing anything.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rollback_core::error::{StoreError, StoreErrorKind as Kind};
use rollback_fs::{beside, read_only, system};
use rusqlite::{Connection, OpenFlags};

use crate::connection::{BUSY, plain};
use crate::error::{Failure, sqlite};
use crate::place::{Inode, Place};
use crate::schema;

/// How often a file is read again that was changed meanwhile, on a mount that others write.
const TRIES: u32 = 50;
/// How often what fails is tried again.
const FEW: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);
/// What was changed so long ago has no later change of the same time: the clock of a file's times
/// moves every few milliseconds.
const SETTLED: Duration = Duration::from_millis(40);

/// Whether the path cannot be written to where it is mounted.
pub(crate) fn is_mounted_so(path: &Path) -> Result<bool, StoreError> {
    let vfs = rustix::fs::statvfs(path)
        .map_err(|e| system("the file system cannot be examined", path, e.into()))?;
    let flag = rustix::fs::StatVfsMountFlags::RDONLY;
    Ok(vfs.f_flag.contains(flag))
}

/// Opens what is there for reading.
pub(crate) fn open(path: PathBuf) -> Result<Place, StoreError> {
    let gone = || {
        system(
            "the history cannot be examined",
            &path,
            ErrorKind::NotFound.into(),
        )
    };
    let file = Inode::of(&path)?.ok_or_else(gone)?;
    let found = read(&path, |c| Ok(schema::version(c)?))?;
    if found < schema::newest() {
        return Err(read_only(&path).advice(
            "it was written by an older version and has to be migrated: copy it, with the files \
             -wal and -shm beside it, to where it can be written",
        ));
    }
    Ok(Place::read_only(path, file))
}

/// How a file that cannot be written can be read.
enum Way {
    /// Its log and the log's index are there: SQLite reads all three as others write them.
    Logged,
    /// Nobody can change it, and there is nothing else to read.
    Whole,
    /// Others may write it elsewhere, but do not at present: there is no log, and without one the
    /// file does not change.
    Unlogged,
}

/// All that would show if somebody wrote.
#[derive(PartialEq)]
struct Seen {
    file: Inode,
    size: u64,
    changed: (i64, i64),
    log: Option<u64>,
}

impl Seen {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let meta =
            fs::metadata(path).map_err(|e| system("the history cannot be examined", path, e))?;
        Ok(Self {
            file: Inode::from(&meta),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            log: size(path, "-wal")?,
        })
    }

    /// Whether another change would have another time.
    fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(
            u64::try_from(seconds).unwrap_or(0),
            u32::try_from(nanoseconds).unwrap_or(0),
        );
        let changed = SystemTime::UNIX_EPOCH + since;
        // A time to come says that the clock was set back.
        SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age > SETTLED)
    }
}

/// Takes a look at the file without its log, and believes what it says of damage only of a file that
/// was at rest: the last process that closes it writes the log into it and removes the log, and who
/// looks meanwhile sees half of that.
pub(crate) fn at_rest(
    path: &Path,
    mut look: impl FnMut() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let seen = Seen::of(path)?;
        let Err(e) = look() else {
            return Ok(());
        };
        if e.kind() != Kind::Corrupt {
            return Err(e);
        }
        let now = Seen::of(path)?;
        if now.log.is_some() {
            // Half of it is in its log: the file by itself need not be whole.
            return Ok(());
        }
        if now == seen && seen.is_settled() {
            return Err(e);
        }
        std::thread::sleep(PAUSE);
    }
    // SQLite itself, which locks, tells whoever opens it.
    Ok(())
}

/// Reads one snapshot.
pub(crate) fn read<T>(
    path: &Path,
    mut step: impl FnMut(&Connection) -> Result<T, Failure>,
) -> Result<T, StoreError> {
    let mut run = |connection: Connection| {
        let mut read = || {
            let tx = connection.unchecked_transaction()?;
            step(&tx)
        };
        read().map_err(|e: Failure| e.at(path))
    };
    for tried in 0..TRIES {
        let seen = Seen::of(path)?;
        // The last tries are for a clock that is wrong.
        let settled = seen.is_settled() || tried > TRIES / 2;
        let read = match way(path, &seen) {
            Ok(Way::Logged) => connect(path).and_then(&mut run),
            Ok(Way::Whole) => return connect_immutable(path).and_then(&mut run),
            Ok(Way::Unlogged) if settled => {
                let read = connect_immutable(path).and_then(&mut run);
                // Else it is nothing that ever was.
                if Seen::of(path)? == seen {
                    return read;
                }
                continue;
            }
            Ok(Way::Unlogged) => {
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(e) => Err(e),
        };
        match read {
            // Others come and go: what was missing just then may be there again.
            Err(_) if tried < FEW && !nobody_writes(path) => std::thread::sleep(PAUSE),
            read => return read,
        }
    }
    Err(StoreError::new(
        Kind::Busy,
        "the history is being written elsewhere, and did not keep still to be read",
    )
    .on(path.display())
    .advice("try again"))
}

/// SQLite reads a file with a log if the log and its index are there; and a file without, which a
/// clean end leaves, only if it is told that nobody can change it
/// (<https://sqlite.org/wal.html#read_only_databases>).
fn way(path: &Path, seen: &Seen) -> Result<Way, StoreError> {
    let index = size(path, "-shm")?;
    match seen.log {
        Some(_) if index.is_some() => Ok(Way::Logged),
        Some(bytes) if bytes > 0 => Err(read_only(path).advice(
            "its last transactions are in the file -wal beside it, which cannot be read here: \
             copy both to where they can be written",
        )),
        _ if nobody_writes(path) => Ok(Way::Whole),
        _ => Ok(Way::Unlogged),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sqlite(path, e))?;
    configured(path, connection)
}

/// A connection to a file as if nobody could change it: nothing else is opened, and neither locks
/// nor files are made.
pub(crate) fn connect_immutable(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let uri = format!("file:{}?immutable=1", escaped(path));
    let connection = Connection::open_with_flags(uri, flags).map_err(|e| sqlite(path, e))?;
    configured(path, connection)
}

fn configured(path: &Path, connection: Connection) -> Result<Connection, StoreError> {
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
    let name = beside(path, suffix);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(path: &Path) -> StoreError {
        crate::error::not_a_database(path)
    }

    #[test]
    fn a_file_that_another_process_was_just_closing_was_taken_for_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (path, log) = (
            dir.path().join("history.db"),
            dir.path().join("history.db-wal"),
        );
        fs::write(&path, "half of it").unwrap();
        fs::write(&log, "the other half").unwrap();
        let mut looks = 0;
        let seen = at_rest(&path, || {
            looks += 1;
            if looks > 1 {
                return Ok(());
            }
            // While it is looked at, the log is written into it and removed.
            fs::write(&path, "both halves").unwrap();
            fs::remove_file(&log).unwrap();
            Err(damaged(&path))
        });
        seen.unwrap();
        assert_eq!(looks, 2);
    }

    #[test]
    fn a_file_at_rest_that_is_damaged_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        fs::write(&path, "no database").unwrap();
        let seen = at_rest(&path, || Err(damaged(&path)));
        assert_eq!(seen.unwrap_err().kind(), Kind::Corrupt);
        fs::write(dir.path().join("history.db-wal"), "its log").unwrap();
        at_rest(&path, || Err(damaged(&path))).unwrap();
    }
}
