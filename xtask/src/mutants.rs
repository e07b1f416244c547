//! The mutation gate: one safety after the other is taken out of a copy of the tree, and a test
//! must fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::mutations::{MUTATIONS, Mutation, Proof};

/// A test that a mutation has brought to a standstill has failed, too.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How a mutation ended.
enum End {
    Found(&'static Proof),
    Survived,
}

/// Runs the gate. Arguments: `--list` looks only whether every text is still there; any other word
/// selects the mutations whose file or name holds it.
pub(crate) fn gate(args: &[String]) -> Result<(), String> {
    let tree = Tree::copy()?;
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let chosen: Vec<&Mutation> = MUTATIONS
        .iter()
        .filter(|m| {
            let meant = |w: &&String| m.file.contains(*w) || m.what.contains(*w);
            words.is_empty() || words.iter().any(meant)
        })
        .collect();
    let lost: Vec<String> = chosen
        .iter()
        .filter_map(|m| tree.mutated(m).err())
        .collect();
    if !lost.is_empty() {
        return Err(format!(
            "the table does not fit the code any more:\n  {}",
            lost.join("\n  ")
        ));
    }
    if args.iter().any(|arg| arg == "--list") {
        println!("{} mutations, all of them can be made", chosen.len());
        return Ok(());
    }
    let mut rows = Vec::new();
    let mut survived = Vec::new();
    let mut sound: BTreeMap<String, bool> = BTreeMap::new();
    for (nth, m) in chosen.iter().enumerate() {
        let began = Instant::now();
        let mut proofs = Vec::new();
        for proof in m.proofs {
            let name = proof.to_string();
            let passes = match sound.get(&name) {
                Some(passes) => *passes,
                None => tree.passes(proof)?,
            };
            sound.insert(name, passes);
            // What fails by itself proves nothing.
            if passes {
                proofs.push(proof);
            }
        }
        let end = tree.with(m, |tree| {
            for proof in proofs {
                if !tree.passes(proof)? {
                    return Ok(End::Found(proof));
                }
            }
            Ok(End::Survived)
        })?;
        let row = row(m, &end);
        println!(
            "{} of {}, {:.0} s: {row}",
            nth + 1,
            chosen.len(),
            began.elapsed().as_secs_f64()
        );
        if matches!(end, End::Survived) {
            survived.push(m.what);
        }
        rows.push(row);
    }
    println!("\n| where | what is taken out | what fails then |\n|---|---|---|");
    for row in &rows {
        println!("{row}");
    }
    sound.retain(|_, passes| !*passes);
    if !sound.is_empty() {
        let names: Vec<String> = sound.into_keys().collect();
        return Err(format!("without any mutation fails: {}", names.join("; ")));
    }
    if !survived.is_empty() {
        return Err(format!("no test fails without: {}", survived.join("; ")));
    }
    println!("\nall {} mutations were found", rows.len());
    Ok(())
}

fn row(m: &Mutation, end: &End) -> String {
    let found = match end {
        End::Found(proof) => format!("`{proof}`"),
        End::Survived => "**nothing**".to_owned(),
    };
    format!("| {} | {} | {found} |", m.file, m.what)
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

/// A copy of the working tree, with a build directory of its own.
struct Tree {
    dir: PathBuf,
    build: PathBuf,
    /// For the temporary files of tests that end badly; gone when dropped.
    temporary: PathBuf,
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

impl Tree {
    /// Copies every file that git knows or would add, as it is now.
    fn copy() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = root.join("target/mutants");
        let tree = Self {
            dir: target.join("tree"),
            build: target.join("build"),
            temporary: std::env::temp_dir().join(format!("rb-{}", std::process::id())),
        };
        fs::create_dir_all(&tree.temporary)
            .map_err(|e| format!("{}: {e}", tree.temporary.display()))?;
        let listed = Command::new("git")
            .args(["ls-files", "-z", "-c", "-o", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .map_err(|e| format!("git cannot be run: {e}"))?;
        let names = String::from_utf8(listed.stdout).map_err(|e| e.to_string())?;
        let names: BTreeSet<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
        // What was taken away since the last run.
        for path in files(&tree.dir) {
            let name = path.strip_prefix(&tree.dir).ok().and_then(Path::to_str);
            if !name.is_some_and(|name| names.contains(name) && root.join(name).exists()) {
                fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        for name in names {
            let (from, to) = (root.join(name), tree.dir.join(name));
            let Ok(bytes) = fs::read(&from) else { continue };
            // What is as it was keeps its time, and need not be built again.
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            let dir = to.parent().unwrap_or(&tree.dir);
            fs::create_dir_all(dir)
                .and_then(|()| fs::copy(&from, &to))
                .map_err(|e| format!("{}: {e}", to.display()))?;
        }
        Ok(tree)
    }

    /// A file's text with the mutation in it.
    fn mutated(&self, m: &Mutation) -> Result<String, String> {
        let path = self.dir.join(m.file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", m.file))?;
        match text.matches(m.find).count() {
            1 => Ok(text.replacen(m.find, m.replace, 1)),
            n => Err(format!(
                "{} ({}): its text is there {n} times",
                m.file, m.what
            )),
        }
    }

    /// Makes a mutation for as long as something is done.
    fn with<T>(
        &self,
        m: &Mutation,
        look: impl FnOnce(&Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let path = self.dir.join(m.file);
        let fail = |e| format!("{}: {e}", path.display());
        let (whole, mutated) = (fs::read(&path).map_err(fail)?, self.mutated(m)?);
        fs::write(&path, mutated).map_err(fail)?;
        let looked = look(self);
        fs::write(&path, whole).map_err(fail)?;
        looked.map_err(|why| format!("{} without this: {}: {why}", m.file, m.what))
    }

    /// Whether a proof passes, and ends. A mutation that does not compile proves nothing.
    fn passes(&self, proof: &Proof) -> Result<bool, String> {
        let mut build = self.cargo(&proof.build());
        let output = build.output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{proof} does not build:\n{said}"));
        }
        let mut run = match proof {
            Proof::Test(args) => {
                let mut all = vec!["test"];
                all.extend(*args);
                self.cargo(&all)
            }
            Proof::Chaos(args) => {
                let mut run = Command::new(self.build.join("debug/examples/chaos"));
                run.args(*args);
                run
            }
        };
        let run = run
            .env("TMPDIR", &self.temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = run.spawn().map_err(|e| format!("{proof}: {e}"))?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(|_| false).map_err(|e| e.to_string())
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(args)
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("CARGO_TERM_COLOR", "never");
        cargo
    }
}
