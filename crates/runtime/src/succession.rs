//! Opening a transactional producer, which is to succeed whoever had its id before.
//!
//! A broker that was killed can leave a transaction ended for its coordinator and open on some of its partitions. The next
//! marker of the same id would end that data as well, one way or the other. So the successor first finishes what was
//! decided, and where nobody knows what was decided, it does not open.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, Decision, LeftOpen, OpenTransaction, Producer, ProducerOptions, Result};
use crate::telemetry::Telemetry;

pub const TRANSACTION_LEFT_OPEN: &str = "transaction_left_open";

/// How the producers of one pipeline are opened.
pub struct Succession {
    broker: Arc<dyn Broker>,
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
    pub fn new(broker: Arc<dyn Broker>, telemetry: Telemetry, topics: Vec<String>) -> Self {
        Self { broker, telemetry, topics }
    }

    pub fn open(&self, id: &str, timeout: Duration) -> Result<Opened> {
        let finished = match self.settle(id)? {
            Settled::Clean => None,
            Settled::Finished(decision) => Some(decision),
            Settled::LeftOpen => return Ok(Opened::Refused),
        };
        let options = ProducerOptions::Transactional { id: id.to_owned(), timeout };
        Ok(Opened::Producer(self.broker.producer(&options)?, finished))
    }

    /// Ends what the id has open, everywhere and in the same way.
    pub fn settle(&self, id: &str) -> Result<Settled> {
        let left = self.broker.settle(id, &self.topics)?;
        let Some(decision) = left.first().map(|first| first.decision) else { return Ok(Settled::Clean) };
        let is_agreed = left.iter().all(|one| one.decision == decision);
        let places = places(&left);
        let (Some(decision), true) = (decision, is_agreed) else {
            tracing::error!(
                code = TRANSACTION_LEFT_OPEN,
                transactional_id = id,
                partitions = places,
                "a transaction of this id has ended and is open on partitions, and nobody knows whether it was committed; \
                 nothing is written under this id until `tidemill txn abort` has ended it"
            );
            return Ok(Settled::LeftOpen);
        };
        let transactions: Vec<OpenTransaction> = left.into_iter().map(|one| one.transaction).collect();
        self.broker.finish_transactions(&transactions, decision)?;
        self.telemetry.txn_finished.with_label_values(&[decision.name()]).inc();
        tracing::warn!(
            code = "transaction_finished",
            transactional_id = id,
            decision = decision.name(),
            partitions = places,
            "a transaction had ended and was open on partitions; it is ended there now in the same way"
        );
        Ok(Settled::Finished(decision))
    }
}

fn places(left: &[LeftOpen]) -> String {
    let place = |one: &LeftOpen| {
        let OpenTransaction { partition, start_offset, producer_epoch, .. } = &one.transaction;
        format!("{}-{}@{start_offset} (epoch {producer_epoch})", partition.topic, partition.partition)
    };
    left.iter().map(place).collect::<Vec<_>>().join(", ")
}
