//! The quickstart's service, a database that it needs, and a site that needs it: a stack.

use std::fs;

use rollback_examples::catalog;
use serde_json::{Value, json};

use crate::left::{Left, Typed};

/// Three workloads of one repository in the stack `shop`; only `api` is checked. Nothing is on record.
pub(crate) async fn shop(kind: &str) -> Left {
    let left = Left::with(kind).await;
    change(&left, |all| {
        let api = all["workloads"][0].clone();
        all["workloads"][0]["depends_on"] = json!(["db@web-1"]);
        for (name, needs) in [("db", None), ("web", Some("api@web-1"))] {
            let mut other = api.clone();
            other["workload"] = format!("{name}@web-1").into();
            other["root"] = left.kept().join(name).to_str().unwrap().into();
            other["restart"] = json!([]);
            other["health"] = Value::Null;
            other["depends_on"] = needs.into_iter().collect();
            all["workloads"].as_array_mut().unwrap().push(other);
        }
        all["stacks"] = json!([{
            "stack": "shop",
            "workloads": ["api@web-1", "db@web-1", "web@web-1"],
        }]);
    });
    left
}

/// Changes the whole catalog.
pub(crate) fn change(left: &Left, change: impl FnOnce(&mut Value)) {
    let path = left.kept().join(catalog::FILE);
    let mut all: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut all);
    fs::write(&path, all.to_string()).unwrap();
}

/// Deploys these versions to `api`, `db` and `web`; `-`: it is not named.
pub(crate) fn deploy(left: &Left, versions: [&str; 3]) -> Typed {
    let named = ["api", "db", "web"].into_iter().zip(versions);
    let named = named.filter(|(_, version)| *version != "-");
    let references: Vec<String> = named.map(|(w, v)| format!("{w}@web-1={v}")).collect();
    let mut args = vec!["stack", "deploy", "--yes"];
    args.extend(references.iter().map(String::as_str));
    left.type_here(&args)
}

/// What is live on `api`, `db` and `web`.
pub(crate) fn live(left: &Left) -> [String; 3] {
    ["site", "db", "web"].map(|root| {
        let version = left.kept().join(root).join("current/version");
        fs::read_to_string(version).unwrap_or_else(|_| "nothing".to_owned())
    })
}

/// The groups, newest first.
pub(crate) fn groups(left: &Left) -> Vec<Value> {
    let list = left.type_here(&["stack", "list", "--json"]).ends(0);
    serde_json::from_str(&list.out).unwrap()
}

/// The id of a group.
pub(crate) fn id(group: &Value) -> String {
    group["id"].as_str().unwrap().to_owned()
}
