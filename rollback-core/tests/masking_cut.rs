//! Secrets in texts that are cut, or that go over lines.
#![allow(clippy::unwrap_used)]

use rollback_core::masking::{Part, Secrets};

/// Without a value: what looks secret.
fn looks(text: &str) -> String {
    Secrets::default().mask(text, Part::Whole).unwrap()
}

#[test]
fn of_a_list_of_secrets_over_lines_that_is_cut_or_long_all_but_the_first_line_was_shown() {
    assert_eq!(looks("tokens: [\n  \"hunter2\",\n  \"hun"), "tokens: ***");
    assert_eq!(
        looks("{\"secrets\": {\n \"a\": \"hunter2\",\n"),
        "{\"secrets\": ***"
    );
    let long = "  \"hunter2\",\n".repeat(200);
    assert_eq!(
        looks(&format!("tokens: [\n{long}] no table")),
        "tokens: *** no table"
    );
    // It may be none: not all that follows is hidden.
    let lines = "no table\n".repeat(2000);
    let shown = looks(&format!("unexpected token: [\n{lines}"));
    assert!(shown.ends_with("\nno table\n"), "{shown}");
}

#[test]
fn the_beginning_of_a_token_was_shown_where_a_text_was_cut_within_it() {
    let head = |text: &str| Secrets::default().mask(text, Part::Head).unwrap();
    assert_eq!(head("sent Bearer ab12cd3"), "sent Bearer ***");
    assert_eq!(head("sent Bearer "), "sent Bearer ");
    assert_eq!(head("Bearer auth failed"), "Bearer auth failed");
}
