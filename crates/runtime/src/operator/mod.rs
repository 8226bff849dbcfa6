//! What operators do to a pipeline. Each act is one transaction, which holds what is done and the audit entry that says so:
//! neither is there without the other.
//!
//! Everybody who acts for one pipeline does so under one transactional id. Whoever takes over fences the one before, so that
//! only one at a time adds to the trail, and what was read after taking over cannot be changed by anybody else unnoticed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidemill_audit::{Action, Entry, Head, Place, Verifier};
use tidemill_topology::Topology;

use crate::broker::{
    Broker, BrokerError, BrokerErrorKind, Isolation, Outgoing, Producer, Result as BrokerResult, TopicPartition,
    read_all, read_range,
};
use crate::clock::Clock;
use crate::succession::{Opened, Succession};

pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The last entry is looked for this far behind the end of the trail first: markers of transactions lie there, too.
const LOOK_BACK: u64 = 20;

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Somebody else acts for the pipeline now. Nothing of the last act is there.
    #[error("somebody else acts for this pipeline now")]
    TakenOver,
    #[error("an earlier act is open on partitions, and nobody knows whether it was committed")]
    LeftOpen,
    /// To go on behind such an end would hide what happened to it.
    #[error("the end of the audit trail cannot be read: {0}; see `tidemill audit verify`")]
    Trail(String),
}

/// Somebody who acts for a pipeline.
pub struct Operator {
    topology: Arc<Topology>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    succession: Succession,
    actor: String,
    trail: TopicPartition,
    /// With the end of the trail as long as nobody has taken over.
    producer: Option<(Box<dyn Producer>, Head)>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Operator({})", self.actor)
    }
}

impl Operator {
    pub fn new(
        topology: Arc<Topology>,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        succession: Succession,
        actor: String,
    ) -> Self {
        let trail = trail_of(&topology);
        Self { topology, broker, clock, succession, actor, trail, producer: None }
    }

    pub fn actor(&self) -> &str {
        &self.actor
    }

    pub(crate) fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Fences whoever acts for the pipeline now. What is read after this stays as it is until [`Operator::act`] says that
    /// somebody else has taken over.
    pub fn take_over(&mut self) -> Result<(), OperatorError> {
        self.producer = None;
        let id = format!("{}-operator", self.topology.pipeline.name);
        let producer = match self.succession.open(&id, TRANSACTION_TIMEOUT)? {
            Opened::Producer(producer, _) => producer,
            Opened::Refused => return Err(OperatorError::LeftOpen),
        };
        let head = last_head(self.broker.as_ref(), &self.trail)?;
        self.producer = Some((producer, head));
        Ok(())
    }

    /// Has `write` write what is done, and the entry about it, in one transaction. After an error nothing of it is there,
    /// unless the broker did not say: [`Operator::take_over`] and look.
    pub fn act(
        &mut self,
        action: Action,
        write: impl FnOnce(&mut dyn Producer) -> BrokerResult<()>,
    ) -> Result<Entry, OperatorError> {
        if self.producer.is_none() {
            self.take_over()?;
        }
        let Some((mut producer, head)) = self.producer.take() else { return Err(OperatorError::TakenOver) };
        let entry = head.next(Action { actor: self.actor.clone(), ..action }, self.clock.unix_ms());
        match self.commit(producer.as_mut(), &entry, write) {
            Ok(()) => {
                self.producer = Head::of(&entry).map(|head| (producer, head));
                Ok(entry)
            }
            Err(error) if error.kind == BrokerErrorKind::Fenced => Err(OperatorError::TakenOver),
            Err(error) => Err(error.into()),
        }
    }

    fn commit(
        &self,
        producer: &mut dyn Producer,
        entry: &Entry,
        write: impl FnOnce(&mut dyn Producer) -> BrokerResult<()>,
    ) -> BrokerResult<()> {
        producer.begin()?;
        write(producer)?;
        producer.send(&Outgoing {
            topic: &self.trail.topic,
            partition: self.trail.partition,
            timestamp_ms: entry.at_ms,
            key: None,
            value: Some(&entry.encode()),
            headers: &[],
        })?;
        producer.flush(TRANSACTION_TIMEOUT)?;
        producer.commit(TRANSACTION_TIMEOUT)
    }
}

/// The end of the trail.
fn last_head(broker: &dyn Broker, trail: &TopicPartition) -> Result<Head, OperatorError> {
    let watermarks = broker.watermarks(trail, Isolation::ReadCommitted)?;
    let near = watermarks.high.saturating_sub(LOOK_BACK).max(watermarks.low);
    for from in [near, watermarks.low] {
        let mut last = None;
        read_range(broker, trail, from..watermarks.high, |record| {
            last = record.value.map(<[u8]>::to_vec);
            Ok::<_, BrokerError>(ControlFlow::Continue(()))
        })?;
        if let Some(value) = last {
            let entry = Entry::decode(&value).map_err(|error| OperatorError::Trail(error.to_string()))?;
            return Head::of(&entry).ok_or_else(|| OperatorError::Trail("its hash is none".to_owned()));
        }
    }
    Ok(Head::default())
}

/// Shows `visit` every entry of the trail that can be read.
pub fn read_trail(broker: &dyn Broker, topology: &Topology, mut visit: impl FnMut(u64, Entry)) -> BrokerResult<()> {
    read_all(broker, &trail_of(topology), |record| {
        if let Some(entry) = record.value.and_then(|value| Entry::decode(value).ok()) {
            visit(record.origin.offset, entry);
        }
        Ok::<_, BrokerError>(ControlFlow::Continue(()))
    })?;
    Ok(())
}

fn trail_of(topology: &Topology) -> TopicPartition {
    TopicPartition::new(topology.pipeline.audit_topic.as_str(), 0)
}

/// Judges the whole trail.
pub fn verify_trail(broker: &dyn Broker, topology: &Topology) -> BrokerResult<Verifier> {
    let mut verifier = Verifier::default();
    read_all(broker, &trail_of(topology), |record| {
        let place = Place {
            offset: record.origin.offset,
            timestamp_ms: record.event_time.millis(),
            is_bare: record.key.is_none() && record.headers.is_empty(),
        };
        verifier.see(place, record.value);
        Ok::<_, BrokerError>(ControlFlow::Continue(()))
    })?;
    Ok(verifier)
}
