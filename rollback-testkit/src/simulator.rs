//! The simulator: a machine looks for the next hole in the promise that whatever dies, and wherever,
//! exactly one release is live and on record as such, nothing acknowledged is lost, nothing foreign
//! is stopped, nothing is left over, and nobody has to be called.
//!
//! Everything is in memory and time is paused, so that a story takes milliseconds. A *machine* is
//! what outlives processes: a disk with a [`MemoryStore`](rollback_core::memory::MemoryStore), a
//! [`FakeTarget`](crate::fake::FakeTarget), a clock, and threads. A *process* is an engine in a
//! runtime of its own. Its *points* are either side of each durable write, and each effect of a
//! backend's verb or of a hook, right after its last
//! [`Context::check`](rollback_core::context::Context::check).
//!
//! A *story* is: a base; an *act* (deploy, roll back, redeploy, cancel, adopt, clean up; of releases
//! that are healthy or sick, with or without hooks, under each policy, in both rollouts), cut short
//! at a point by dropping its whole runtime; perhaps *trouble*; a recovery, perhaps cut short as
//! well; more recoveries, until nothing is in flight; what the oracle says of it; and one more
//! deployment, which has to work and to leave nothing over.
//!
//! Trouble is what else happens when a process dies: an older copy of the history is put back, the
//! next process is composed differently, or is an older or a newer program, a hook panics each time,
//! the process is only stopped and goes on while another tries its luck, the clock jumps by ten
//! years, somebody has been at the target by hand, what was handed to a thread goes on without its
//! runtime, the platform is away, or refuses an effect.
//!
//! | sweep | cuts |
//! |---|---|
//! | [`singles`] | every act at every point |
//! | [`troubled`] | one act of each kind at [`Points`] of it, all or some, in every trouble |
//! | [`recoveries`] | acts after every write, and the recovery from each at every point |
//! | [`pairs`] | acts and recoveries at points drawn by chance, in every trouble |
//! | [`stacks`] | stacks of three workloads at such points, recovered by one process or several |
//! | [`stacks_twice`] | the same and the recovery from it, at points drawn by chance |
//!
//! Each gives a [`Tally`], whose `Display` names every promise that was broken, and the first story
//! in which it was. The same numbers give the same story.
//!
//! ```no_run
//! let tally = rollback_testkit::simulator::pairs(7, 10_000);
//! assert!(tally.breaches.is_empty(), "seed 7: {tally}");
//! ```

mod act;
mod disk;
mod hooks;
mod judge;
mod life;
mod oracle;
mod play;
mod process;
mod scenario;
mod stack;
mod story;
mod sweep;
mod threads;
mod trouble;

pub use oracle::Breach;
pub use sweep::{
    Broken, Points, Tally, pairs, recoveries, singles, stacks, stacks_twice, troubled,
};
