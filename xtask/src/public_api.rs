//! What the public API names of other crates: whoever embeds ours must follow each of their breaking
//! releases, so it is little, and listed here.
//!
//! rustdoc says it, as JSON, with every name resolved. That output is unstable, so it is only looked
//! for names, their crates and their attributes, and for what has to be in it, so that a change of it
//! is noticed. Which types cannot grow is looked at with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::exhaustive;
use crate::packages::{published, root};
use crate::stages::cargo;

/// What every crate may name: the language's own crates, ours, and serde's traits.
const EVERYWHERE: &[&str] = &["std", "core", "alloc", "serde", "serde_core"];

/// What a crate may name besides, and does.
const ALLOWED: &[(&str, &[&str])] = &[(
    "rollback-core",
    &[
        "tokio::sync::broadcast::Receiver",
        "tokio::sync::watch::Receiver",
    ],
)];

/// Set for the process that stands in for rustdoc.
const STAND_IN: &str = "ROLLBACK_XTASK_IS_RUSTDOC";

/// Whether this process was started by cargo, as its rustdoc.
pub(crate) fn is_rustdoc() -> bool {
    std::env::var_os(STAND_IN).is_some()
}

/// Is rustdoc, with JSON as its output. Only this process is let use what is unstable: a variable
/// for all that cargo starts would have the dependencies built anew.
pub(crate) fn run_rustdoc() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(Path::new(env!("CARGO")).with_file_name("rustdoc"));
    command.args(&args).env("RUSTC_BOOTSTRAP", "1");
    if args.iter().any(|arg| arg == "--crate-name") {
        command.args(["-Z", "unstable-options", "--output-format", "json"]);
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Fails for a public item that names a foreign one that is not listed, and for a list that says
/// more than is so.
pub(crate) fn check() -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    let own = own.display().to_string();
    // The whole workspace, as the docs are made: its dependencies are there already.
    let args = ["doc", "--workspace", "--no-deps", "--all-features"];
    cargo(&args, &[("RUSTDOC", &own), (STAND_IN, "1")])?;
    let names = published()?;
    let mut wrong = Vec::new();
    for name in &names {
        let json = told(name)?;
        wrong.extend(exhaustive::wrong(name, &json)?);
        let foreign = foreign(name, &json)?;
        let listed = ALLOWED.iter().find(|(of, _)| of == name);
        let listed: BTreeSet<&str> = listed
            .iter()
            .flat_map(|(_, paths)| *paths)
            .copied()
            .collect();
        for (path, item) in &foreign {
            if !listed.contains(path.as_str()) {
                wrong.push(format!(
                    "{name}: `{item}` names {path}, which is not allowed"
                ));
            }
        }
        for path in listed {
            if !foreign.contains_key(path) {
                wrong.push(format!(
                    "{name}: nothing names {path}: take it off the list"
                ));
            }
        }
    }
    if wrong.is_empty() {
        println!(
            "the public API of {} crates names nothing else, and can grow",
            names.len()
        );
        Ok(())
    } else {
        Err(wrong.join("\n  "))
    }
}

/// What rustdoc says of a crate.
fn told(name: &str) -> Result<Value, String> {
    let file = root().join(format!("target/doc/{}.json", name.replace('-', "_")));
    let json = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    serde_json::from_slice(&json).map_err(|e| format!("{}: {e}", file.display()))
}

/// The foreign paths that a crate's public API names, each with an item that does.
fn foreign(name: &str, json: &Value) -> Result<BTreeMap<String, String>, String> {
    let unknown = || format!("{name}: rustdoc's JSON is not what it was");
    let items = json["index"].as_object().ok_or_else(unknown)?;
    let mut found = BTreeMap::new();
    let mut ours = 0;
    for item in items.values().filter(|item| is_written(item)) {
        let mut ids = BTreeSet::new();
        named(&item["inner"], &mut ids);
        for id in ids {
            let path = &json["paths"][id.to_string()];
            let Some(words) = path["path"].as_array() else {
                continue; // an item of this crate that is only seen through another one
            };
            let of = &json["external_crates"][path["crate_id"].to_string()]["name"];
            let of = of.as_str().unwrap_or_default();
            if of.is_empty() || of.starts_with("rollback_") {
                ours += 1;
            } else if !EVERYWHERE.contains(&of) {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                let item = item["name"].as_str().unwrap_or("an impl");
                found.insert(words.join("::"), item.to_owned());
            }
        }
    }
    if ours == 0 {
        return Err(unknown());
    }
    Ok(found)
}

/// Whether somebody has written it: not what the compiler and blanket impls add.
fn is_written(item: &Value) -> bool {
    let block = &item["inner"]["impl"];
    item["crate_id"] == 0 && block["blanket_impl"].is_null() && block["is_synthetic"] != true
}

/// The ids that a piece of rustdoc's JSON names: of types, traits and what is exported again.
fn named(json: &Value, ids: &mut BTreeSet<u64>) {
    match json {
        Value::Array(all) => all.iter().for_each(|each| named(each, ids)),
        Value::Object(fields) => {
            let names = fields.contains_key("path") || fields.contains_key("source");
            if let Some(id) = fields.get("id").filter(|_| names).and_then(Value::as_u64) {
                ids.insert(id);
            }
            fields.values().for_each(|each| named(each, ids));
        }
        _ => {}
    }
}
