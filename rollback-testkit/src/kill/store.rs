//! [`KillingStore`]: a store that ends its own process at a chosen write.

use std::io::Write as _;

use rollback_core::error::StoreError;

use crate::intercept::{Intercept, InterceptedStore, Write};

use super::{Point, Side, Writes};

/// A store that ends its own process before or after a chosen write.
pub type KillingStore = InterceptedStore<Killer>;

/// Sends SIGKILL to its own process before or after the chosen `begin`, `append` or `finish`.
/// Prints `ack <deployment> <event>` for every write that was made.
#[derive(Debug)]
pub struct Killer {
    point: Point,
    writes: Writes,
}

impl Killer {
    /// Kills at this point.
    pub fn at(point: Point) -> Self {
        Self {
            point,
            writes: Writes::default(),
        }
    }

    /// Only says what was written.
    pub fn never() -> Self {
        Self::at(Point {
            side: Side::Before,
            nth: 0,
        })
    }

    fn die_if(&self, side: Side, nth: usize) {
        if self.point == (Point { side, nth }) {
            die();
        }
    }
}

/// Ends this process by SIGKILL.
pub fn die() -> ! {
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    // The signal is delivered before the call returns, or at the latest now.
    loop {
        std::thread::park();
    }
}

impl Intercept for Killer {
    /// Which write it is, counted from 1.
    type Passed = usize;

    fn before(&self, _: Write<'_>) -> Result<usize, StoreError> {
        let nth = self.writes.next();
        self.die_if(Side::Before, nth);
        Ok(nth)
    }

    fn after(&self, write: Write<'_>, nth: usize) -> Result<(), StoreError> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {} {}", write.deployment, write.what).unwrap();
        out.flush().unwrap();
        self.die_if(Side::After, nth);
        Ok(())
    }
}
