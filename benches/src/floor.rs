//! What the machine itself takes, printed beside the figures to explain them.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::figure::{clocked, median, timed};

/// `fdatasync` after the four kilobytes that a small commit appends to a log.
async fn fsync(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("fsync")).unwrap();
    let file = std::sync::Mutex::new(&mut file);
    let file = &file;
    median(400, |_| async move {
        let mut file = file.lock().unwrap();
        file.write_all(&[7; 4096]).unwrap();
        clocked(|| file.sync_data().unwrap())
    })
    .await
}

/// There and back: a step on a thread that may block, awaited.
async fn handover() -> f64 {
    median(2_000, |_| async {
        timed(async { tokio::task::spawn_blocking(|| {}).await.unwrap() })
            .await
            .0
    })
    .await
}

pub(crate) async fn lines(dir: &Path) -> Vec<String> {
    let mut lines = vec![
        format!("raw fsync of 4 KiB appended: {:.1} us", fsync(dir).await),
        format!(
            "an empty step on a blocking thread, awaited: {:.1} us",
            handover().await
        ),
    ];
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let load = load.split(' ').next().unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        lines.push(format!("load {load} on {cores} cores"));
    }
    lines
}

/// Whether a sync at this path would do nothing.
pub(crate) fn in_memory(dir: &Path) -> bool {
    /// The magic number of tmpfs, as `statfs(2)` lists it.
    const TMPFS: u32 = 0x0102_1994;
    let stat = rustix::fs::statfs(dir).unwrap();
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast
    )]
    let magic = stat.f_type as u32;
    magic == TMPFS
}
