//! Measures rollback against the raw operations it is made of, in the same run, as ratios.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod figure;
mod floor;
mod git;
mod noop;
mod raw;
mod sqlite;

use std::path::{Path, PathBuf};

use figure::Figure;

fn main() {
    let scratch = scratch();
    let dir = scratch.path().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (figures, floor) = runtime.block_on(async {
        let figures: Vec<Figure> = vec![
            sqlite::append(&dir).await,
            sqlite::begin_and_finish(&dir).await,
            noop::engine_overhead_in_memory().await,
            noop::engine_overhead_on_sqlite(&dir).await,
            git::switch(&dir).await,
            git::rollback(&dir).await,
        ];
        (figures, floor::lines(&dir).await)
    });
    drop(runtime);
    figure::print(&figures);
    println!();
    for line in floor {
        println!("{line}");
    }
    if floor::in_memory(&dir) {
        println!(
            "{} is a tmpfs: nothing was synced, the ratios mean nothing",
            dir.display()
        );
    }
    figure::write(&figures, &target().join("bench-report.json"));
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&target).unwrap();
    target.canonicalize().unwrap()
}

/// On the disk that holds the build, which is a real one; a tmpfs would sync nothing.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(target())
        .unwrap()
}
