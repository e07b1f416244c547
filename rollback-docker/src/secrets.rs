//! What must not be shown of a container or a service: in its log, and in what dockerd says of it.

use bollard::models::ContainerCreateBody;
use rollback_core::backend::Running;
use rollback_core::masking::{Part, Secrets, argument};
use serde_json::Value;

use crate::capture;
use crate::config::Secret;
use crate::container::Container;
use crate::settings::{Env, Rows, is_secret, kind};

/// Whether it runs, and else why not, without secrets: dockerd repeats a command that it cannot run.
pub(crate) fn running(container: &Container) -> Running {
    match container.running() {
        Running::No(why) => Running::No(of(container).tell(&why, Part::Whole)),
        running => running,
    }
}

/// The values of the container's variables, labels and arguments.
pub(crate) fn of(container: &Container) -> Secrets {
    among(capture::rows(container), capture::env(container))
}

/// Those of a container that is to be made.
pub(crate) fn to_be(body: &ContainerCreateBody) -> Secrets {
    let env = body.env.iter().flatten();
    let env = env.filter_map(|pair| pair.split_once('='));
    let env = env.map(|(name, value)| (name.to_owned(), Secret(value.to_owned())));
    let list = |list: &Option<Vec<String>>| Some(serde_json::json!(list.as_ref()?).to_string());
    let check = body.healthcheck.as_ref();
    let check = check.and_then(|check| serde_json::to_string(check).ok());
    let log = body.host_config.as_ref();
    let log = log.and_then(|host| serde_json::to_string(host.log_config.as_ref()?).ok());
    let rows = [
        ("command", list(&body.cmd)),
        ("entrypoint", list(&body.entrypoint)),
        ("healthcheck", check),
        ("host:LogConfig", log),
    ];
    let rows = rows.into_iter();
    let rows = rows.filter_map(|(row, value)| Some((row.to_owned(), value?)));
    let labels = body.labels.iter().flatten();
    let rows = rows.chain(labels.map(|(name, value)| (format!("label:{name}"), value.clone())));
    among(rows.collect(), env.collect())
}

/// The values of these variables, and of those rows that may hold a secret.
pub(crate) fn among(rows: Rows, env: Env) -> Secrets {
    let env = env.into_iter();
    let env = env.filter(|(name, _)| name != "PATH").map(|(_, v)| v.0);
    let rows = rows.into_iter().filter(|(row, _)| is_secret(row));
    let rows = rows.flat_map(|(row, value)| words(&row, &value));
    env.chain(rows).fold(Secrets::default(), Secrets::found)
}

/// Those parts of a row that may be a secret: a label's value; of a command line the arguments,
/// and what they set, but neither the program nor the names of options.
fn words(row: &str, value: &str) -> Vec<String> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(value) else {
        return vec![value.to_owned()];
    };
    if matches!(kind(row), "label" | "container_label") {
        return vec![value.to_owned()];
    }
    if !matches!(row, "command" | "entrypoint" | "healthcheck") {
        let flat = matches!(row, "host:StorageOpt" | "host:Annotations");
        return if flat { told(&json) } else { options(&json) };
    }
    let list = json.get("Test").unwrap_or(&json).as_array().cloned();
    let list = list.unwrap_or_default();
    let names = match (row, list.first().and_then(|w| w.as_str())) {
        ("command", _) => 0,
        ("healthcheck", Some("CMD")) => 2,
        _ => 1,
    };
    let words = list.into_iter().skip(names);
    words
        .filter_map(|word| argument(word.as_str()?).map(str::to_owned))
        .collect()
}

/// The values of what drivers are told: of a log, of a volume.
fn options(json: &Value) -> Vec<String> {
    match json {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("Options" | "Config", Value::Object(_)) => told(value),
                _ => options(value),
            })
            .collect(),
        Value::Array(all) => all.iter().flat_map(options).collect(),
        _ => Vec::new(),
    }
}

fn told(options: &Value) -> Vec<String> {
    let values = options.as_object().into_iter().flat_map(|o| o.values());
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_in_a_command_line_is_hidden_and_the_rest_is_readable() {
        let command = r#"["redis-server","--requirepass","hunter2","--user=somebody","/etc/x"]"#;
        assert_eq!(
            words("command", command),
            ["redis-server", "hunter2", "somebody"]
        );
        let check = r#"{"Test":["CMD","/server","check","s3cret-value"]}"#;
        assert_eq!(words("healthcheck", check), ["check", "s3cret-value"]);
        let shell = r#"{"Test":["CMD-SHELL","curl -u me:hunter2 http://x"]}"#;
        assert_eq!(words("healthcheck", shell), ["curl -u me:hunter2 http://x"]);
        assert_eq!(words("label:key", "123456789"), ["123456789"]);
        assert_eq!(words("container_label:key", "123456789"), ["123456789"]);
    }

    #[test]
    fn what_drivers_are_told_was_shown() {
        let log = r#"{"Type":"splunk","Config":{"splunk-token":"hunter2"}}"#;
        assert_eq!(words("host:LogConfig", log), ["hunter2"]);
        let log = r#"{"Name":"splunk","Options":{"splunk-token":"hunter2"}}"#;
        assert_eq!(words("task:LogDriver", log), ["hunter2"]);
        let note = r#"{"key":"hunter2"}"#;
        assert_eq!(words("host:Annotations", note), ["hunter2"]);
        let volume = r#"{"Target":"/data","Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"o":"username=a,password=hunter2"}}}}"#;
        let told = ["username=a,password=hunter2"];
        assert_eq!(words("mount:/data", volume), told);
        assert_eq!(words("host:Mounts", &format!("[{volume}]")), told);
    }

    #[test]
    fn a_secret_in_what_dockerd_says_of_how_a_container_ended_was_told() {
        let inspect = serde_json::json!({
            "Id": "a", "Name": "/api", "Image": "sha256:a",
            "State": {
                "StartedAt": "2026-03-15T14:30:22Z", "ExitCode": 127,
                "Error": "exec: \"--pw=hunter2\": not found, TOKEN s3cret-value"
            },
            "Config": {"Env": ["TOKEN=s3cret-value"], "Cmd": ["serve", "--pw=hunter2"]}
        });
        let inspect = serde_json::from_value(inspect).unwrap();
        let container = Container::new("api@web-1", inspect).unwrap();
        let Running::No(why) = running(&container) else {
            panic!("it has exited")
        };
        assert_eq!(
            why,
            "it exited with code 127 (exec: \"--pw=***\": not found, TOKEN ***)"
        );
    }

    #[test]
    fn a_secret_in_why_dockerd_makes_no_container_was_told() {
        let body = serde_json::json!({
            "Env": ["TOKEN=s3cret-value"], "Cmd": ["serve", "--pw=hunter22"],
            "Labels": {"key": "label-value"},
            "HostConfig": {"LogConfig": {"Type": "splunk", "Config": {"splunk-token": "log-value"}}}
        });
        let secrets = to_be(&serde_json::from_value(body).unwrap());
        assert_eq!(
            secrets.tell(
                "no s3cret-value --pw=hunter22 label-value log-value",
                Part::Whole
            ),
            "no *** --pw=*** *** ***"
        );
    }
}
