//! [`Published`]: what a history makes of the fencing token at a target.

use super::{Fence, Identity, Summary};
use crate::deployment::{Outcome, TriggerKind};

/// What a history makes of the token at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published<'a> {
    /// Nobody has published there, or the backend keeps no token.
    Nothing,
    /// This history knows the deployment, or has let its record go.
    Known,
    /// By another history.
    Elsewhere(&'a Fence),
    /// By this history, in a deployment that it has no record of: it is behind what is live, as
    /// when an older copy of it was put back.
    Ahead(&'a Fence),
}

impl<'a> Published<'a> {
    /// Judges a token by one workload's records, newest first.
    pub fn judge(
        fence: Option<&'a Fence>,
        identity: &Identity,
        records: &[Summary],
    ) -> Published<'a> {
        let Some(fence) = fence else {
            return Published::Nothing;
        };
        if fence.history != identity.history {
            return Published::Elsewhere(fence);
        }
        // An adoption that did not succeed has caught up with nothing.
        let caught_up = |d: &&Summary| {
            d.trigger != TriggerKind::Adopt || d.outcome() == Some(Outcome::Succeeded)
        };
        let newer = records
            .iter()
            .take_while(|d| d.sequence >= fence.sequence)
            .filter(caught_up);
        let mut any = false;
        for d in newer {
            any = true;
            if d.sequence == fence.sequence && d.id != fence.deployment {
                return Published::Ahead(fence);
            }
        }
        if any {
            Published::Known
        } else {
            Published::Ahead(fence)
        }
    }
}
