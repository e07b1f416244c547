//! What is read: the same words everywhere, and no empty answer to a typing error.

use crate::left::Left;

async fn nothing_known_is_said(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["list", "api"]).ends(0);
    left.type_here(&["adopt"]).ends(0);
    for (args, what) in [
        (["list", "nosuch"].as_slice(), "nosuch"),
        (&["list", "--target", "nosuch"], "@nosuch"),
        (&["list", "api", "--target", "nosuch"], "api@nosuch"),
        (&["list", "nosuch", "--json"], "nosuch"),
        (&["stats", "nosuch"], "nosuch"),
    ] {
        let refused = left.type_here(args).ends(7);
        let said = format!("history: nothing is known of {what}\n");
        assert_eq!((refused.out, refused.err), (String::new(), said));
    }
    left.type_here(&["list", "api", "--target", "web-1"])
        .ends(0);
    for limit in ["0", "1001", "-1"] {
        left.type_here(&["list", "--limit", limit]).ends(2);
    }
}

async fn list_and_show_say_the_same_of_health(kind: &str) {
    let left = Left::with(kind).await;
    left.type_here(&["deploy", "v2", "--yes"]).ends(0);
    left.type_here(&["deploy", "v3", "--yes"]).ends(3);
    let list = left.type_here(&["list"]).ends(0);
    let rows: Vec<&str> = list.out.lines().skip(1).collect();
    for (row, id) in rows.iter().zip(list.shown_ids()) {
        let shown = left.type_here(&["show", &id]).ends(0).out;
        let fields: Vec<&str> = shown
            .lines()
            .skip(2)
            .take_while(|l| !l.is_empty())
            .collect();
        let health = fields.iter().find_map(|l| l.strip_prefix("health"));
        let health = health.unwrap().trim().split(':').next().unwrap();
        assert!(["healthy", "unhealthy"].contains(&health), "{health}");
        assert!(row.contains(&format!("  {health}  ")), "{row}");
        for field in fields {
            let (label, text) = field.split_at(16);
            assert!(label.ends_with(' ') && !text.starts_with(' '), "{shown}");
        }
    }
}

async fn help_has_what_scripts_need(kind: &str) {
    let left = Left::nothing_but(kind).await;
    let help = left.type_here(&["--help"]).ends(0).out;
    assert!(
        help.contains("\n  7  no such thing, or no history there\n"),
        "{help}"
    );
    let help = left.type_here(&["list", "--help"]).ends(0).out;
    for key in ["user", "machine", "status", "health", "duration_ms"] {
        assert!(help.contains(&format!("\n  {key} ")), "{help}");
    }
    let help = left.type_here(&["preview", "--help"]).ends(0).out;
    assert!(!help.contains("--yes"), "{help}");
}

on_both_stores!(
    nothing_known_is_said,
    list_and_show_say_the_same_of_health,
    help_has_what_scripts_need,
);
