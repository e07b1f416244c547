//! The mutations: each takes one safety out.

use std::fmt;

/// What must fail without a safety.
#[derive(Debug)]
pub(crate) enum Proof {
    /// `cargo test` with these arguments.
    Test(&'static [&'static str]),
    /// The chaos program with these.
    Chaos(&'static [&'static str]),
}

impl Proof {
    /// What builds it.
    pub(crate) fn build(&self) -> Vec<&'static str> {
        match self {
            Self::Test(args) => [&["test", "--no-run"], *args].concat(),
            Self::Chaos(_) => vec!["build", "-p", "rollback-testkit", "--example", "chaos"],
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(args) => write!(f, "cargo test {}", args.join(" ")),
            Self::Chaos(args) => write!(f, "cargo xtask chaos {}", args.join(" ")),
        }
    }
}

/// A safety that is taken out.
#[derive(Debug)]
pub(crate) struct Mutation {
    /// Where.
    pub(crate) file: &'static str,
    /// What the safety is.
    pub(crate) what: &'static str,
    /// Its text, which must be there once.
    pub(crate) find: &'static str,
    /// What stands there instead.
    pub(crate) replace: &'static str,
    /// Looked at in this order, until one fails.
    pub(crate) proofs: &'static [Proof],
}

const TEST_JSON_CRASH: Proof = Proof::Test(&["-p", "rollback-json", "--test", "crash"]);
const CHAOS_SYNC_JSON: Proof = Proof::Chaos(&["--kind", "sync", "--store", "json"]);
const TEST_JSON_FAILING: Proof = Proof::Test(&["-p", "rollback-json", "--test", "failing"]);
const TEST_JSON_SUITE: Proof = Proof::Test(&["-p", "rollback-json", "--test", "suite"]);
const TEST_SQLITE_SUITE: Proof = Proof::Test(&["-p", "rollback-sqlite", "--test", "suite"]);
const CHAOS_SYNC_SQLITE: Proof = Proof::Chaos(&["--kind", "sync", "--store", "sqlite"]);
const TEST_GIT: Proof = Proof::Test(&["-p", "rollback-git"]);
const TEST_CORE: Proof = Proof::Test(&["-p", "rollback-core", "--tests"]);
const TEST_CORE_MASKING: Proof = Proof::Test(&["-p", "rollback-core", "--test", "masking"]);
const TEST_CORE_STACKS: Proof = Proof::Test(&[
    "-p",
    "rollback-core",
    "--lib",
    "--test",
    "stacks",
    "--",
    "group",
    "go",
]);
const TEST_SIMULATOR_STACKS: Proof = Proof::Test(&[
    "-p",
    "rollback-testkit",
    "--test",
    "simulator",
    "--",
    "pair_of_drops_of_a_stack",
]);
const TEST_TESTKIT_ASKS: Proof = Proof::Test(&["-p", "rollback-testkit", "--test", "asks"]);
const TEST_TESTKIT_RULES: Proof = Proof::Test(&["-p", "rollback-testkit", "--test", "rules"]);
const TEST_TESTKIT_SIMULATOR: Proof =
    Proof::Test(&["-p", "rollback-testkit", "--test", "simulator"]);

/// All of them, in the order of the crates.
pub(crate) const MUTATIONS: &[Mutation] = &[
    Mutation {
        file: "rollback-fs/src/durable.rs",
        what: "a file's content is synced before it gets its name",
        find: "        file.sync_all()?;\n        publish",
        replace: "        publish",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-fs/src/durable.rs",
        what: "the directory is synced after a file got its name",
        find: "        return Err(e);\n    }\n    sync_dir(dir)\n",
        replace: "        return Err(e);\n    }\n    let _ = dir;\n    Ok(())\n",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-fs/src/durable.rs",
        what: "the directory is synced after a file was removed",
        find: "    sync_dir(parent(path))\n",
        replace: "    Ok(())\n",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-json/src/folder/writing.rs",
        what: "what a writer has changed that did not end well is mended first",
        find: "        if !ended {\n            self.mend(&writing)?;\n        }\n        Ok(writing)\n",
        replace: "        let _ = ended;\n        Ok(writing)\n",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-json/src/folder/writing.rs",
        what: "a new shard's directory is synced",
        find: "            self.sync(writing, &self.place.records())?;\n        }\n        let path",
        replace: "        }\n        let path",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-json/src/folder/writing.rs",
        what: "a new record's content is synced",
        find: "            file.sync_all()\n        })\n",
        replace: "            Ok(())\n        })\n",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-json/src/folder/writing.rs",
        what: "a new record's name is synced",
        find: "        })?;\n        self.sync(writing, &dir)\n    }",
        replace: "        })\n    }",
        proofs: &[TEST_JSON_CRASH, CHAOS_SYNC_JSON],
    },
    Mutation {
        file: "rollback-json/src/folder/writing.rs",
        what: "a shard's changed names are synced",
        find: "        self.sync(writing, &self.place.shard(shard))\n",
        replace: "        let _ = (writing, shard);\n        Ok(())\n",
        proofs: &[TEST_JSON_FAILING],
    },
    Mutation {
        file: "rollback-core/src/history/claim.rs",
        what: "a lease's epoch is compared",
        find: "if epoch == self.epoch && in_flight",
        replace: "if epoch >= Epoch(0) && in_flight",
        proofs: &[TEST_SQLITE_SUITE],
    },
    Mutation {
        file: "rollback-core/src/history/finish.rs",
        what: "no deployment is rolled back by itself",
        find: "if failed == claim.deployment() =>",
        replace: "if failed.as_str().is_empty() =>",
        proofs: &[TEST_SQLITE_SUITE],
    },
    Mutation {
        file: "rollback-json/src/write.rs",
        what: "a settlement that is repeated is of the same epoch",
        find: " || last.epoch != claim.epoch().0",
        replace: "",
        proofs: &[TEST_JSON_SUITE],
    },
    Mutation {
        file: "rollback-sqlite/src/connection.rs",
        what: "commits are synced",
        find: "\"synchronous\", \"FULL\"",
        replace: "\"synchronous\", \"OFF\"",
        proofs: &[TEST_SQLITE_SUITE, CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-sqlite/src/write.rs",
        what: "an appended event's epoch is compared",
        find: "WHERE id = ?1 AND epoch = ?2 AND in_flight = ?3\n",
        replace: "WHERE id = ?1 AND ?2 IS NOT NULL AND in_flight = ?3\n",
        proofs: &[TEST_SQLITE_SUITE],
    },
    Mutation {
        file: "rollback-git/src/file.rs",
        what: "a note's content is synced",
        find: "    file.sync_all()\n",
        replace: "    Ok(())\n",
        proofs: &[CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-git/src/tree.rs",
        what: "a release's files are synced",
        find: "    file.set_permissions(Permissions::from_mode(mode))?;\n    file.sync_all()\n",
        replace: "    file.set_permissions(Permissions::from_mode(mode))\n",
        proofs: &[CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-git/src/tree.rs",
        what: "a release's directories are synced",
        find: "        sync_dir(d)?;\n",
        replace: "        let _ = d;\n",
        proofs: &[CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-git/src/release.rs",
        what: "a release's own directory is synced",
        find: "        sync_dir(&dir)?;\n        sync_dir(&self.root.path().join(\"releases\"))\n",
        replace: "        Ok(())\n",
        proofs: &[CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-git/src/link.rs",
        what: "the link's new place is synced",
        find: "            std::fs::rename(&next, self.path()).map_err(fail)\n        })?;\n        sync_dir(&self.root)\n",
        replace: "            std::fs::rename(&next, self.path()).map_err(fail)\n        })\n",
        proofs: &[CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-git/src/durable.rs",
        what: "the commit's objects are synced",
        find: "File::open(dir.join(rest)).and_then(|f| f.sync_all())",
        replace: "File::open(dir.join(rest)).map(|_| ())",
        proofs: &[CHAOS_SYNC_SQLITE, TEST_GIT],
    },
    Mutation {
        file: "rollback-git/src/durable.rs",
        what: "the directories of its objects are synced",
        find: "        sync_dir(dir)?;\n    }\n    sync_dir(&sync.objects)\n",
        replace: "        let _ = dir;\n    }\n    Ok(())\n",
        proofs: &[CHAOS_SYNC_SQLITE, TEST_GIT],
    },
    Mutation {
        file: "rollback-git/src/pins.rs",
        what: "a new pin's place is synced",
        find: "        fs::rename(&next, &place).map_err(fail)?;\n        sync_dir(&self.worktrees())\n",
        replace: "        fs::rename(&next, &place).map_err(fail)\n",
        proofs: &[CHAOS_SYNC_SQLITE],
    },
    Mutation {
        file: "rollback-git/src/root.rs",
        what: "what publishes keeps its token at the target",
        find: "            file::put_json(&self.fence_path(), own)?;\n",
        replace: "            let _ = (own, self.fence_path());\n",
        proofs: &[TEST_GIT],
    },
    Mutation {
        file: "rollback-git/src/root.rs",
        what: "whoever was taken for dead is refused at once",
        find: "        cx.may_publish(self.published()?.as_ref())\n",
        replace: "        self.published().map(|_| ())\n",
        proofs: &[TEST_GIT],
    },
    Mutation {
        file: "rollback-git/src/switch.rs",
        what: "a release that is not whole is not switched to",
        find: "            && !self.is_whole(to, dir).map_err(untouched)?\n",
        replace: "            && !dir.is_dir() && to.as_str().is_empty()\n",
        proofs: &[TEST_GIT],
    },
    Mutation {
        file: "rollback-git/src/switch.rs",
        what: "the last stop before the link moves",
        find: "        cx.check().map_err(untouched)?;\n        match &dir {",
        replace: "        match &dir {",
        proofs: &[TEST_GIT],
    },
    Mutation {
        file: "rollback-core/src/engine/runner.rs",
        what: "a stop is heard before the preparation",
        find: "        self.journal(Event::PrepareIntended).await?;\n        if let Some(step) = self.stop_if_asked().await? {\n            return Ok(step);\n        }\n",
        replace: "        self.journal(Event::PrepareIntended).await?;\n",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/engine/runner.rs",
        what: "a stop is heard before the successor is started",
        find: "        self.journal(Event::StartIntended).await?;\n        if let Some(step) = self.stop_if_asked().await? {\n            return Ok(step);\n        }\n",
        replace: "        self.journal(Event::StartIntended).await?;\n",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/engine/runner.rs",
        what: "a stop is heard before the switch",
        find: "        if let Some(step) = self.stop_before_effect().await? {\n            return Ok(step);\n        }\n        self.journal(Event::SwitchIntended).await?;\n",
        replace: "        self.journal(Event::SwitchIntended).await?;\n",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/engine/runner.rs",
        what: "a stop is heard before a release task",
        find: "            if let Some(step) = self.stop_before_effect().await? {\n                return Ok(step);\n            }\n            self.journal(Event::TaskIntended",
        replace: "            self.journal(Event::TaskIntended",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/engine/healing.rs",
        what: "a stop is heard before the gate",
        find: "            if let Some(step) = self.stop_before_effect().await? {\n                return Ok(step);\n            }\n            let judged",
        replace: "            let judged",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/engine/healing.rs",
        what: "a stop is heard after a failed gate",
        find: "                    let stop = self.stop_before_effect().await?;\n                    return Ok(stop.unwrap_or(Step::Conclude));\n",
        replace: "                    return Ok(Step::Conclude);\n",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/engine/back.rs",
        what: "it is looked who is live before somebody's work is taken away",
        find: "        Ok(is_foreign(&op, Some(&fence), &self.observe().await?))\n",
        replace: "        Ok(is_foreign(&op, Some(&fence), &self.observe().await?) && false)\n",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/recover.rs",
        what: "ends that are the same instance are not told apart",
        find: "let tells = !op.is_in_place();",
        replace: "let tells = true;",
        proofs: &[TEST_CORE, TEST_TESTKIT_SIMULATOR],
    },
    Mutation {
        file: "rollback-core/src/recover.rs",
        what: "recovery leaves alone what it does not know",
        find: "    if is_foreign(&op, fence, observed) {\n        return Decision::Leave;\n    }\n",
        replace: "",
        proofs: &[
            TEST_CORE,
            TEST_TESTKIT_ASKS,
            TEST_TESTKIT_RULES,
            TEST_TESTKIT_SIMULATOR,
        ],
    },
    Mutation {
        file: "rollback-core/src/context.rs",
        what: "an older fencing token is refused",
        find: "(Some(own), Some(published)) if !own.admits(published) =>",
        replace: "(Some(own), Some(published)) if !own.admits(published) && false =>",
        proofs: &[TEST_CORE, TEST_GIT],
    },
    Mutation {
        file: "rollback-core/src/masking.rs",
        what: "of a text that was cut the first line is left out",
        find: "            return line;\n",
        replace: "            return line.min(0);\n",
        proofs: &[TEST_CORE_MASKING],
    },
    Mutation {
        file: "rollback-core/src/masking.rs",
        what: "where there are too many secrets nothing is told",
        find: "self.count > MOST_SECRETS ||",
        replace: "self.count > usize::MAX - 1 ||",
        proofs: &[TEST_CORE_MASKING],
    },
    Mutation {
        file: "rollback-core/src/group.rs",
        what: "until its group is decided a member goes back",
        find: ") => Decision::GoBack,",
        replace: ") if false => Decision::GoBack,",
        proofs: &[TEST_SIMULATOR_STACKS, TEST_CORE_STACKS],
    },
    Mutation {
        file: "rollback-core/src/engine/grouped.rs",
        what: "a member goes on once its group is decided, and not before",
        find: "        self.journal(Event::Agreed).await?;\n",
        replace: "        self.journal(Event::Agreed).await?;\n        if self.deployment.coordinates().is_none() {\n            return Ok(Step::Retire);\n        }\n",
        proofs: &[TEST_SIMULATOR_STACKS, TEST_CORE_STACKS],
    },
    Mutation {
        file: "rollback-core/src/engine/grouped.rs",
        what: "what others need is live before them",
        find: "At::Ready => seat.needs().await,",
        replace: "At::Ready => Ok(()),",
        proofs: &[TEST_CORE_STACKS],
    },
];
