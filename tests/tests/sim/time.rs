//! The simulation's clock and threads, as the engine is handed them.

use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::clock::Clock;
use tidemill_runtime::threads::{Body, Threads};

use crate::scheduler::{Incarnation, Sim};

/// Time of day at the start of every run.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The clock of every part of a simulation.
pub(crate) struct SimClock(pub(crate) Arc<Sim>);

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn unix_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.0.now().as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, duration: Duration) {
        self.0.pause("sleep", duration);
    }
}

/// Threads that belong to one incarnation.
pub(crate) struct SimThreads {
    pub(crate) sim: Arc<Sim>,
    pub(crate) incarnation: Incarnation,
}

impl Threads for SimThreads {
    fn spawn(&self, name: String, body: Body) -> std::io::Result<()> {
        self.sim.spawn(name, self.incarnation, body);
        Ok(())
    }
}
