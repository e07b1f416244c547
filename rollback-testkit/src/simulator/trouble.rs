//! [`Trouble`]: what else happens when a process dies.

use std::fmt;

use super::hooks::Hook;

/// What else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing: the process is killed, and the next one recovers.
    None,
    /// The history is put back to what it was.
    Backup(Since, How),
    /// The next process is composed differently.
    Catalog(Change),
    /// The history is read and written by a program of another age.
    Program(Age),
    /// A hook panics each time.
    Panics(Hook, During),
    /// The process is stopped, not killed; it goes on after another has tried its luck.
    Stopped(Meanwhile),
    /// The clock jumps by so many years.
    Clock(i64),
    /// Somebody has been at the target.
    ByHand(Hand),
    /// The runtime is dropped, and what was handed to a thread goes on.
    Threads(When),
    /// The platform does not answer.
    Away(To),
    /// The platform refuses an effect once. Nothing is cut short.
    Refuses,
}

/// To when a backup goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// Before the last life began.
    Before,
    /// Half-way through what it wrote.
    HalfWay,
}

/// How a backup is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As a store does it, which gives the history a new life.
    Restored,
    /// By copying files, of which no store knows.
    Copied,
}

/// How the next process's catalog differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The workload is not in it.
    Gone,
    /// The workload has hooks where it had none, or none where it had some.
    Hooks,
    /// The policy is another.
    Policy,
    /// Its releases are brought up in the other way.
    Bringing,
}

/// How old the program is that reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It does not know what the newest fields say.
    Older,
    /// It has written fields that are not known yet.
    Newer,
}

/// When a hook panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    /// In the life that is cut short.
    TheAct,
    /// In the first one that recovers.
    Recovery,
}

/// Whom the platform does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The process that acts, from its point on.
    WhoActs,
    /// The first process that recovers.
    WhoRecovers,
}

/// What another process does while the first one is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// It recovers what it finds dead: nothing.
    Recovers,
    /// It deploys something else as well.
    Deploys,
    /// Nothing; but the clock jumps by so many years.
    ClockJumps(i64),
}

/// What somebody did at the target by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// Put something else live.
    PutsLive,
    /// Stopped what is live, as a reboot does.
    Stops,
    /// Removed what is live.
    Removes,
}

/// When the threads of a dropped runtime go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// To their end, before the next process begins.
    Before,
    /// While the next process recovers.
    During,
    /// After the next process has tried to recover, and to deploy.
    After,
}

impl Trouble {
    /// Every trouble that a sweep goes through.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![
            Self::None,
            Self::Backup(Since::Before, How::Restored),
            Self::Backup(Since::Before, How::Copied),
            Self::Backup(Since::HalfWay, How::Restored),
            Self::Backup(Since::HalfWay, How::Copied),
            Self::Catalog(Change::Gone),
            Self::Catalog(Change::Hooks),
            Self::Catalog(Change::Policy),
            Self::Catalog(Change::Bringing),
            Self::Program(Age::Older),
            Self::Program(Age::Newer),
            Self::Stopped(Meanwhile::Recovers),
            Self::Stopped(Meanwhile::Deploys),
            Self::Stopped(Meanwhile::ClockJumps(10)),
            Self::Stopped(Meanwhile::ClockJumps(-10)),
            Self::Clock(10),
            Self::Clock(-10),
            Self::ByHand(Hand::PutsLive),
            Self::ByHand(Hand::Stops),
            Self::ByHand(Hand::Removes),
            Self::Threads(When::Before),
            Self::Threads(When::During),
            Self::Threads(When::After),
            Self::Away(To::WhoRecovers),
            Self::Away(To::WhoActs),
            Self::Refuses,
        ];
        for hook in Hook::ALL {
            all.push(Self::Panics(hook, During::TheAct));
            all.push(Self::Panics(hook, During::Recovery));
        }
        all
    }

    /// Whether it needs an embedder's hooks.
    pub(super) fn needs_hooks(self) -> bool {
        matches!(self, Self::Panics(..))
    }

    /// Whether another process may have deployed something meanwhile.
    pub(super) fn is_overtaken(self) -> bool {
        matches!(
            self,
            Self::Stopped(Meanwhile::Deploys) | Self::Threads(When::After)
        )
    }

    /// Whether the history is not what was acknowledged, afterwards.
    pub(super) fn takes_history_back(self) -> bool {
        matches!(self, Self::Backup(..))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
