//! Which public types cannot grow without breaking who uses them: few, on purpose, and listed here.
//! CONTRIBUTING says which types have to be of them.

use std::collections::BTreeSet;

use serde_json::Value;

/// Those of each crate. `rollback-testkit` is for tests, and has no list.
const EXHAUSTIVE: &[(&str, &[&str])] = &[
    (
        "rollback-core",
        &[
            // What stores and backends carry out: one more that they passed over would break a promise.
            "End",
            "Finished",
            "Reuse",
            "Settings",
            "Tasks",
            "Then",
            // There is no third way: yes or no, and why.
            "Fate",
            "LiveImpact",
            "LiveRecord",
            "Need",
            "Published",
            "Reapply",
            "Relation",
            "Rest",
            "Site",
            // A text is whole, or cut at one end, or at both.
            "Part",
            // One number, or one table of text, and nothing besides.
            "Epoch",
            "Evidence",
            "Sequence",
            "Version",
            // There is one value.
            "SummaryRules",
            "SystemClock",
            // So many, or so old.
            "Keep",
            // What the pure rules go by: who calls them has to have an answer to each.
            "Selection",
            "Telling",
        ],
    ),
    ("rollback-health", &["Strictness"]),
    // There is no third way, and who asked in confidence has to have an answer to each.
    ("rollback-process", &["Confided"]),
];

/// What is wrong with a crate's types, by rustdoc's JSON.
pub(crate) fn wrong(name: &str, json: &Value) -> Result<Vec<String>, String> {
    if name == "rollback-testkit" {
        return Ok(Vec::new());
    }
    let listed = EXHAUSTIVE.iter().find(|(of, _)| *of == name);
    let listed: BTreeSet<&str> = listed.iter().flat_map(|(_, all)| *all).copied().collect();
    let unknown = || format!("{name}: rustdoc's JSON is not what it was");
    let items = json["index"].as_object().ok_or_else(unknown)?;
    let mut found = BTreeSet::new();
    let mut growing = 0;
    for item in items.values().filter(|item| item["crate_id"] == 0) {
        let (Some(type_name), true) = (item["name"].as_str(), is_open(&item["inner"])) else {
            continue;
        };
        let attributes = item["attrs"].as_array().ok_or_else(unknown)?;
        if attributes.iter().any(|a| a == "non_exhaustive") {
            growing += 1;
        } else {
            found.insert(type_name);
        }
    }
    // The core of them all has dozens: if none is seen, nothing was.
    if name == "rollback-core" && growing == 0 {
        return Err(unknown());
    }
    let more = found.difference(&listed).map(|of| {
        format!("{name}: {of} cannot grow: make it #[non_exhaustive], or list it with the reason")
    });
    let fewer = listed.difference(&found);
    let fewer = fewer.map(|of| format!("{name}: {of} can grow, or is gone: take it off the list"));
    Ok(more.chain(fewer).collect())
}

/// Whether others could write down a value, or match one, without anything left over.
fn is_open(inner: &Value) -> bool {
    let kind = &inner["struct"]["kind"];
    let plain = &kind["plain"];
    let fields = plain["fields"].as_array();
    let is_plain = fields.is_some_and(|f| !f.is_empty()) && plain["has_stripped_fields"] == false;
    // A field that is not public stands there as null.
    let tuple = kind["tuple"].as_array();
    let is_tuple = tuple.is_some_and(|f| !f.is_empty() && f.iter().all(|field| !field.is_null()));
    is_plain || is_tuple || *kind == "unit" || inner["enum"].is_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_that_others_can_write_down_whole_is_seen() {
        let plain = |fields: Value, stripped: bool| json!({"struct": {"kind": {"plain": {"fields": fields, "has_stripped_fields": stripped}}}});
        assert!(is_open(&plain(json!([1]), false)));
        assert!(!is_open(&plain(json!([1]), true)));
        assert!(!is_open(&plain(json!([]), true)));
        assert!(is_open(&json!({"struct": {"kind": {"tuple": [1]}}})));
        assert!(!is_open(&json!({"struct": {"kind": {"tuple": [1, null]}}})));
        assert!(is_open(&json!({"struct": {"kind": "unit"}})));
        assert!(is_open(&json!({"enum": {}})) && !is_open(&json!({"trait": {}})));
    }
}
