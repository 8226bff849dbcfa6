//! Committed positions of groups. Those of a transaction are pending until its marker for the group is written.

use std::collections::BTreeMap;

use tidemill_runtime::broker::TopicPartition;

use super::log::{ProducerId, TransactionEnd};
use super::refusal::Refusal;

#[derive(Debug, Default)]
pub(super) struct GroupOffsets {
    committed: BTreeMap<TopicPartition, u64>,
    pending: BTreeMap<ProducerId, Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    epoch: u32,
    offsets: BTreeMap<TopicPartition, u64>,
}

impl GroupOffsets {
    pub(super) fn add_pending(&mut self, producer: ProducerId, epoch: u32, offsets: &[(TopicPartition, u64)]) {
        let pending = self.pending.entry(producer).or_default();
        pending.epoch = epoch;
        pending.offsets.extend(offsets.iter().cloned());
    }

    pub(super) fn write_marker(&mut self, producer: ProducerId, end: TransactionEnd) {
        let decided = self.pending.remove(&producer).unwrap_or_default();
        if end == TransactionEnd::Commit {
            self.committed.extend(decided.offsets);
        }
    }

    /// Producers with pending positions, and their epochs.
    pub(super) fn producers(&self) -> impl Iterator<Item = (ProducerId, u32)> + '_ {
        self.pending.iter().map(|(producer, pending)| (*producer, pending.epoch))
    }

    pub(super) fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>, Refusal> {
        let is_unstable = |partition| self.pending.values().any(|pending| pending.offsets.contains_key(partition));
        if partitions.iter().any(is_unstable) {
            return Err(Refusal::UnstableOffsetCommit);
        }
        let position = |partition: &TopicPartition| Some((partition.clone(), *self.committed.get(partition)?));
        Ok(partitions.iter().filter_map(position).collect())
    }

    pub(super) fn forget(&mut self) {
        self.committed.clear();
    }

    pub(super) fn rewrite(&mut self, mut rewrite: impl FnMut(&TopicPartition, u64) -> u64) {
        for (partition, offset) in &mut self.committed {
            *offset = rewrite(partition, *offset);
        }
    }
}
