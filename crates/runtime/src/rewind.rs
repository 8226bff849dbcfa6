//! Moves positions: a unit or a sink reads from elsewhere from now on. Planned in a file, and carried out only if nothing
//! has moved since.
//!
//! Invariant: the positions of a unit with state are never moved. Its stores hold what came of the records already, so that
//! reading them again would count them twice; a reprocess is what does that rightly.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};
use tidemill_audit::{Action, Outcome};
use tidemill_core::SinkError;
use tidemill_core::sink::SinkPosition;
use tidemill_topology::Topology;
use tidemill_topology::plan::{OnError, SinkPlan, Unit};

use crate::broker::{Broker, BrokerError, BrokerErrorKind, Isolation, TopicPartition};
use crate::lag::next_offset;
use crate::operator::{Operator, OperatorError};
use crate::provision::{ProvisionError, open_sink};
use crate::replay::PlanError;
use crate::reprocess::write_checkpoint;
use crate::sealed;
use crate::status;
use crate::task::checkpoint::{Checkpoint, RELEASED};

const FORMAT: u32 = 1;

/// Whose positions are moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Unit(String),
    Sink(String),
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Beginning,
    End,
    Offset(u64),
    /// The first record that is not older, in milliseconds since 1970.
    Time(i64),
}

/// One partition, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    pub topic: String,
    pub partition: u32,
    pub from: u64,
    pub to: u64,
    /// End of the partition when the plan was made.
    pub end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    format: u32,
    pub produced_by: String,
    pub target: Target,
    pub created_at_ms: i64,
    pub created_by: String,
    pub moves: Vec<Move>,
    /// SHA-256 over everything else.
    pub hash: String,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub target: Target,
    pub destination: Destination,
    /// Only this topic, and only this partition.
    pub topic: Option<String>,
    pub partition: Option<u32>,
    pub created_by: String,
}

/// What stands against moving positions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Guard {
    #[error("there is no {0}")]
    Unknown(String),
    #[error(
        "unit {unit} keeps state ({stores}) that holds what came of these records; `tidemill reprocess start` runs them through a second pipeline"
    )]
    Stateful { unit: String, stores: String },
    #[error("sink {0} keeps no read model: it would reach people or systems outside a second time")]
    ReachesOutside(String),
    #[error("{0} runs; stop it first")]
    Runs(String),
    #[error("the plan was made by {made}, and {now} would carry it out")]
    OtherConfiguration { made: String, now: String },
    #[error("{topic} partition {partition} was at {planned} when the plan was made, and is at {now}")]
    Moved { topic: String, partition: u32, planned: u64, now: u64 },
    #[error("{topic} partition {partition} begins at {low}, behind {to}")]
    Gone { topic: String, partition: u32, low: u64, to: u64 },
}

impl Guard {
    /// Stable, for programs: `tidemill explain` has its page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "rewind_target_unknown",
            Self::Stateful { .. } => "rewind_stateful",
            Self::ReachesOutside(_) => "rewind_reaches_outside",
            Self::Runs(_) => "pipeline_runs",
            Self::OtherConfiguration { .. } | Self::Moved { .. } => "plan_stale",
            Self::Gone { .. } => "offsets_gone",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("sink {sink}: {error}")]
    Sink { sink: String, error: SinkError },
    #[error("{code}: {0}", code = .0.code())]
    Refused(Guard),
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unit(name) => write!(out, "unit {name}"),
            Self::Sink(name) => write!(out, "sink {name}"),
        }
    }
}

impl Plan {
    pub fn encode(&self) -> String {
        sealed::encode(self)
    }

    pub fn decode(text: &str) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_str(text).map_err(|error| PlanError::Unreadable(error.to_string()))?;
        if plan.format != FORMAT || plan.hash != plan.content_hash() {
            return Err(PlanError::Altered);
        }
        Ok(plan)
    }

    fn content_hash(&self) -> String {
        sealed::content_hash(&Self { hash: String::new(), ..self.clone() })
    }
}

/// What would be moved. Changes nothing.
pub fn plan(broker: &dyn Broker, topology: &Topology, wish: Wish, now_ms: i64) -> Result<Plan, RewindError> {
    check_target(topology, &wish.target)?;
    let is_wanted = |partition: &TopicPartition| {
        wish.topic.as_deref().is_none_or(|topic| *partition.topic == *topic)
            && wish.partition.is_none_or(|number| number == partition.partition)
    };
    let mut moves = Vec::new();
    for (partition, from) in positions(broker, topology, &wish.target)? {
        if !is_wanted(&partition) {
            continue;
        }
        let watermarks = broker.watermarks(&partition, Isolation::ReadCommitted)?;
        let to = match wish.destination {
            Destination::Beginning => watermarks.low,
            Destination::End => watermarks.high,
            Destination::Offset(offset) => offset.min(watermarks.high),
            Destination::Time(time_ms) => broker.offset_for_time(&partition, time_ms)?.unwrap_or(watermarks.high),
        };
        check_place(&partition, watermarks.low, to)?;
        if to != from {
            let TopicPartition { topic, partition } = partition;
            moves.push(Move { topic: topic.to_string(), partition, from, to, end: watermarks.high });
        }
    }
    let mut plan = Plan {
        format: FORMAT,
        produced_by: topology.pipeline.produced_by(),
        target: wish.target,
        created_at_ms: now_ms,
        created_by: wish.created_by,
        moves,
        hash: String::new(),
    };
    plan.hash = plan.content_hash();
    Ok(plan)
}

/// Moves the positions, with an audit entry. A refusal is entered, too.
pub fn apply(operator: &mut Operator, plan: &Plan, reason: &str) -> Result<(), RewindError> {
    operator.take_over()?;
    let action = |outcome, detail: String| Action {
        actor: String::new(),
        verb: "offsets.apply".to_owned(),
        object: plan.target.to_string(),
        outcome,
        reason: reason.to_owned(),
        plan_hash: Some(plan.hash.clone()),
        counts: BTreeMap::from([("partitions".to_owned(), plan.moves.len() as u64)]),
        detail,
    };
    match check(operator, plan) {
        Err(RewindError::Refused(guard)) => {
            operator.act(action(Outcome::Refused, format!("{}: {guard}", guard.code())), |_| Ok(()))?;
            return Err(RewindError::Refused(guard));
        }
        checked => checked?,
    }
    let moved = |one: &Move| format!("{}-{}: {} to {}", one.topic, one.partition, one.from, one.to);
    let action = action(Outcome::Done, plan.moves.iter().map(moved).collect::<Vec<_>>().join("; "));
    let topology = operator.topology().clone();
    match &plan.target {
        Target::Unit(name) => move_unit(operator, find_unit(&topology, name)?, plan, action),
        Target::Sink(name) => {
            // Entered first: should the sink fail after that, the same plan is carried out again.
            operator.act(action, |_| Ok(()))?;
            move_sink(find_sink(&topology, name)?, plan)
        }
    }
}

fn move_unit(operator: &mut Operator, unit: &Unit, plan: &Plan, action: Action) -> Result<(), RewindError> {
    let topology = operator.topology().clone();
    let (state_topic, group) = (unit.state_topic(&topology.pipeline), unit.group(&topology.pipeline));
    let mut checkpoints: BTreeMap<u32, Checkpoint> = BTreeMap::new();
    for one in &plan.moves {
        if let Entry::Vacant(unknown) = checkpoints.entry(one.partition) {
            let log = TopicPartition::new(state_topic.as_str(), one.partition);
            unknown.insert(status::checkpoint(operator.broker().as_ref(), &log)?);
        }
        if let Some(checkpoint) = checkpoints.get_mut(&one.partition) {
            checkpoint.positions.insert(one.topic.clone(), one.to);
            checkpoint.owner = RELEASED.to_owned();
        }
    }
    let at_ms = operator.clock().unix_ms();
    let offsets: Vec<(TopicPartition, u64)> =
        plan.moves.iter().map(|one| (TopicPartition::new(one.topic.as_str(), one.partition), one.to)).collect();
    operator.act(action, |producer| {
        for (task, checkpoint) in &checkpoints {
            write_checkpoint(producer, &TopicPartition::new(state_topic.as_str(), *task), checkpoint, at_ms)?;
        }
        producer.flush(crate::operator::TRANSACTION_TIMEOUT)?;
        producer.send_group_offsets(&group, &offsets, crate::operator::TRANSACTION_TIMEOUT)
    })?;
    Ok(())
}

fn move_sink(plan: &SinkPlan, moves: &Plan) -> Result<(), RewindError> {
    let sink_error = |error| RewindError::Sink { sink: plan.name.clone(), error };
    let mut sink = open_sink(plan)?;
    let before = sink.positions().map_err(sink_error)?;
    let position = |one: &Move| SinkPosition {
        topic: one.topic.as_str().into(),
        partition: one.partition,
        next_offset: one.to,
        event_time: before
            .iter()
            .find(|known| *known.topic == *one.topic && known.partition == one.partition)
            .map_or_else(Default::default, |known| known.event_time),
    };
    let positions: Vec<SinkPosition> = moves.moves.iter().map(position).collect();
    let Some(read_model) = sink.read_model() else {
        return Err(RewindError::Refused(Guard::ReachesOutside(plan.name.clone())));
    };
    read_model.seek(&positions).map_err(sink_error)
}

/// What stands against the plan now.
fn check(operator: &Operator, plan: &Plan) -> Result<(), RewindError> {
    let (topology, broker) = (operator.topology().as_ref(), operator.broker().as_ref());
    let now = topology.pipeline.produced_by();
    if plan.produced_by != now {
        return Err(RewindError::Refused(Guard::OtherConfiguration { made: plan.produced_by.clone(), now }));
    }
    check_target(topology, &plan.target)?;
    let (group, tasks_topic) = match &plan.target {
        Target::Unit(name) => {
            let unit = find_unit(topology, name)?;
            (unit.group(&topology.pipeline), unit.tasks_topic(&topology.pipeline))
        }
        Target::Sink(name) => {
            let sink = find_sink(topology, name)?;
            (sink.group(&topology.pipeline), sink.tasks_topic(&topology.pipeline))
        }
    };
    match broker.roster(&group, &tasks_topic) {
        Ok(Some(roster)) if roster.is_empty() => {}
        // A cluster that does not say who is in a group: the transactional id and the claim fence whoever is.
        Err(error) if error.kind == BrokerErrorKind::Misconfigured => {}
        Ok(_) => return Err(RewindError::Refused(Guard::Runs(plan.target.to_string()))),
        Err(error) => return Err(error.into()),
    }
    let current = positions(broker, topology, &plan.target)?;
    for one in &plan.moves {
        let partition = TopicPartition::new(one.topic.as_str(), one.partition);
        let now = current.iter().find(|(known, _)| *known == partition).map_or(0, |(_, position)| *position);
        if now != one.from {
            let (topic, partition, planned) = (one.topic.clone(), one.partition, one.from);
            return Err(RewindError::Refused(Guard::Moved { topic, partition, planned, now }));
        }
        check_place(&partition, broker.watermarks(&partition, Isolation::ReadCommitted)?.low, one.to)?;
    }
    Ok(())
}

fn check_place(partition: &TopicPartition, low: u64, to: u64) -> Result<(), RewindError> {
    if to >= low {
        return Ok(());
    }
    let TopicPartition { topic, partition } = partition;
    Err(RewindError::Refused(Guard::Gone { topic: topic.to_string(), partition: *partition, low, to }))
}

fn check_target(topology: &Topology, target: &Target) -> Result<(), RewindError> {
    match target {
        Target::Unit(name) => {
            let unit = find_unit(topology, name)?;
            let stores = stores_of(unit);
            if stores.is_empty() {
                return Ok(());
            }
            Err(RewindError::Refused(Guard::Stateful { unit: name.clone(), stores: stores.join(", ") }))
        }
        Target::Sink(name) => {
            let mut sink = open_sink(find_sink(topology, name)?)?;
            match sink.read_model() {
                Some(_) => Ok(()),
                None => Err(RewindError::Refused(Guard::ReachesOutside(name.clone()))),
            }
        }
    }
}

/// Everything that tasks of the unit remember from one record to the next.
pub fn stores_of(unit: &Unit) -> Vec<&'static str> {
    let links = unit.stages.iter().flat_map(|stage| &stage.inputs).flat_map(|input| &input.chain);
    let mut stores: Vec<&'static str> = links.flat_map(|link| link.processor.stores).map(|store| store.name).collect();
    if unit.stages.iter().any(|stage| stage.on_error == OnError::Park) {
        stores.push(crate::parking::PARKED_KEYS.name());
    }
    stores.sort_unstable();
    stores.dedup();
    stores
}

fn find_unit<'t>(topology: &'t Topology, name: &str) -> Result<&'t Unit, RewindError> {
    let found = topology.units.iter().find(|unit| unit.name == name);
    found.ok_or_else(|| RewindError::Refused(Guard::Unknown(format!("unit {name}"))))
}

fn find_sink<'t>(topology: &'t Topology, name: &str) -> Result<&'t SinkPlan, RewindError> {
    let found = topology.sinks.iter().find(|sink| sink.name == name);
    found.ok_or_else(|| RewindError::Refused(Guard::Unknown(format!("sink {name}"))))
}

/// Next offset of everything that the target reads.
fn positions(
    broker: &dyn Broker,
    topology: &Topology,
    target: &Target,
) -> Result<Vec<(TopicPartition, u64)>, RewindError> {
    match target {
        Target::Unit(name) => {
            let rows = status::unit_status(broker, topology, find_unit(topology, name)?, 0)?;
            let inputs: Vec<_> = rows.into_iter().filter(|row| topology.reader_of(&row.topic).is_some()).collect();
            Ok(inputs.into_iter().map(|row| (TopicPartition::new(row.topic, row.partition), row.next_offset)).collect())
        }
        Target::Sink(name) => {
            let plan = find_sink(topology, name)?;
            let known =
                open_sink(plan)?.positions().map_err(|error| RewindError::Sink { sink: name.clone(), error })?;
            let mut positions = Vec::new();
            for topic in &plan.topics {
                let partitions = topology.topics.get(topic).map_or(0, |topic| topic.partitions);
                for partition in (0..partitions).map(|number| TopicPartition::new(topic.as_str(), number)) {
                    let low = broker.watermarks(&partition, Isolation::ReadCommitted)?.low;
                    let next = next_offset(&known, &partition).max(low);
                    positions.push((partition, next));
                }
            }
            Ok(positions)
        }
    }
}
