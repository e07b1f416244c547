//! Where there is no history, that is said, and none is made.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::left::{Left, Typed, program};

fn type_in(dir: &Path, store: &str, args: &[&str]) -> Typed {
    let mut command = std::process::Command::new(program("history"));
    command.args(["--store", store, "--user", "ada"]).args(args);
    Typed::of(command.current_dir(dir).output().unwrap())
}

const READING: [&[&str]; 8] = [
    &["list"],
    &["status"],
    &["show", "deploy-20260101-000000-aaaa"],
    &["compare", "aaaa", "bbbb"],
    &["stats"],
    &["preview"],
    &["verify"],
    &["cleanup", "5", "5", "--dry-run"],
];

#[test]
fn a_history_that_is_not_there_is_said_and_not_made() {
    let dir = TempDir::new().unwrap();
    for store in ["none.db", "json:none", "sqlite:none", "none/none.db"] {
        let path = store.split_once(':').map_or(store, |(_, path)| path);
        for args in READING {
            let typed = type_in(dir.path(), store, args).ends(7);
            let said = format!(
                "history: there is no history at {path}; nothing was created (name one with \
                 --store)\n"
            );
            assert_eq!(typed.err, said);
        }
        for args in [["adopt"].as_slice(), &["deploy", "v1", "--yes"]] {
            type_in(dir.path(), store, args).ends(7);
        }
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_directory_without_a_history_stays_as_it_is() {
    let dir = TempDir::new().unwrap();
    let inside = dir.path().join("there");
    fs::create_dir(&inside).unwrap();
    for file in [None, Some("notes.txt")] {
        if let Some(file) = file {
            fs::write(inside.join(file), "mine").unwrap();
        }
        for store in ["there", "json:there"] {
            for args in READING {
                let typed = type_in(dir.path(), store, args).ends(7);
                assert!(typed.err.contains("there is no history at there"));
            }
        }
        assert_eq!(fs::read_dir(&inside).unwrap().count(), file.iter().count());
    }
}

#[test]
fn an_empty_file_is_no_history_and_stays_empty() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("empty.db");
    fs::write(&file, "").unwrap();
    for store in ["empty.db", "sqlite:empty.db"] {
        for args in READING {
            let typed = type_in(dir.path(), store, args).ends(7);
            assert!(typed.err.contains("empty.db is an empty file"));
        }
        type_in(dir.path(), store, &["deploy", "v1", "--yes"]).ends(7);
    }
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[tokio::test]
async fn the_first_deployment_begins_a_history_in_an_empty_directory() {
    let left = Left::with("json").await;
    let new = left.kept().join("new");
    fs::create_dir(&new).unwrap();
    let store = format!("json:{}", new.display());
    left.type_(&store, &["list"]).ends(7);
    left.type_(&store, &["deploy", "v1", "--yes"]).ends(0);
    left.type_(&store, &["list"]).ends(0);
}
