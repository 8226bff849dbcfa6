//! What a worker runs for each input topic: the stages of a unit with their processors built.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::reference::References;
use tidemill_core::{EventKind, Processor, RawEvent, ReferenceTable};
use tidemill_topology::Topology;
use tidemill_topology::plan::{CircuitBreaker, Cleanup, Input, OnError, Stage, Unit};

use crate::parking::ParkingProgram;
use crate::reprocess::Rehearsal;
use crate::task::checkpoint::{REDRIVEN, RELEASED_RECORDS as RELEASED};

/// A unit, ready to process.
pub(crate) struct Program {
    pub(crate) inputs: Vec<InputProgram>,
    /// `stage/topic` by input number: the names under which figures are kept. Behind them, in the same order, those of
    /// records that were sent back, and of those that were parked and released.
    pub(crate) names: Vec<String>,
    /// Where dead letters come back. `None` for a topology without such a topic.
    pub(crate) redrive: Option<Arc<str>>,
    /// Topics that are written here and read by a stage of the pipeline, in the order of [`Port::counted`].
    pub(crate) counted: Vec<(Arc<str>, u32)>,
    pub(crate) references: ReferenceTables,
}

/// One input topic of a stage and the chain behind it.
pub(crate) struct InputProgram {
    pub(crate) number: usize,
    /// `stage/topic`.
    pub(crate) name: String,
    pub(crate) topic: Arc<str>,
    /// Offsets may be missing for no loss.
    pub(crate) is_compacted: bool,
    pub(crate) stage: Arc<str>,
    pub(crate) head: Head,
    pub(crate) processors: Vec<Box<dyn Processor>>,
    pub(crate) output: Option<Port>,
    /// By name. A stage has few, so that looking beats hashing.
    pub(crate) ports: Arc<[(&'static str, Port)]>,
    pub(crate) dead_letters: Port,
    pub(crate) on_error: OnError,
    pub(crate) parking: Option<ParkingProgram>,
    pub(crate) circuit: Option<CircuitBreaker>,
}

/// How the chain starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head {
    /// The first processor decodes the bytes, and may ask for schemas of this kind.
    Raw { decodes: Option<EventKind> },
    /// The engine decodes the value by its schema.
    Event(EventKind),
}

/// A topic that is written.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: u32,
    pub(crate) kind: Option<EventKind>,
    /// Number among the topics whose records are counted.
    pub(crate) counted: Option<usize>,
    pub(crate) delivery: Delivery,
}

/// What becomes of events for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Written,
    /// They ask somebody outside to act, and the live pipeline has asked already.
    Withheld,
}

/// The reference tables of a unit, each built once per worker.
pub(crate) struct ReferenceTables {
    tables: BTreeMap<&'static str, Box<dyn ReferenceTable>>,
    /// Table and kind by topic.
    topics: BTreeMap<Arc<str>, (&'static str, EventKind)>,
}

impl Program {
    /// The topology has been checked, so a failure here is a broken invariant; its message says which.
    pub(crate) fn build(topology: &Topology, unit: &Unit, rehearsal: Option<&Rehearsal>) -> Result<Self, String> {
        let mut program = Self {
            inputs: Vec::new(),
            names: Vec::new(),
            redrive: None,
            counted: Vec::new(),
            references: ReferenceTables { tables: BTreeMap::new(), topics: BTreeMap::new() },
        };
        for stage in &unit.stages {
            program.references.add(stage)?;
            program.add_inputs(topology, stage, rehearsal)?;
        }
        for suffix in [REDRIVEN, RELEASED] {
            let more: Vec<String> =
                program.names.iter().take(program.inputs.len()).map(|name| format!("{name}{suffix}")).collect();
            program.names.extend(more);
        }
        let redrive = unit.redrive_topic(&topology.pipeline);
        program.redrive = topology.topics.contains_key(&redrive).then(|| Arc::from(redrive));
        Ok(program)
    }

    /// Number of the figures of records of the input that were sent back.
    pub(crate) fn redriven(&self, input: usize) -> usize {
        self.inputs.len() + input
    }

    /// Number of the figures of records of the input that were parked and released.
    pub(crate) fn released(&self, input: usize) -> usize {
        2 * self.inputs.len() + input
    }

    /// The same for a topic that somebody has named.
    pub(crate) fn input_named(&self, topic: &str) -> Option<usize> {
        self.inputs.iter().position(|input| *input.topic == *topic)
    }

    /// Every topic that a task reads by position.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.inputs.iter().map(|input| &input.topic).chain(&self.redrive)
    }

    /// The input that reads `topic`; there are few. The same text is mostly the same memory, too.
    pub(crate) fn input_of(&self, topic: &Arc<str>) -> Option<usize> {
        self.inputs.iter().position(|input| Arc::ptr_eq(&input.topic, topic) || input.topic == *topic)
    }

    /// Every topic that is written with a schema, with its kind.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&Arc<str>, EventKind)> {
        let ports =
            self.inputs.iter().flat_map(|input| input.output.iter().chain(input.ports.iter().map(|(_, port)| port)));
        ports.filter_map(|port| port.kind.map(|kind| (&port.topic, kind)))
    }

    fn add_inputs(&mut self, topology: &Topology, stage: &Stage, rehearsal: Option<&Rehearsal>) -> Result<(), String> {
        let counted = &mut self.counted;
        let mut port = |topic: &String| {
            let topic = topology.topics.get(topic).ok_or_else(|| format!("topic {topic} is not in the topology"))?;
            let is_read = topology.reader_of(&topic.name).is_some();
            Ok::<_, String>(Port {
                counted: is_read.then(|| number_of(counted, &topic.name, topic.partitions)),
                topic: Arc::from(topic.name.as_str()),
                partitions: topic.partitions,
                kind: topic.kind,
                delivery: match (topic.kind, rehearsal) {
                    (Some(kind), Some(rehearsal)) if rehearsal.withheld.contains(&kind) => Delivery::Withheld,
                    _ => Delivery::Written,
                },
            })
        };
        let mut ports: BTreeMap<&'static str, Port> = BTreeMap::new();
        let declared = stage.inputs.iter().flat_map(|input| &input.chain).flat_map(|link| link.processor.ports);
        for spec in declared {
            if let Some(topic) = stage.ports.get(spec.name) {
                ports.insert(spec.name, port(topic)?);
            }
        }
        let ports: Arc<[_]> = ports.into_iter().collect();
        for input in &stage.inputs {
            let mut processors = Vec::with_capacity(input.chain.len());
            for link in &input.chain {
                let built = (link.processor.build)(&link.settings);
                processors.push(built.map_err(|errors| format!("settings of {}: {errors:?}", link.processor.name))?);
            }
            let topic: Arc<str> = Arc::from(input.topic.as_str());
            let name = format!("{}/{}", stage.name, input.topic);
            self.names.push(name.clone());
            self.inputs.push(InputProgram {
                number: self.inputs.len(),
                name,
                is_compacted: topology.topics.get(&input.topic).is_some_and(|topic| topic.cleanup == Cleanup::Compact),
                head: head_of(topology, input)?,
                topic,
                stage: Arc::from(stage.name.as_str()),
                processors,
                output: input.output.as_ref().map(&mut port).transpose()?,
                ports: Arc::clone(&ports),
                dead_letters: port(&input.dead_letters)?,
                on_error: stage.on_error,
                parking: match &input.parked {
                    Some(topic) => Some(ParkingProgram { port: port(topic)?, limits: stage.parking }),
                    None => None,
                },
                circuit: stage.circuit,
            });
        }
        Ok(())
    }
}

impl InputProgram {
    pub(crate) fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|(known, _)| *known == name).map(|(_, port)| port)
    }
}

/// Numbers the topic among those that are counted.
fn number_of(counted: &mut Vec<(Arc<str>, u32)>, topic: &str, partitions: u32) -> usize {
    counted.iter().position(|(known, _)| **known == *topic).unwrap_or_else(|| {
        counted.push((Arc::from(topic), partitions));
        counted.len() - 1
    })
}

fn head_of(topology: &Topology, input: &Input) -> Result<Head, String> {
    let first = input.chain.first().ok_or_else(|| format!("the chain of {} is empty", input.topic))?.processor;
    if first.signatures.iter().any(|signature| signature.takes == RawEvent::KIND) {
        return Ok(Head::Raw { decodes: first.decodes });
    }
    let topic = topology.topics.get(&input.topic).ok_or_else(|| format!("topic {} is not known", input.topic))?;
    topic.kind.map(Head::Event).ok_or_else(|| format!("nobody knows what lies in topic {}", input.topic))
}

impl ReferenceTables {
    fn add(&mut self, stage: &Stage) -> Result<(), String> {
        for plan in &stage.references {
            if !self.tables.contains_key(plan.spec.name) {
                let built = (plan.spec.build)(&plan.settings);
                let table = built.map_err(|errors| format!("settings of {}: {errors:?}", plan.spec.name))?;
                self.tables.insert(plan.spec.name, table);
            }
            self.topics.insert(Arc::from(plan.topic.as_str()), (plan.spec.name, plan.spec.kind));
        }
        Ok(())
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&Arc<str>, EventKind)> {
        self.topics.iter().map(|(topic, (_, kind))| (topic, *kind))
    }

    /// The table that is kept up to date from `topic`.
    pub(crate) fn of_topic(&mut self, topic: &str) -> Option<(&mut Box<dyn ReferenceTable>, EventKind)> {
        let (name, kind) = self.topics.get(topic)?;
        Some((self.tables.get_mut(name)?, *kind))
    }
}

impl References for ReferenceTables {
    fn get(&self, name: &'static str) -> Option<&dyn ReferenceTable> {
        self.tables.get(name).map(Box::as_ref)
    }
}
