//! The whole broker, synchronous, and told the time by its caller.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidemill_runtime::broker::{Outgoing, TopicPartition};

use super::coordinator::{Coordinator, Identity};
use super::group::Group;
use super::log::StoredRecord;
use super::offsets::GroupOffsets;
use super::options::{Markers, ModelOptions};
use super::refusal::Refusal;
use super::topics::{PartitionId, Topics};

/// What a record costs on the wire besides its bytes: about what Kafka counts for a batch of one.
const RECORD_OVERHEAD_BYTES: usize = 70;

pub(super) struct Core {
    pub(super) topics: Topics,
    pub(super) coordinator: Coordinator,
    groups: BTreeMap<String, Group>,
    offsets: BTreeMap<String, GroupOffsets>,
    pub(super) now: Duration,
    pub(super) options: ModelOptions,
    random: ChaCha8Rng,
    /// Which life of the broker this is.
    pub(super) incarnation: u64,
    blindness: Option<Blindness>,
}

/// The time after a restart in which the coordinator serves and does not know the leaders of all partitions.
struct Blindness {
    until: Duration,
    random: ChaCha8Rng,
}

impl Core {
    pub(super) fn new(options: ModelOptions) -> Self {
        let seed = match options.markers {
            Markers::Delayed { seed, .. } => seed,
            Markers::AtOnce | Markers::Manual => 0,
        };
        Self {
            topics: Topics::default(),
            coordinator: Coordinator::default(),
            groups: BTreeMap::new(),
            offsets: BTreeMap::new(),
            now: Duration::ZERO,
            options,
            random: ChaCha8Rng::seed_from_u64(seed),
            incarnation: 0,
            blindness: None,
        }
    }

    /// The broker is killed and comes back. What the coordinator had decided and not yet written, and what it decides
    /// while it is blind, it takes for written on some of the partitions.
    pub(super) fn restart(&mut self, blind_for: Duration, seed: u64) {
        self.incarnation += 1;
        self.blindness =
            Some(Blindness { until: self.now.saturating_add(blind_for), random: ChaCha8Rng::seed_from_u64(seed) });
        self.lose_markers();
    }

    pub(super) fn is_blind(&self) -> bool {
        self.blindness.as_ref().is_some_and(|blindness| self.now < blindness.until)
    }

    /// Whether the coordinator skips a marker that it should write.
    pub(super) fn skips_marker(&mut self) -> bool {
        let now = self.now;
        self.blindness.as_mut().is_some_and(|blindness| now <= blindness.until && blindness.random.random_bool(0.5))
    }

    pub(super) fn tick(&mut self, now: Duration) {
        self.now = now.max(self.now);
        self.tick_transactions();
        for group in self.groups.values_mut() {
            group.expire(self.now);
        }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.groups.values().filter_map(Group::next_due).chain(self.coordinator.next_due()).min()
    }

    pub(super) fn group(&mut self, name: &str) -> &mut Group {
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), Group::default());
        }
        self.groups.get_mut(name).expect("it was just inserted")
    }

    pub(super) fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    pub(super) fn offsets_mut(&mut self, group: &str) -> &mut GroupOffsets {
        if !self.offsets.contains_key(group) {
            self.offsets.insert(group.to_owned(), GroupOffsets::default());
        }
        self.offsets.get_mut(group).expect("it was just inserted")
    }

    pub(super) fn offsets(&self) -> &BTreeMap<String, GroupOffsets> {
        &self.offsets
    }

    pub(super) fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, u64)>, Refusal> {
        self.offsets.get(group).map_or(Ok(Vec::new()), |offsets| offsets.committed(partitions))
    }

    pub(super) fn marker_due(&mut self) -> Option<Duration> {
        match self.options.markers {
            Markers::AtOnce => Some(self.now),
            Markers::Delayed { max, .. } => {
                let delay = self.random.random_range(0..=max.as_micros() as u64);
                Some(self.now.saturating_add(Duration::from_micros(delay)))
            }
            Markers::Manual => None,
        }
    }

    /// The producer's records for one partition, in its transaction. The coordinator must know of the partition.
    pub(super) fn append(
        &mut self,
        identity: &Identity,
        partition: PartitionId,
        records: &mut Vec<StoredRecord>,
    ) -> Result<u64, Refusal> {
        let bytes_max = self.topics.record_bytes_max(partition);
        if records.iter().any(|record| encoded_bytes(record) > bytes_max) {
            return Err(Refusal::RecordTooLarge);
        }
        let log = self.topics.log_mut(partition)?;
        log.append_open(identity.producer, identity.epoch, std::mem::take(records))?;
        Ok(log.end())
    }

    /// Records without a transaction. One that is too large is refused alone.
    pub(super) fn append_plain(
        &mut self,
        partition: PartitionId,
        records: &mut Vec<StoredRecord>,
    ) -> Result<u64, Refusal> {
        let bytes_max = self.topics.record_bytes_max(partition);
        let log = self.topics.log_mut(partition)?;
        let count = records.len();
        records.retain(|record| encoded_bytes(record) <= bytes_max);
        let is_refused = records.len() < count;
        log.append_plain(std::mem::take(records));
        if is_refused { Err(Refusal::RecordTooLarge) } else { Ok(log.end()) }
    }
}

pub(super) fn stored(record: &Outgoing<'_>) -> StoredRecord {
    StoredRecord {
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(Box::from),
        value: record.value.map(Box::from),
        headers: record.headers.iter().map(|(name, value)| (Box::from(*name), value.map(Box::from))).collect(),
    }
}

fn encoded_bytes(record: &StoredRecord) -> usize {
    let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    let headers = record.headers.iter().map(|(name, value)| name.len() + length(value)).sum::<usize>();
    RECORD_OVERHEAD_BYTES + length(&record.key) + length(&record.value) + headers
}
