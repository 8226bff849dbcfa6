//! What can go wrong in a worker, sorted by what is done about it.

use tidemill_core::StateError;

use crate::broker::BrokerError;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::task::checkpoint::CheckpointError;
use crate::task::restore::StartError;

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// By its kind: the same call again, abort and rewind, or a new client.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The local store cannot be used: the tasks are started again, which rebuilds it if need be.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A dependency: the worker pauses and asks again; nothing is lost or sent to the dead letters.
    #[error("the schema registry does not answer: {0}")]
    RegistryUnavailable(String),
    #[error("the schema registry refuses: {0}")]
    Registry(#[from] RegistryError),
    /// `on_error = "stop"`.
    #[error("stage {stage} stopped at {origin}: {code}: {message}; see `tidemill explain {code}`")]
    StoppedOnBug { stage: String, origin: String, code: &'static str, message: String },
    /// More waits behind failed records than the stage allows.
    #[error(
        "stage {stage} stopped: {max} {what} of {topic} are parked, which is the limit; see `tidemill explain parking_full`"
    )]
    ParkingFull { stage: String, topic: String, what: &'static str, max: u64 },
    /// A key has waited for longer than the stage allows.
    #[error(
        "stage {stage} stopped: a key of {topic} has been parked for {age_s_max} s, which is the limit; see `tidemill explain parked_too_long`"
    )]
    ParkedTooLong { stage: String, topic: String, age_s_max: u64 },
    /// A stage that parked does not any more, and nobody would release what waits.
    #[error(
        "{keys} keys of {topic} are parked, and its stage does not park any more; see `tidemill explain parked_left`"
    )]
    ParkedLeft { topic: String, keys: u64 },
    /// So much fails that something other than the records must be wrong.
    #[error("stage {stage} stopped: {what}; see `tidemill explain circuit_open`")]
    CircuitOpen { stage: String, what: String },
    /// An invariant of the engine does not hold. Stops the worker and never lands in the dead letters.
    #[error("broken invariant: {0}")]
    Broken(String),
    /// Failures that are not those of a broker that is away, again and again, without one commit in between.
    #[error("gave up after {attempts} failures without a commit, the last: {last}")]
    GaveUp { attempts: u32, last: String },
}

impl WorkerError {
    /// Whether a guard has stopped the worker, and not a fault.
    pub fn is_refusal(&self) -> bool {
        self.is_parking_limit()
            || matches!(self, Self::CircuitOpen { .. } | Self::ParkedLeft { .. } | Self::Start(StartError::Retired(_)))
    }

    /// Whether nothing more may wait behind a failed record.
    pub(super) fn is_parking_limit(&self) -> bool {
        matches!(self, Self::ParkingFull { .. } | Self::ParkedTooLong { .. })
    }

    /// Whether it ends without anybody's doing.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Broker(error) | Self::Start(StartError::Broker(error)) => error.kind.may_pass(),
            Self::RegistryUnavailable(_) => true,
            Self::Store(_)
            | Self::State(_)
            | Self::Start(_)
            | Self::Checkpoint(_)
            | Self::Registry(_)
            | Self::StoppedOnBug { .. }
            | Self::ParkingFull { .. }
            | Self::ParkedTooLong { .. }
            | Self::CircuitOpen { .. }
            | Self::ParkedLeft { .. }
            | Self::Broken(_)
            | Self::GaveUp { .. } => false,
        }
    }
}
