//! Measures rollback against the raw operations it is made of, in the same run, as ratios.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod figure;
mod git;
mod noop;
mod sqlite;

use std::path::PathBuf;

use figure::Figure;

fn main() {
    let dir = scratch();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let figures: Vec<Figure> = runtime.block_on(async {
        let mut figures = Vec::new();
        figures.push(sqlite::append(dir.path()).await);
        figures.push(noop::engine_overhead_in_memory().await);
        figures.push(noop::engine_overhead_on_sqlite(dir.path()).await);
        figures.push(git::switch(dir.path()).await);
        figures.push(git::rollback(dir.path()).await);
        figures
    });
    drop(runtime);
    figure::print(&figures);
    figure::write(&figures, &target().join("bench-report.json"));
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}

/// On the disk that holds the build, which is a real one; a tmpfs would sync nothing.
fn scratch() -> tempfile::TempDir {
    std::fs::create_dir_all(target()).unwrap();
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(target())
        .unwrap()
}
