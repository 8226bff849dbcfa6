//! How the model behaves where Kafka leaves it open.

use std::time::Duration;

use tidemill_runtime::broker::TransactionProtocol;

/// When the markers of an ended transaction are written. Each partition, and each group's positions, has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markers {
    /// With the end itself: nobody ever sees half of it.
    AtOnce,
    /// Each by itself, up to `max` later by the model's clock.
    Delayed { seed: u64, max: Duration },
    /// When [`super::ModelKafka::settle_marker`] says so.
    Manual,
}

/// When records that were sent reach the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// All at the flush: a client that is killed before has written nothing.
    AtFlush,
    /// Each at once, as far as the broker takes it; what went wrong is told by the flush.
    AtOnce,
}

/// What a call does that would have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Returns an error of kind `Retriable`; the simulation turns the clock and calls again.
    Never,
    /// Asks again and sleeps this long in between, by the model's clock, until the deadline: what librdkafka does.
    Sleeping(Duration),
}

#[derive(Clone, Copy, Debug)]
pub struct ModelOptions {
    pub protocol: TransactionProtocol,
    pub markers: Markers,
    pub sending: Sending,
    pub waiting: Waiting,
    /// The broker looks for transactions that timed out only this often (Kafka: every 10 s); zero for at once.
    pub timeout_sweep: Duration,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            protocol: TransactionProtocol::First,
            markers: Markers::AtOnce,
            sending: Sending::AtFlush,
            waiting: Waiting::Never,
            timeout_sweep: Duration::ZERO,
        }
    }
}
