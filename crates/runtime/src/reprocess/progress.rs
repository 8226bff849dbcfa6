//! How far a pipeline has come that is run up to a limit, and whether all of it has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_topology::Topology;
use tidemill_topology::plan::Role;

use crate::broker::{Broker, BrokerError, Isolation, Result, TopicPartition};
use crate::lag::next_offset;
use crate::provision::{ProvisionError, open_sink};
use crate::status::{checkpoint, sink_lag, unit_status};

/// Offsets up to which topics are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub offsets: BTreeMap<TopicPartition, u64>,
    /// Those that have limits. Others are read to their end.
    pub topics: BTreeSet<String>,
}

/// Where a pipeline stands, against limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Next offset of every input, in a fixed order.
    pub positions: Vec<u64>,
    /// Of the inputs with limits: what is to be read altogether, and what has been.
    pub total: u64,
    pub done: u64,
    /// What waits between the stages.
    pub under_way: u64,
}

impl Limits {
    pub fn of(offsets: &BTreeMap<String, BTreeMap<u32, u64>>) -> Self {
        let one = |(topic, partitions): (&String, &BTreeMap<u32, u64>)| {
            let topic = topic.clone();
            partitions
                .iter()
                .map(move |(number, offset)| (TopicPartition::new(topic.as_str(), *number), *offset))
                .collect::<Vec<_>>()
        };
        Self { offsets: offsets.iter().flat_map(one).collect(), topics: offsets.keys().cloned().collect() }
    }

    pub fn by_topic(&self) -> BTreeMap<String, BTreeMap<u32, u64>> {
        let mut by_topic: BTreeMap<String, BTreeMap<u32, u64>> =
            self.topics.iter().map(|topic| (topic.clone(), BTreeMap::new())).collect();
        for (partition, offset) in &self.offsets {
            by_topic.entry(partition.topic.to_string()).or_default().insert(partition.partition, *offset);
        }
        by_topic
    }
}

impl Standing {
    pub fn is_done(&self) -> bool {
        self.done >= self.total && self.under_way == 0
    }
}

/// Input topics that upstream systems write, so that pipelines of every colour read the same.
pub fn shared_inputs(topology: &Topology) -> BTreeSet<String> {
    let is_ingest = |topic: &str| topology.topics.get(topic).is_some_and(|topic| topic.role == Role::Ingest);
    topology.inputs().map(|input| input.topic.clone()).filter(|topic| is_ingest(topic)).collect()
}

/// What the pipeline has processed of the shared inputs.
pub fn processed(broker: &dyn Broker, topology: &Topology) -> Result<Limits> {
    let shared = shared_inputs(topology);
    let mut offsets = BTreeMap::new();
    for unit in &topology.units {
        let state_topic = unit.state_topic(&topology.pipeline);
        let inputs: Vec<&String> =
            unit.stages.iter().flat_map(|stage| &stage.inputs).map(|input| &input.topic).collect();
        for task in 0..unit.tasks {
            let checkpoint = checkpoint(broker, &TopicPartition::new(state_topic.as_str(), task))?;
            for topic in inputs.iter().filter(|topic| shared.contains(**topic)) {
                let partition = TopicPartition::new(topic.as_str(), task);
                let next = match checkpoint.positions.get(topic.as_str()) {
                    Some(next) => *next,
                    None => broker.watermarks(&partition, Isolation::ReadCommitted)?.low,
                };
                offsets.insert(partition, next);
            }
        }
    }
    Ok(Limits { offsets, topics: shared })
}

/// Where the pipeline stands. Two equal answers in a row that are done say that nothing moved in between.
pub fn standing(broker: &dyn Broker, topology: &Topology, limits: &Limits, now_ms: i64) -> Result<Standing> {
    let mut standing = Standing::default();
    for unit in &topology.units {
        for row in unit_status(broker, topology, unit, now_ms)? {
            standing.positions.push(row.next_offset);
            if !limits.topics.contains(&row.topic) {
                standing.under_way += row.lag_records;
                continue;
            }
            let partition = TopicPartition::new(row.topic.as_str(), row.partition);
            let limit = limits.offsets.get(&partition).copied().unwrap_or(0);
            standing.total += limit;
            standing.done += row.next_offset.min(limit);
        }
    }
    Ok(standing)
}

/// What the sinks of the pipeline have not written yet.
pub fn sinks_left(broker: &dyn Broker, topology: &Topology) -> std::result::Result<u64, ProvisionError> {
    let mut left = 0;
    for plan in &topology.sinks {
        let positions =
            open_sink(plan)?.positions().map_err(|error| ProvisionError::Sink { sink: plan.name.clone(), error })?;
        let next = |partition: &TopicPartition| next_offset(&positions, partition);
        left += sink_lag(broker, topology, plan, next).map_err(|error: BrokerError| ProvisionError::Broker(error))?;
    }
    Ok(left)
}
