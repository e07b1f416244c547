//! [`Down`]: the nodes that nobody hears of any more.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::models::{Node, NodeState, Task};
use rollback_core::error::BackendError;
use tokio::time::Instant;

use crate::client::Client;

/// How long what is known of nodes is believed, while their tasks are waited for.
const BELIEVED: Duration = Duration::from_secs(2);

/// The nodes that are down. The managers take what they last heard of their tasks for true for a day:
/// such a task is not waited for, for it has lost its place already.
#[derive(Debug, Default)]
pub(super) struct Down {
    nodes: BTreeSet<String>,
    since: Option<Instant>,
}

impl Down {
    /// Looks, if that was not done just now.
    pub(super) async fn refresh(&mut self, client: &Client) -> Result<(), BackendError> {
        if self.since.is_none_or(|since| since.elapsed() > BELIEVED) {
            *self = Self::of(client.nodes().await?);
        }
        Ok(())
    }

    fn of(nodes: Vec<Node>) -> Self {
        let is_down = |node: &Node| {
            let status = node.status.as_ref();
            status.and_then(|s| s.state) == Some(NodeState::DOWN)
        };
        let down = nodes.into_iter().filter(is_down);
        Self {
            nodes: down.filter_map(|node| node.id).collect(),
            since: Some(Instant::now()),
        }
    }

    /// Whether a task is on one of them.
    pub(super) fn has(&self, task: &Task) -> bool {
        task.node_id
            .as_ref()
            .is_some_and(|id| self.nodes.contains(id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_that_is_away_for_good_is_told_from_one_that_is_drained() {
        let node = |id: &str, state: &str| {
            serde_json::from_value(json!({
                "ID": id, "Spec": {"Availability": "drain"}, "Status": {"State": state},
            }))
            .unwrap()
        };
        let down = Down::of(vec![
            node("a", "ready"),
            node("b", "down"),
            node("c", "unknown"),
        ]);
        let on = |node: &str| serde_json::from_value(json!({"NodeID": node})).unwrap();
        assert!(down.has(&on("b")));
        assert!(!down.has(&on("a")) && !down.has(&on("c")) && !down.has(&Task::default()));
    }
}
