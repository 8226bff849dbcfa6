//! One budget for everything in a process that grows with load: local stores, client queues, open transactions.
//!
//! It is shared out before anything starts, by the worst case: every task of every unit runs here. What a share is used
//! for cannot take from another, so a burst fills queues and then waits, and no cache is ever squeezed by it.

use tidemill_topology::Topology;
use tidemill_topology::plan::{Role, Unit};

const MIB: u64 = 1024 * 1024;
/// Code, threads, drivers of databases, schemas and rules: measured, with nothing to do.
const BASE_BYTES: u64 = 48 * MIB;
/// An allocator that has handed out this much holds about an eighth more.
const ALLOCATOR_PERCENT: u64 = 12;

/// Percent of the budget. What is left is for batches, overlays and restores on their way.
const STORES_PERCENT: u64 = 35;
const READERS_PERCENT: u64 = 25;
const PRODUCERS_PERCENT: u64 = 20;

/// librdkafka's range for a partition's queue is wide; below this a fetch holds too few records to be worth its request.
const READER_PARTITION_KIB_MIN: u64 = 64;
const READER_PARTITION_KIB_MAX: u64 = 8 * 1024;
/// librdkafka's own minimum is 1 KiB; a transaction of 20,000 records must not stall on its queue all the time.
const PRODUCER_KIB_MIN: u64 = 4 * 1024;
const PRODUCER_KIB_MAX: u64 = 256 * 1024;
const STORE_BYTES_MIN: u64 = 4 * MIB;

/// What each user of memory may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Block cache of one task's store.
    pub store_cache_bytes: u64,
    /// Changes that one task's store keeps in memory until it writes them out. It may hold two lots of them at once.
    pub store_write_buffer_bytes: u64,
    /// Records fetched ahead, per partition.
    pub reader_partition_kib: u64,
    /// Records on their way to the broker, per worker.
    pub producer_kib: u64,
}

impl MemoryShares {
    /// `workers` is the number of worker threads per unit in this process.
    pub fn of(topology: &Topology, workers: u32) -> Self {
        let total = topology.memory_mib_max.saturating_mul(MIB);
        let budget = total.saturating_sub(BASE_BYTES) * (100 - ALLOCATOR_PERCENT) / 100;
        let share = |percent: u64, users: u64| budget * percent / 100 / users.max(1);
        let tasks: u64 = topology.units.iter().map(|unit| u64::from(unit.tasks)).sum();
        let per_store = share(STORES_PERCENT, tasks).max(STORE_BYTES_MIN);
        let producers = topology.units.len() as u64 * u64::from(workers);
        Self {
            store_cache_bytes: per_store / 4,
            store_write_buffer_bytes: per_store * 3 / 8,
            reader_partition_kib: (share(READERS_PERCENT, partitions_read(topology)) / 1024)
                .clamp(READER_PARTITION_KIB_MIN, READER_PARTITION_KIB_MAX),
            producer_kib: (share(PRODUCERS_PERCENT, producers) / 1024).clamp(PRODUCER_KIB_MIN, PRODUCER_KIB_MAX),
        }
    }

    /// The client properties that hold queues within their shares.
    pub fn client_properties(&self) -> [(&'static str, String); 3] {
        // A queue that is not full may be overshot by one fetch.
        let fetch_bytes = (self.reader_partition_kib * 1024).min(MIB);
        [
            ("max.partition.fetch.bytes", fetch_bytes.to_string()),
            ("queued.max.messages.kbytes", self.reader_partition_kib.to_string()),
            ("queue.buffering.max.kbytes", self.producer_kib.to_string()),
        ]
    }
}

/// Partitions that this process reads at worst: of workers, what is sent back to them and what is parked among it, of sinks, of reference tables, which every worker reads, and
/// the state logs that standbys follow.
fn partitions_read(topology: &Topology) -> u64 {
    let partitions = |topic: &str| topology.topics.get(topic).map_or(0, |topic| u64::from(topic.partitions));
    let of_unit = |unit: &Unit| -> u64 {
        let inputs = || unit.stages.iter().flat_map(|stage| &stage.inputs);
        let parked = inputs().filter(|input| input.parked.is_some()).count();
        let followed = u64::from(unit.standbys > 0);
        let redriven = u64::from(topology.topics.contains_key(&unit.redrive_topic(&topology.pipeline)));
        u64::from(unit.tasks) * (inputs().count() as u64 + parked as u64 + followed + redriven)
    };
    let references = topology.topics.values().filter(|topic| topic.role == Role::Reference);
    topology.units.iter().map(of_unit).sum::<u64>()
        + topology.sinks.iter().flat_map(|sink| &sink.topics).map(|topic| partitions(topic)).sum::<u64>()
        + references.map(|topic| u64::from(topic.partitions)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidemill_topology::plan::{Broker, CommitPolicy, Pipeline};

    use super::*;

    fn topology(memory_mib_max: u64, tasks: u32) -> Topology {
        let commit = CommitPolicy {
            gap_ms_min: 1,
            interval_ms_max: 1,
            records_max: 1,
            bytes_max: 1,
            transaction_timeout_ms: 1,
            session_timeout_ms: 1,
        };
        Topology {
            pipeline: Pipeline {
                name: "p".to_owned(),
                version: "1".to_owned(),
                config_hash: "0".to_owned(),
                audit_topic: "ops.audit.v1".to_owned(),
                colour: None,
            },
            broker: Broker::Embedded { data_dir: "data".into() },
            registry_url: None,
            state_dir: "state".into(),
            http_address: "127.0.0.1:0".to_owned(),
            memory_mib_max,
            units: vec![Unit { name: "main".to_owned(), tasks, standbys: 0, commit, stages: Vec::new() }],
            topics: BTreeMap::new(),
            sinks: Vec::new(),
            dead_letter_headers: Vec::new(),
        }
    }

    #[test]
    fn the_shares_stay_within_the_budget() {
        for (memory_mib, tasks, workers) in [(256, 4, 1), (1_024, 4, 2), (1_024, 64, 8), (16_384, 8, 4)] {
            let topology = topology(memory_mib, tasks);
            let shares = MemoryShares::of(&topology, workers);
            let stores = u64::from(tasks) * (shares.store_cache_bytes + 2 * shares.store_write_buffer_bytes);
            let producers = u64::from(workers) * shares.producer_kib * 1024;
            let total = BASE_BYTES + stores + producers;
            assert!(total < memory_mib * MIB * 4 / 5, "{memory_mib} MiB, {tasks} tasks: {shares:?}");
        }
    }

    #[test]
    fn more_memory_never_makes_a_share_smaller() {
        let mut before = MemoryShares::of(&topology(128, 8), 2);
        for memory_mib in [256, 512, 1_024, 4_096, 65_536] {
            let shares = MemoryShares::of(&topology(memory_mib, 8), 2);
            assert!(shares.store_cache_bytes >= before.store_cache_bytes, "{memory_mib}: {shares:?}");
            assert!(shares.reader_partition_kib >= before.reader_partition_kib, "{memory_mib}: {shares:?}");
            assert!(shares.producer_kib >= before.producer_kib, "{memory_mib}: {shares:?}");
            before = shares;
        }
    }
}
