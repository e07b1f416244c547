//! What the managers say of a service, without what the service was given in confidence.

use bollard::models::ServiceSpec;
use rollback_core::masking::{Part, Secrets};

use super::rows;
use crate::secrets;
use crate::settings::Env;

/// What a template of Swarm's begins with. A variable's value is one: Swarm expands it for each task.
const TEMPLATE: &str = "{{";

/// The values of a service's variables, labels and arguments.
pub(super) fn secrets_of(spec: &ServiceSpec) -> Secrets {
    secrets::among(rows::rows(spec), rows::env(spec))
}

/// The text without them. Of a template that cannot be expanded Swarm repeats single words, which no
/// one could tell from others: then nothing of it is told but whose it may be.
pub(super) fn told(spec: &ServiceSpec, text: &str) -> String {
    let templates = templates(rows::env(spec));
    if text.contains("template") && !templates.is_empty() {
        return format!(
            "Swarm cannot expand a template, which the value of a variable is that has `{TEMPLATE}` \
             in it ({}); its words are not told, for they repeat the value",
            templates.join(", ")
        );
    }
    secrets_of(spec).tell(text, Part::Whole)
}

/// The variables whose values Swarm may expand.
fn templates(env: Env) -> Vec<String> {
    let env = env.into_iter();
    let env = env.filter(|(_, value)| value.0.contains(TEMPLATE));
    env.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn spec(env: &[&str]) -> ServiceSpec {
        let spec = json!({"TaskTemplate": {"ContainerSpec": {"Env": env}}});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_bad_template_in_a_variable_shows_no_part_of_its_value() {
        let spec = spec(&["PASSWORD=ab{{hunter}}cd", "MODE=test"]);
        for text in [
            r#"expanding env "PASSWORD=ab{{hunter}}cd": template: expansion:1: unclosed action"#,
            r#"template: expansion:1: function "hunter" not defined"#,
        ] {
            let told = told(&spec, text);
            assert!(told.contains("PASSWORD"), "{told}");
            assert!(!told.contains("hunter") && !told.contains("MODE"), "{told}");
        }
    }

    #[test]
    fn a_quoted_value_is_masked() {
        let secret = "hunter\"2\\hunter\n3";
        let pair = format!("PASSWORD={secret}");
        let text = format!("bad {pair:?} here");
        let told = told(&spec(&[&pair]), &text);
        assert!(!told.contains("hunter"), "{told}");
        assert!(told.contains("here"), "{told}");
    }
}
