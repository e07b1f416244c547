//! [`RollbackEngine`]: plans, runs, recovers.
//!
//! `builder` and `catalog` compose it; `planning` gathers what the pure planner chooses from;
//! `runner`, `back` and `act` are the one run path; `recovery` and `adopt` enter it elsewhere.

mod abandon;
mod act;
mod adopt;
mod ask;
mod attach;
mod back;
mod builder;
mod cancel;
mod catalog;
mod caught;
mod choose;
mod clean_up;
mod effect;
mod ending;
mod facade;
mod gate;
mod guards;
mod healing;
mod inner;
mod journal;
mod look;
mod manage;
mod observing;
mod patience;
mod planning;
mod query;
mod recovery;
mod report;
mod retry;
mod rules;
mod run;
mod runner;
mod settling;
mod start;
mod successor;
mod supervise;
mod tenure;
mod upkeep;
mod warnings;
mod wished;
mod withhold;

pub use builder::EngineBuilder;
pub use catalog::Workload;
pub use clean_up::CleanedUp;
pub use facade::RollbackEngine;
pub use look::HealthReport;
pub use manage::Configured;
pub use observing::Untold;
pub use query::{CanRollBack, History, Row};
pub use report::{AutomaticRollback, Recovered, Report};

pub use crate::deployment::NotAttempted;
pub use rules::{PolicySource, Rules};
pub use run::{Progress, Run};
pub use supervise::Supervision;
