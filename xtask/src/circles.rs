//! Files of a crate that need each other in a circle: whoever reads one of them has to read all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::{Item, UseTree};

/// Crates whose files are in no circle, with the pairs that have a reason to be.
const CRATES: &[(&str, &[(&str, &str)])] = &[
    // Who asks for an engine finds its builder on it.
    ("rollback-core", &[("engine::builder", "engine::facade")]),
    ("rollback-compose", &[]),
    ("rollback-fs", &[]),
    ("rollback-git", &[]),
    ("rollback-health", &[]),
    ("rollback-json", &[]),
    ("rollback-process", &[]),
    ("rollback-sqlite", &[]),
    ("rollback-systemd", &[]),
];

/// A module, or what is in one, from the root of the crate on.
type Names = Vec<String>;

/// One file: what it brings in, and what it passes on under which name.
#[derive(Default)]
struct File {
    needs: Vec<Names>,
    passes_on: BTreeMap<String, Names>,
}

/// Fails if files of a listed crate need each other in a circle.
pub(crate) fn check() -> Result<(), String> {
    let mut wrong = Vec::new();
    for (name, allowed) in CRATES {
        let files = files(&Path::new(name).join("src"))?;
        let found = circles(&files);
        let mut allowed: Vec<_> = allowed.iter().map(|(a, b)| [*a, *b]).collect();
        for circle in found {
            match allowed.iter().position(|pair| *pair == *circle) {
                Some(i) => drop(allowed.remove(i)),
                None => wrong.push(format!("{name}: {}", circle.join(" -> "))),
            }
        }
        let gone = allowed
            .iter()
            .map(|[a, b]| format!("{name}: {a} and {b} are in none"));
        wrong.extend(gone);
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("circles of files:\n  {}", wrong.join("\n  "))),
    }
}

/// The files below a directory, by the path of their module.
fn files(src: &Path) -> Result<BTreeMap<Names, File>, String> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![(src.to_owned(), Vec::new())];
    while let Some((dir, module)) = dirs.pop() {
        let unread = |e: &dyn std::fmt::Display| format!("{}: {e}", dir.display());
        for entry in fs::read_dir(&dir).map_err(|e| unread(&e))? {
            let path = entry.map_err(|e| unread(&e))?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let mut own = module.clone();
            if !matches!(&*stem, "lib" | "mod") {
                own.push(stem.into_owned());
            }
            if path.is_dir() {
                dirs.push((path, own));
                continue;
            }
            if path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|e| unread(&e))?;
            let parsed = syn::parse_file(&text).map_err(|e| unread(&e))?;
            files.insert(own.clone(), File::of(&parsed.items, &own));
        }
    }
    Ok(files)
}

impl File {
    fn of(items: &[Item], module: &[String]) -> Self {
        let mut file = Self::default();
        for item in items {
            let Item::Use(item) = item else { continue };
            let mut brought = Vec::new();
            flatten(&item.tree, &mut Vec::new(), &mut brought);
            for path in brought {
                let is_passed_on = !matches!(item.vis, syn::Visibility::Inherited);
                let Some(path) = absolute(path, module, is_passed_on) else {
                    continue;
                };
                // A module that passes on what stands below it reads none of it.
                if !is_passed_on {
                    file.needs.push(path);
                } else if let Some(name) = path.last() {
                    file.passes_on.insert(name.clone(), path);
                }
            }
        }
        file
    }
}

/// Each path that a tree of uses names.
fn flatten(tree: &UseTree, before: &mut Names, into: &mut Vec<Names>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, into);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, into);
            }
        }
        UseTree::Name(name) if name.ident == "self" => into.push(before.clone()),
        UseTree::Name(syn::UseName { ident }) | UseTree::Rename(syn::UseRename { ident, .. }) => {
            let mut path = before.clone();
            path.push(ident.to_string());
            into.push(path);
        }
        UseTree::Glob(_) => into.push(before.clone()),
    }
}

/// From the root of the crate on; `None`: of another crate.
fn absolute(path: Names, module: &[String], may_be_own: bool) -> Option<Names> {
    let mut rest = path.iter().peekable();
    let mut from = match rest.peek()?.as_str() {
        "crate" => {
            rest.next();
            Vec::new()
        }
        "self" => {
            rest.next();
            module.to_vec()
        }
        "super" => module.to_vec(),
        // What is passed on is named as it stands below.
        _ if may_be_own => module.to_vec(),
        _ => return None,
    };
    while rest.next_if(|name| *name == "super").is_some() {
        from.pop();
    }
    from.extend(rest.cloned());
    Some(from)
}

/// The file that has what a path names, followed through those that pass it on.
fn file_with(path: &[String], files: &BTreeMap<Names, File>, depth: usize) -> Option<Names> {
    let known = (0..=path.len())
        .rev()
        .find(|n| files.contains_key(&path[..*n]))?;
    let (module, rest) = path.split_at(known);
    let passed = rest
        .first()
        .and_then(|name| files[module].passes_on.get(name));
    match passed {
        Some(further) if depth < 4 && further != path => {
            let further: Names = further.iter().chain(&rest[1..]).cloned().collect();
            file_with(&further, files, depth + 1).or_else(|| Some(module.to_vec()))
        }
        _ => Some(module.to_vec()),
    }
}

/// Files that need each other, each circle sorted. The crate's root passes on what all the others have.
fn circles(files: &BTreeMap<Names, File>) -> Vec<Vec<String>> {
    let needs = |of: &Names| -> BTreeSet<Names> {
        let found = files[of].needs.iter();
        let found = found.filter_map(|path| file_with(path, files, 0));
        found.filter(|f| f != of && !f.is_empty()).collect()
    };
    let graph: BTreeMap<&Names, BTreeSet<Names>> = files.keys().map(|f| (f, needs(f))).collect();
    let reached = |from: &Names| -> BTreeSet<Names> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<Names> = graph[from].iter().cloned().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file.clone()) {
                next.extend(graph.get(&file).into_iter().flatten().cloned());
            }
        }
        seen
    };
    let reach: BTreeMap<&Names, BTreeSet<Names>> = files.keys().map(|f| (f, reached(f))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, reached) in &reach {
        let mut circle: Vec<String> = reached
            .iter()
            .filter(|other| other != file && reach.get(other).is_some_and(|r| r.contains(*file)))
            .map(|other| other.join("::"))
            .collect();
        if !circle.is_empty() {
            circle.push(file.join("::"));
            circle.sort();
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let parsed = files.iter().map(|(name, text)| {
            let module: Names = name
                .split("::")
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
                .collect();
            let items = syn::parse_file(text).unwrap().items;
            (module.clone(), File::of(&items, &module))
        });
        circles(&parsed.collect())
    }

    #[test]
    fn a_circle_is_found_through_what_others_pass_on() {
        let straight = [
            ("", "pub use a::Thing;"),
            ("a", "pub use b::Thing; mod b;"),
            ("a::b", "use std::fmt; pub struct Thing;"),
            ("c", "use crate::a::Thing;"),
        ];
        assert_eq!(of(&straight), Vec::<Vec<String>>::new());
        let mut round = straight;
        round[2].1 = "use super::super::c::{self, Other}; pub struct Thing;";
        assert_eq!(of(&round), [["a::b", "c"]]);
        // Tests may look wherever they like.
        round[2].1 = "pub struct Thing; #[cfg(test)] mod tests { use crate::c::Other; }";
        assert_eq!(of(&round), Vec::<Vec<String>>::new());
    }
}
