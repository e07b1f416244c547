//! [`Scenario`]: what is done in the life that is cut short.

use std::fmt;

use rollback_core::event::Event;
use rollback_core::policy::{AfterRollback, Policy, RollbackMode};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Nothing is live, and the release is deployed.
    FirstDeploy,
    /// v1 is live, and the release is deployed.
    Deploy,
    /// The release is live after v1, and is rolled back.
    Rollback,
    /// The release is live after v1, and v1 is deployed anew.
    Redeploy,
    /// v1 is live, and is deployed again.
    DeployAgain,
    /// As deploy; at this event somebody cancels it.
    Cancel(&'static str, By),
    /// v1 was made live by hand, and is adopted.
    Adopt,
    /// Something else was put live by hand in place of v1, and is adopted.
    AdoptDrifted,
    /// Three releases were live; all that can go is let go.
    CleanUp,
}

/// From where a deployment is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// From the process that runs it.
    Itself,
    /// From another one.
    Another,
}

/// How a target brings releases up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bringing {
    Replace,
    Beside,
    /// As [`Replace`](Self::Replace); a release that stands is placed where it is.
    InPlace,
}

/// How the release does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// It is healthy.
    Good,
    /// It is not.
    Sick,
    /// It is not until a remediation was tried.
    SickUntilRemedied,
    /// Nor is what was live before, any more.
    SickAsTheFormer,
}

impl Release {
    /// Its reference, which is its digest.
    pub(super) fn reference(self) -> &'static str {
        "v2"
    }
}

/// Whether the embedder has hung hooks on the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hanging {
    Nothing,
    Everything,
}

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Off,
    Record,
    Auto,
    AutoAndHold,
}

impl Says {
    pub(super) fn policy(self) -> Policy {
        let rollback = match self {
            Self::Off => RollbackMode::Off,
            Self::Record => RollbackMode::Record,
            Self::Auto | Self::AutoAndHold => RollbackMode::Auto,
        };
        Policy::default()
            .rollback(rollback)
            .after_rollback(match self {
                Self::AutoAndHold => AfterRollback::Hold,
                _ => AfterRollback::Nothing,
            })
    }

    pub(super) fn is_armed(self) -> bool {
        matches!(self, Self::Auto | Self::AutoAndHold)
    }
}

/// One of everything that is done in a world without trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) verb: Verb,
    pub(super) bringing: Bringing,
    pub(super) release: Release,
    pub(super) hanging: Hanging,
    pub(super) says: Says,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, {:?}, {:?}, hooks: {:?}, policy: {:?}",
            self.verb, self.bringing, self.release, self.hanging, self.says
        )
    }
}

/// The events at which a deployment is cancelled.
fn cancelled_at() -> [&'static str; 6] {
    [
        Event::PrepareIntended.name(),
        "prepared",
        Event::SwitchIntended.name(),
        "switched",
        "judged",
        Event::RetireIntended.name(),
    ]
}

impl Scenario {
    /// Every scenario that differs from all others.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Self::in_place();
        for bringing in [Bringing::Replace, Bringing::Beside] {
            for hanging in [Hanging::Nothing, Hanging::Everything] {
                let mut add = |verb, release, says| {
                    all.push(Self {
                        verb,
                        bringing,
                        release,
                        hanging,
                        says,
                    });
                };
                for says in [Says::Off, Says::Record, Says::Auto, Says::AutoAndHold] {
                    add(Verb::Deploy, Release::Good, says);
                    add(Verb::Deploy, Release::Sick, says);
                    if says != Says::Off {
                        // What was deployed while it was off is no rollback point.
                        add(Verb::Rollback, Release::Good, says);
                    }
                }
                for release in [Release::Good, Release::Sick] {
                    add(Verb::FirstDeploy, release, Says::Auto);
                }
                for release in [Release::SickUntilRemedied, Release::SickAsTheFormer] {
                    add(Verb::Deploy, release, Says::Auto);
                }
                add(Verb::Rollback, Release::SickAsTheFormer, Says::Auto);
                add(Verb::Redeploy, Release::Good, Says::Auto);
                for event in cancelled_at() {
                    add(Verb::Cancel(event, By::Itself), Release::Good, Says::Auto);
                    add(Verb::Cancel(event, By::Another), Release::Good, Says::Auto);
                    add(Verb::Cancel(event, By::Itself), Release::Sick, Says::Auto);
                }
                add(Verb::Adopt, Release::Good, Says::Auto);
                add(Verb::AdoptDrifted, Release::Good, Says::Auto);
                add(Verb::CleanUp, Release::Good, Says::Auto);
            }
        }
        all
    }

    /// Where what is deployed may be what stands, or what is live.
    fn in_place() -> Vec<Self> {
        let mut all = Vec::new();
        for hanging in [Hanging::Nothing, Hanging::Everything] {
            let mut add = |verb, release| {
                all.push(Self {
                    verb,
                    bringing: Bringing::InPlace,
                    release,
                    hanging,
                    says: Says::Auto,
                });
            };
            for release in [Release::Good, Release::SickAsTheFormer] {
                add(Verb::DeployAgain, release);
                add(Verb::Rollback, release);
            }
            add(Verb::Redeploy, Release::Good);
        }
        all
    }

    /// One of each kind of act, with everything that an embedder can hang on it.
    pub(super) fn of_each_kind() -> Vec<Self> {
        let kind = |verb, bringing, release| Self {
            verb,
            bringing,
            release,
            hanging: Hanging::Everything,
            says: Says::Auto,
        };
        vec![
            kind(Verb::Deploy, Bringing::Replace, Release::Good),
            kind(Verb::Deploy, Bringing::Beside, Release::Good),
            kind(Verb::Deploy, Bringing::Replace, Release::Sick),
            kind(Verb::Deploy, Bringing::Beside, Release::Sick),
            kind(Verb::Rollback, Bringing::Replace, Release::Good),
            kind(Verb::DeployAgain, Bringing::InPlace, Release::Good),
            kind(
                Verb::Cancel("switched", By::Another),
                Bringing::Beside,
                Release::Good,
            ),
            kind(Verb::Adopt, Bringing::Replace, Release::Good),
            kind(Verb::CleanUp, Bringing::Replace, Release::Good),
        ]
    }

    /// What may serve in the end, wherever the process died; `""`: nothing.
    pub(super) fn may_serve(&self) -> &'static [&'static str] {
        let heals = self.hanging == Hanging::Everything;
        match (self.verb, self.release) {
            (Verb::FirstDeploy, Release::Good) => &["", "v2"],
            (Verb::FirstDeploy, _) => &["", "v2"],
            (Verb::Rollback | Verb::Redeploy, _) => &["v1", "v2"],
            (Verb::Adopt | Verb::DeployAgain, _) => &["v1"],
            (Verb::AdoptDrifted, _) => &["by-hand"],
            (Verb::CleanUp, _) => &["v3"],
            (_, Release::Good | Release::SickAsTheFormer) => &["v1", "v2"],
            (_, Release::SickUntilRemedied) if heals => &["v1", "v2"],
            // One that failed its gate does not stay where something better is known.
            (_, _) if self.says.is_armed() => &["v1"],
            (_, _) => &["v1", "v2"],
        }
    }
}
