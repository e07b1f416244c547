//! The conformance suite for backends: every promise of
//! [`Backend`](rollback_core::backend::Backend), on the real platform.
//!
//! A backend's own tests make a [`WorldBuilder`] and call [`test_all`]. Each case runs in a world
//! of its own. Where a promise speaks of half-way states, the suite stops a verb at every boundary
//! between two of its effects with [`Context::stopping_after`](rollback_core::context::Context).

mod adoption;
mod availability;
mod back;
mod driver;
mod forward;
mod half_way;
mod input;
mod late;
mod today;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::world::World;

pub use driver::{Driver, Step};

/// Makes worlds: fresh, independent, torn down when dropped.
#[async_trait]
pub trait WorldBuilder: Send + Sync {
    /// A fresh world with nothing live.
    async fn build(&self) -> Box<dyn World>;

    /// How many of its worlds may be there at a time: more than one where most of the time is spent
    /// waiting for the platform.
    fn at_once(&self) -> usize {
        1
    }
}

/// Runs only cases whose name contains this.
const CASE: &str = "ROLLBACK_CASE";

type Case = fn(Arc<dyn World>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Cases by name.
macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |world| Box::pin($module::$name(world)))),*]
    };
}

const CASES: &[(&str, Case)] = cases![
    input::whom_it_serves_and_where_every_value_says_alike,
    input::resolving_is_stable_and_changes_nothing,
    input::an_unknown_reference_is_a_typed_error,
    input::garbage_references_are_typed_errors,
    forward::a_first_deploy_serves,
    forward::a_second_deploy_replaces_the_first,
    forward::every_verb_twice_is_as_once,
    forward::prepare_does_not_touch_what_is_live,
    forward::a_repeated_switch_does_not_restart,
    forward::a_new_backend_value_sees_the_same,
    forward::a_broken_build_is_found_out,
    forward::a_good_build_is_not_called_sick,
    forward::a_redeploy_takes_nothing_that_was_kept,
    forward::a_release_that_is_live_is_placed_anew_where_nothing_may_be_reused,
    back::going_back_before_the_switch_leaves_what_is_live,
    back::going_back_after_the_switch_puts_the_former_back,
    back::a_first_deploy_undone_leaves_nothing_live,
    back::a_rollback_reuses_the_standby_and_rolls_forward_again,
    back::a_cancelled_rollback_does_not_lose_its_target,
    half_way::every_verb_resumes_from_every_half_way_state,
    half_way::a_half_made_prepare_is_undone,
    half_way::a_half_made_start_is_undone,
    half_way::a_half_made_switch_is_undone,
    half_way::a_half_made_first_switch_is_undone,
    adoption::what_was_made_by_hand_is_adopted_and_put_back,
    adoption::a_hand_made_change_is_seen_as_drift,
    availability::a_lost_release_is_gone_and_harms_nothing,
    availability::retain_keeps_the_window_and_what_is_live,
    availability::an_unreachable_platform_is_said_and_survived,
];

/// What the target itself keeps off, what is configured today, and what keeps a lease.
const CONTRACT: &[(&str, Case)] = cases![
    late::a_late_actor_is_refused_by_the_target,
    late::who_was_taken_over_is_refused_by_the_target,
    late::another_history_is_not_kept_out,
    late::going_back_leaves_what_the_operation_does_not_know,
    late::a_dropped_verb_keeps_its_lease_until_it_acts_no_more,
    today::what_is_configured_is_what_is_configured_now,
    today::a_look_at_health_does_not_wait,
    today::looking_ahead_changes_nothing,
    today::start_bears_repeating_stopping_and_reversing,
];

/// Runs every case. Panics at the end with the names of those that failed.
pub async fn test_all(builder: &dyn WorldBuilder) {
    test_matching(builder, "").await;
}

/// Runs the cases about what the target itself keeps off, what is configured today, and what keeps
/// a lease.
pub async fn test_contract(builder: &dyn WorldBuilder) {
    run(builder, CONTRACT, "").await;
}

/// Runs the cases whose name contains `part`.
pub async fn test_matching(builder: &dyn WorldBuilder, part: &str) {
    run(builder, CASES, part).await;
}

async fn run(builder: &dyn WorldBuilder, cases: &'static [(&str, Case)], part: &str) {
    let (mut failed, mut ran) = (Vec::new(), 0);
    let only = std::env::var(CASE).unwrap_or_default();
    let wanted = |name: &str| name.contains(part) && name.contains(&only);
    let mut running = JoinSet::new();
    for (name, case) in cases.iter().filter(|(name, _)| wanted(name)) {
        while running.len() >= builder.at_once() {
            failed.extend(ended(&mut running).await);
        }
        let world: Arc<dyn World> = Arc::from(builder.build().await);
        ran += 1;
        running.spawn(async move {
            let began = Instant::now();
            let passed = tokio::spawn(case(world)).await.is_ok();
            match passed {
                true => eprintln!("ok {name} ({:.1?})", began.elapsed()),
                false => eprintln!("FAILED {name}"),
            }
            (!passed).then_some(*name)
        });
    }
    while !running.is_empty() {
        failed.extend(ended(&mut running).await);
    }
    // Of several suites one alone may have what is looked for.
    assert!(
        ran > 0 || !only.is_empty(),
        "no case is called like {part:?}"
    );
    assert!(
        failed.is_empty(),
        "{} of {ran} cases failed: {}",
        failed.len(),
        failed.join(", ")
    );
}

/// The name of the case that ended next, if it failed.
async fn ended(running: &mut JoinSet<Option<&'static str>>) -> Option<&'static str> {
    running.join_next().await?.ok()?
}
