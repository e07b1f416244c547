//! [`RestartPolicy`]: what dockerd does when a container exits, as a choice, as a release's row and
//! as dockerd's own words. This is the only place that knows all three.

use bollard::models::{RestartPolicy as Docker, RestartPolicyNameEnum as Name};
use rollback_core::release::Release;

use crate::settings;

/// What dockerd does when the live container exits. A container that is kept as a way back never
/// restarts, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// Leaves it as it ended.
    #[default]
    No,
    /// Starts it again, also after dockerd itself was restarted.
    Always,
    /// The same, unless somebody stopped it.
    UnlessStopped,
    /// Starts it again after a failure, at most so often; 0 is no limit.
    OnFailure(u32),
}

impl RestartPolicy {
    /// What a release asks for. A row that this crate has not written asks for nothing.
    pub(crate) fn of(release: &Release) -> Self {
        match settings::plain(release, settings::RESTART) {
            Some(row) => Self::parse(&row),
            None => Self::No,
        }
    }

    /// Its row in a release; `None` for no restarts.
    pub(crate) fn row(self) -> Option<String> {
        match self {
            Self::No => None,
            Self::Always => Some("always".into()),
            Self::UnlessStopped => Some("unless-stopped".into()),
            Self::OnFailure(n) => Some(format!("on-failure:{n}")),
        }
    }

    fn parse(row: &str) -> Self {
        match row {
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            other => match other.strip_prefix("on-failure:").map(str::parse) {
                Some(Ok(n)) => Self::OnFailure(n),
                _ => Self::No,
            },
        }
    }
}

impl RestartPolicy {
    /// What dockerd's own words say.
    pub(crate) fn seen(policy: &Docker) -> Self {
        let count = policy.maximum_retry_count.unwrap_or(0);
        match policy.name {
            Some(Name::ALWAYS) => Self::Always,
            Some(Name::UNLESS_STOPPED) => Self::UnlessStopped,
            Some(Name::ON_FAILURE) => Self::OnFailure(u32::try_from(count).unwrap_or(0)),
            Some(Name::NO | Name::EMPTY) | None => Self::No,
        }
    }

    /// The same in dockerd's own words.
    pub(crate) fn docker(self) -> Docker {
        let (name, count) = match self {
            RestartPolicy::No => (Name::NO, None),
            RestartPolicy::Always => (Name::ALWAYS, None),
            RestartPolicy::UnlessStopped => (Name::UNLESS_STOPPED, None),
            RestartPolicy::OnFailure(n) => (Name::ON_FAILURE, Some(i64::from(n))),
        };
        Docker {
            name: Some(name),
            maximum_retry_count: count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_was_written_in_a_row_and_at_dockerd() {
        for policy in [
            RestartPolicy::No,
            RestartPolicy::Always,
            RestartPolicy::UnlessStopped,
            RestartPolicy::OnFailure(0),
            RestartPolicy::OnFailure(7),
        ] {
            let row = policy.row().unwrap_or_default();
            assert_eq!(RestartPolicy::parse(&row), policy, "{row}");
            assert_eq!(RestartPolicy::seen(&policy.docker()), policy);
        }
        for unknown in ["", "no", "on-failure", "on-failure:x", "sometimes"] {
            assert_eq!(
                RestartPolicy::parse(unknown),
                RestartPolicy::No,
                "{unknown}"
            );
        }
    }
}
