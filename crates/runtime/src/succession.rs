//! Opening a transactional producer, which is to succeed whoever had its id before.
//!
//! A broker that was killed can leave a transaction ended for its coordinator and open on some of its partitions. The next
//! marker of the same id would end that data as well, one way or the other. So the successor first finishes what was
//! decided, and where nobody knows what was decided, it does not open.
//!
//! Invariant: data is taken for left open only if its coordinator says the same before and after the leaders were asked;
//! otherwise it may belong to a transaction that somebody else is running.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{
    Broker, BrokerError, BrokerErrorKind, Decision, LastTransaction, OpenTransaction, Producer, ProducerOptions,
    Result, TransactionPhase, TransactionProtocol,
};
use crate::clock::Clock;
use crate::telemetry::Telemetry;
use crate::worker::Shared;

pub const TRANSACTION_LEFT_OPEN: &str = "transaction_left_open";

/// A coordinator that has decided writes its markers within milliseconds; longer than this it does not reach a leader.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// How the producers of one pipeline are opened.
pub struct Succession {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    /// Topics that producers of the pipeline write.
    topics: Vec<String>,
}

/// What became of the data that the id had left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// There was none.
    Clean,
    /// It is ended now as it had been decided.
    Finished(Decision),
    /// It lies there still, because nobody knows what had been decided. Nothing may be written before a person has ended it.
    LeftOpen,
}

pub enum Opened {
    /// With what had to be finished before, if anything.
    Producer(Box<dyn Producer>, Option<Decision>),
    Refused,
}

impl Succession {
    pub fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>, telemetry: Telemetry, topics: Vec<String>) -> Self {
        Self { broker, clock, telemetry, topics }
    }

    pub(crate) fn of(shared: &Shared) -> Self {
        let Shared { broker, clock, telemetry, topology, .. } = shared;
        Self::new(Arc::clone(broker), Arc::clone(clock), telemetry.clone(), topology.topics.keys().cloned().collect())
    }

    pub fn open(&self, id: &str, timeout: Duration) -> Result<Opened> {
        let finished = match self.settle(id)? {
            Settled::Clean => None,
            Settled::Finished(decision) => Some(decision),
            Settled::LeftOpen => return Ok(Opened::Refused),
        };
        let options = ProducerOptions::Transactional { id: id.to_owned(), timeout };
        let producer = self.broker.producer(&options)?;
        // Asked last: should the broker go away after this, the producer loses its connection and begins nothing more.
        self.broker.check_leaders(id, &self.topics)?;
        Ok(Opened::Producer(producer, finished))
    }

    /// Ends what the id has open, everywhere and in the same way: what runs is aborted, over the head of whoever runs it.
    pub fn settle(&self, id: &str) -> Result<Settled> {
        if sabotaged!(NoSuccession) {
            return Ok(Settled::Clean);
        }
        let started_at = self.clock.now();
        loop {
            let last = self.broker.last_transaction(id)?;
            if last.is_some_and(|last| last.phase == TransactionPhase::Running) {
                self.broker.abort_running(id)?;
            }
            if let Some(settled) = self.finish(id, last)? {
                return Ok(settled);
            }
            if self.clock.now().saturating_sub(started_at) >= SETTLE_DEADLINE {
                let message = format!("the transaction of `{id}` does not end: {last:?}");
                return Err(BrokerError::new(BrokerErrorKind::Retriable, "settle a transactional id", message));
            }
            self.clock.sleep(PAUSE);
        }
    }

    /// Ends what somebody else has open under the id. What does not run is not fenced: a worker that is alive and has
    /// given the task up goes on undisturbed, and one that has lost its membership can commit nothing more.
    pub fn settle_other(&self, id: &str, timeout: Duration) -> Result<Settled> {
        if self.broker.last_transaction(id)?.is_some() {
            return self.settle(id);
        }
        // Where nobody can be asked, only a producer that opens ends what runs.
        let options = ProducerOptions::Transactional { id: id.to_owned(), timeout };
        self.broker.producer(&options).map(|_| Settled::Clean)
    }

    /// Ends what the id has left open, and leaves alone what is still on its way to its end. `None` while there is such.
    pub fn heal(&self, id: &str) -> Result<Option<Settled>> {
        self.finish(id, self.broker.last_transaction(id)?)
    }

    fn finish(&self, id: &str, last: Option<LastTransaction>) -> Result<Option<Settled>> {
        let Some(last) = last else { return Ok(Some(Settled::Clean)) };
        if matches!(last.phase, TransactionPhase::Running | TransactionPhase::Ending) {
            return Ok(None);
        }
        let open = self.broker.open_of_producer(last.producer_id, &self.topics)?;
        if self.broker.last_transaction(id)? != Some(last) {
            return Ok(None);
        }
        if open.is_empty() {
            return Ok(Some(Settled::Clean));
        }
        let decisions = open.iter().map(|one| decision(last, one.producer_epoch));
        let Some(decision) = agreed(decisions) else {
            tracing::error!(
                code = TRANSACTION_LEFT_OPEN,
                transactional_id = id,
                partitions = places(&open),
                "a transaction of this id has ended and is open on partitions, and nobody knows whether it was committed; \
                 nothing is written under this id until `tidemill txn abort` has ended it"
            );
            return Ok(Some(Settled::LeftOpen));
        };
        self.broker.finish_transactions(&open, decision)?;
        self.telemetry.txn_finished.with_label_values(&[decision.name()]).inc();
        tracing::warn!(
            code = "transaction_finished",
            transactional_id = id,
            decision = decision.name(),
            partitions = places(&open),
            "a transaction had ended and was open on partitions; it is ended there now in the same way"
        );
        Ok(Some(Settled::Finished(decision)))
    }
}

/// What all of them say.
fn agreed(mut decisions: impl Iterator<Item = Option<Decision>>) -> Option<Decision> {
    let first = decisions.next()??;
    decisions.all(|one| one == Some(first)).then_some(first)
}

/// How data of the epoch `open` was ended by a coordinator that knows this of the last transaction.
///
/// In the first protocol an epoch holds many transactions, and all but the last were committed, because a worker opens
/// another producer after an abort. In the second it holds one, and its end begins the next. A transaction that the
/// coordinator aborts over the head of its producer ends one epoch later still.
fn decision(last: LastTransaction, open: i16) -> Option<Decision> {
    let TransactionPhase::Ended(decision) = last.phase else { return None };
    let epochs_since = last.producer_epoch.checked_sub(open)?;
    let is_last = match (last.protocol, decision) {
        (TransactionProtocol::First, Decision::Commit) => epochs_since == 0,
        (TransactionProtocol::First, Decision::Abort) => matches!(epochs_since, 0 | 1),
        (TransactionProtocol::Second, Decision::Commit) => epochs_since == 1,
        (TransactionProtocol::Second, Decision::Abort) => matches!(epochs_since, 1 | 2),
    };
    is_last.then_some(decision)
}

fn places(left: &[OpenTransaction]) -> String {
    let place = |one: &OpenTransaction| {
        let OpenTransaction { partition, start_offset, producer_epoch, .. } = one;
        format!("{}-{}@{start_offset} (epoch {producer_epoch})", partition.topic, partition.partition)
    };
    left.iter().map(place).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_coordinator_remembers_is_decided() {
        let (committed, aborted) =
            (TransactionPhase::Ended(Decision::Commit), TransactionPhase::Ended(Decision::Abort));
        let (commit, abort) = (Some(Decision::Commit), Some(Decision::Abort));
        let table = [
            (committed, 4, 4, commit, None),
            (committed, 4, 3, None, commit),
            (committed, 4, 2, None, None),
            (committed, 4, 5, None, None),
            (aborted, 4, 4, abort, None),
            (aborted, 4, 3, abort, abort),
            (aborted, 4, 2, None, abort),
            (aborted, 4, 1, None, None),
            (aborted, 4, 5, None, None),
            (TransactionPhase::Forgotten, 4, 4, None, None),
            (TransactionPhase::Forgotten, 4, 3, None, None),
            (TransactionPhase::Running, 4, 4, None, None),
            (TransactionPhase::Ending, 4, 4, None, None),
            (committed, i16::MIN, i16::MAX, None, None),
        ];
        for (phase, producer_epoch, open, first, second) in table {
            let last = |protocol| LastTransaction { protocol, producer_id: 1, producer_epoch, phase };
            let about = format!("{phase:?} at {producer_epoch}, open at {open}");
            assert_eq!(decision(last(TransactionProtocol::First), open), first, "{about}");
            assert_eq!(decision(last(TransactionProtocol::Second), open), second, "{about}");
        }
    }

    #[test]
    fn what_partitions_do_not_agree_on_is_not_decided() {
        let (commit, abort) = (Some(Decision::Commit), Some(Decision::Abort));
        let table: [(&[Option<Decision>], _); 4] =
            [(&[commit, commit], commit), (&[commit, abort], None), (&[abort, None], None), (&[None, abort], None)];
        for (all, expected) in table {
            assert_eq!(agreed(all.iter().copied()), expected, "{all:?}");
        }
    }
}
