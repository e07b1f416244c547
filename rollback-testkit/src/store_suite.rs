//! The conformance suite for history stores: what every
//! [`HistoryStore`] promises, as named cases.
//!
//! ```
//! use std::sync::Arc;
//! use rollback_core::history::{HistoryReader, HistoryStore};
//! use rollback_core::memory::MemoryStore;
//! use rollback_testkit::store_suite::{StoreHarness, test_all};
//!
//! struct Memory(MemoryStore);
//!
//! #[async_trait::async_trait]
//! impl StoreHarness for Memory {
//!     async fn store(&self) -> Arc<dyn HistoryStore> {
//!         Arc::new(self.0.clone())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(
//! test_all(|| Box::new(Memory(MemoryStore::new())))
//! # );
//! ```

mod agreement;
mod amending;
mod appending;
pub mod counted;
mod full;
mod groups;
mod keys;
pub mod kills;
mod leases;
mod other;
pub mod processes;
mod reading;
mod refusing;
mod sample;
mod writing;

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::history::{HistoryStore, Lease, Trust};
use rollback_core::id::WorkloadId;

pub use agreement::agree;
pub use full::full_disk;
pub use sample::{amend, at, by_ann, holder, note, sample, sample_of, settlement};

/// One empty set of data. Dropping it removes the data.
#[async_trait]
pub trait StoreHarness: Send + Sync {
    /// A new store value on the same data, as another process would open it.
    async fn store(&self) -> Arc<dyn HistoryStore>;

    /// Lets the holder of a lease die, and returns when the store can know it: a lease that is trusted
    /// [while it is held](Trust::WhileHeld) is dropped, and of another one the time passes. Where time
    /// is tokio's and paused, that takes none.
    async fn die(&self, lease: Lease) {
        let trust = lease.trust();
        drop(lease);
        if let Trust::For(span) = trust {
            tokio::time::sleep(span).await;
        }
    }

    /// Makes what is kept of a workload's state unreadable, as a failing disk does, and says whether
    /// it did. Not where there is nothing to damage, in memory say: what a damaged workload may not
    /// do to the others is not checked then.
    async fn damage(&self, _: &WorkloadId) -> bool {
        false
    }
}

/// Runs every case, each on fresh data. Panics at the first that fails, with its name on stderr.
pub async fn test_all(fresh: impl Fn() -> Box<dyn StoreHarness>) {
    macro_rules! run {
        ($($module:ident::$case:ident),* $(,)?) => {
            $(
                let name = Named(stringify!($case));
                Box::pin($module::$case(&*fresh())).await;
                drop(name);
            )*
        };
    }
    run![
        leases::a_deployment_begins_goes_on_and_settles,
        leases::a_begin_on_an_old_version_is_stale,
        leases::a_held_lease_is_a_living_conflict_and_is_never_taken_over,
        leases::a_dropped_lease_is_a_dead_conflict_and_is_taken_over,
        leases::a_lease_that_is_renewed_outlives_its_span,
        leases::a_lease_that_was_taken_over_is_fenced,
        leases::a_lease_is_fenced_though_its_record_is_as_its_holder_left_it,
        leases::who_settles_and_goes_is_not_seen_dead,
        leases::of_eight_begins_at_once_exactly_one_wins,
        leases::a_cancellation_is_seen_by_renew,
        leases::two_workloads_do_not_interfere,
        leases::an_exclusion_is_renewed_and_ends,
        leases::while_excluded_nothing_begins_and_in_flight_nothing_excludes,
        writing::finish_opens_the_successor_under_the_same_lease,
        writing::finish_amends_the_failed_deployment,
        writing::a_refused_finish_changes_nothing,
        writing::finish_again_with_the_same_value_stores_nothing_twice,
        writing::a_lease_that_was_finished_is_over,
        writing::who_reacts_to_a_settlement_finds_the_workload_free,
        appending::append_again_with_the_same_value_stores_it_once,
        appending::an_impossible_event_is_refused,
        appending::append_refuses_what_finish_writes,
        appending::several_events_are_added_in_one_step_or_none_is,
        appending::append_answers_as_renew_does,
        appending::finish_adds_what_is_not_on_record_yet,
        appending::finish_is_known_again_after_another_has_begun,
        writing::a_known_id_cannot_begin_again,
        writing::an_oversized_record_is_refused,
        writing::holds_and_policies_last_and_move_the_version,
        leases::a_holder_lives_as_long_as_anybody_keeps_its_lease,
        amending::a_history_keeps_its_identity,
        amending::no_sequence_up_to_an_advance_is_given,
        amending::an_amendment_of_an_old_version_is_stale_and_changes_nothing,
        amending::of_eight_amendments_at_once_exactly_one_is_made,
        amending::who_did_what_is_remembered,
        amending::what_a_dead_holder_left_can_be_abandoned,
        amending::nothing_is_abandoned_while_its_holder_lives,
        amending::deployments_are_found_by_how_their_ids_begin,
        amending::a_damaged_workload_hides_no_other,
        keys::a_key_is_taken_once_whoever_asks,
        keys::of_eight_begins_at_once_with_one_key_one_wins,
        keys::a_key_is_forgotten_with_its_record,
        amending::what_is_withheld_lasts,
        writing::annotations_last,
        groups::a_groups_decision_is_durable_and_is_not_taken_back,
        writing::what_a_newer_version_wrote_is_kept,
        writing::what_came_of_a_watch_is_not_taken_back,
        writing::forget_is_all_or_nothing,
        refusing::a_deployment_was_rolled_back_by_itself,
        refusing::a_settlement_reached_into_another_workload,
        refusing::what_is_not_there_is_not_found,
        reading::an_unseen_workload_is_at_version_zero,
        reading::workloads_are_listed_by_id,
        reading::a_reopened_store_shows_everything,
        reading::every_filter_agrees_with_the_querys_meaning,
        reading::pages_skip_and_repeat_nothing,
        reading::the_limit_is_clamped,
        reading::stats_are_what_the_records_say,
        reading::summaries_say_what_the_records_say,
        reading::a_summary_follows_its_deployment_to_its_end,
        reading::a_sound_store_verifies_without_a_fault,
    ];
}

/// Says which case was running when the suite panicked.
struct Named(&'static str);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("store suite: the case {} failed", self.0);
        }
    }
}
