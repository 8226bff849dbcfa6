//! What whoever succeeds a producer asks of the broker.

use tidemill_runtime::broker::{
    Decision, LastTransaction, OpenTransaction, Standing, TopicPartition, TransactionPhase, TransactionProtocol,
};

use super::coordinator::{Target, TransactionState};
use super::core::Core;
use super::log::{ProducerId, TransactionEnd};
use super::refusal::Refusal;

/// Where groups keep their positions; here each group has a partition of its own.
const GROUP_OFFSETS_TOPIC: &str = "__consumer_offsets";

impl Core {
    pub(super) fn last_transaction(&self, transactional_id: &str) -> Option<LastTransaction> {
        let transaction = self.coordinator.transactions.get(transactional_id)?;
        let phase = match transaction.state {
            TransactionState::Empty => TransactionPhase::Forgotten,
            TransactionState::Ongoing => TransactionPhase::Running,
            TransactionState::Prepare(_) => TransactionPhase::Ending,
            TransactionState::Complete(TransactionEnd::Commit) => TransactionPhase::Ended(Decision::Commit),
            TransactionState::Complete(TransactionEnd::Abort) => TransactionPhase::Ended(Decision::Abort),
        };
        Some(LastTransaction {
            protocol: TransactionProtocol::First,
            producer_id: transaction.producer as i64,
            producer_epoch: transaction.epoch as i16,
            phase,
        })
    }

    pub(super) fn abort_running(&mut self, transactional_id: &str) -> Result<(), Refusal> {
        self.check_sight()?;
        if self.is_ongoing(transactional_id) {
            self.fence(transactional_id);
        }
        Ok(())
    }

    pub(super) fn open_of_producer(
        &self,
        producer_id: i64,
        topics: &[String],
    ) -> Result<Vec<OpenTransaction>, Refusal> {
        self.check_sight()?;
        let is_written = |partition: &TopicPartition| topics.iter().any(|topic| **topic == *partition.topic);
        let mut open = self.open_in_logs(is_written);
        for (number, offsets) in (0..).zip(self.offsets().values()) {
            let partition = TopicPartition::new(GROUP_OFFSETS_TOPIC, number);
            open.extend(offsets.producers().map(|(producer, epoch)| opened(partition.clone(), producer, epoch, 0)));
        }
        open.retain(|one| one.producer_id == producer_id);
        Ok(open)
    }

    /// What is open on these partitions, and whether the coordinator will end it.
    pub(super) fn open_in(&self, partitions: &[TopicPartition]) -> Vec<OpenTransaction> {
        let mut open = self.open_in_logs(|partition| partitions.contains(partition));
        for one in &mut open {
            let Some((id, transaction)) = self.coordinator.of_producer(one.producer_id as ProducerId) else { continue };
            one.transactional_id = Some(id.clone());
            if self.target(&one.partition).is_some_and(|target| transaction.covers(&target)) {
                let state = format!("{:?}", transaction.state);
                one.standing = Standing::Running { state, started_at_ms: 0, timeout_ms: 0 };
            }
        }
        open
    }

    fn open_in_logs(&self, is_meant: impl Fn(&TopicPartition) -> bool) -> Vec<OpenTransaction> {
        let mut open = Vec::new();
        for (id, log) in self.topics.logs() {
            let Some(partition) = self.topics.name(id).filter(|partition| is_meant(partition)) else { continue };
            let all = log.open().map(|(producer, epoch, start)| opened(partition.clone(), producer, epoch, start));
            open.extend(all);
        }
        open
    }

    /// Writes a marker wherever one of them is still open.
    pub(super) fn finish(&mut self, transactions: &[OpenTransaction], decision: Decision) -> Result<(), Refusal> {
        self.check_sight()?;
        let end = match decision {
            Decision::Commit => TransactionEnd::Commit,
            Decision::Abort => TransactionEnd::Abort,
        };
        for one in transactions {
            // Group offsets are always among what is looked at.
            let topics = [one.partition.topic.to_string()];
            let is_open = self.open_of_producer(one.producer_id, &topics)?.iter().any(|found| found.is_same(one));
            if let (Some(target), true) = (self.target(&one.partition), is_open) {
                self.write_marker_at(&target, one.producer_id as ProducerId, one.producer_epoch as u32, end);
            }
        }
        Ok(())
    }

    fn target(&self, partition: &TopicPartition) -> Option<Target> {
        if &*partition.topic == GROUP_OFFSETS_TOPIC {
            return self.offsets().keys().nth(partition.partition as usize).cloned().map(Target::Offsets);
        }
        self.topics.locate(partition).ok().map(Target::Partition)
    }

    /// A broker that has just come back cannot say who leads what.
    pub(super) fn check_sight(&self) -> Result<(), Refusal> {
        if self.is_blind() { Err(Refusal::LeaderNotAvailable) } else { Ok(()) }
    }
}

fn opened(partition: TopicPartition, producer: ProducerId, epoch: u32, start_offset: u64) -> OpenTransaction {
    OpenTransaction {
        partition,
        producer_id: producer as i64,
        producer_epoch: epoch as i16,
        coordinator_epoch: 0,
        start_offset,
        last_timestamp_ms: 0,
        transactional_id: None,
        standing: Standing::Hanging,
    }
}
