//! What a topology needs on the broker, in the registry and in the databases: `plan` compares, `apply` makes it so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tidemill_core::{EventCodec, Framing, Sink, SinkError};
use tidemill_topology::Topology;
use tidemill_topology::plan::{self, Cleanup, Topic};

use crate::broker::{Broker, BrokerError, NewTopic};
use crate::codecs::{is_same_schema, subject_of};
use crate::registry::{RegistryError, SchemaRegistry};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    CreateTopic(NewTopic),
    SetCompatibility {
        subject: String,
        level: &'static str,
    },
    RegisterSchema {
        subject: String,
        kind: &'static str,
        version: u32,
        schema: &'static str,
    },
    /// What the sink says it would do.
    MigrateSink {
        sink: String,
        what: String,
    },
}

/// A difference that cannot be made good without losing something; a person has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub what: String,
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub refusals: Vec<Refusal>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    #[error("broker: {0}")]
    Broker(#[from] BrokerError),
    #[error("schema registry: {0}")]
    Registry(#[from] RegistryError),
    #[error("sink {sink}: {error}")]
    Sink { sink: String, error: SinkError },
    #[error("{sink}: {message}")]
    Settings { sink: String, message: String },
}

/// Everything that is provisioned together.
pub struct Provisioner {
    pub topology: Arc<Topology>,
    pub broker: Arc<dyn Broker>,
    pub registry: Arc<dyn SchemaRegistry>,
    pub codecs: &'static [EventCodec],
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.refusals.is_empty()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTopic(topic) => {
                write!(out, "create topic {} with {} partitions", topic.name, topic.partitions)?;
                let config: Vec<String> = topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
                if config.is_empty() { Ok(()) } else { write!(out, " ({})", config.join(", ")) }
            }
            Self::SetCompatibility { subject, level } => write!(out, "set compatibility of {subject} to {level}"),
            Self::RegisterSchema { subject, kind, version, .. } => {
                write!(out, "register {kind} v{version} under {subject}")
            }
            Self::MigrateSink { sink, what } => write!(out, "sink {sink}: {what}"),
        }
    }
}

impl Provisioner {
    /// What is missing. Changes nothing.
    pub fn plan(&self) -> Result<Plan, ProvisionError> {
        let mut plan = Plan::default();
        self.plan_topics(&mut plan)?;
        self.plan_schemas(&mut plan)?;
        for sink_plan in &self.topology.sinks {
            let mut sink = open_sink(sink_plan)?;
            let sink_error = |error| ProvisionError::Sink { sink: sink_plan.name.clone(), error };
            for what in sink.plan().map_err(sink_error)? {
                plan.steps.push(Step::MigrateSink { sink: sink_plan.name.clone(), what });
            }
        }
        Ok(plan)
    }

    /// Does what the plan says, telling `done` about each step. Steps that somebody else has done meanwhile are fine.
    pub fn apply(&self, plan: &Plan, mut done: impl FnMut(&Step)) -> Result<(), ProvisionError> {
        let mut migrated: Vec<&str> = Vec::new();
        for step in &plan.steps {
            match step {
                Step::CreateTopic(topic) => match self.broker.create_topic(topic) {
                    Err(error) if error.kind == crate::broker::BrokerErrorKind::AlreadyExists => {}
                    result => result?,
                },
                Step::SetCompatibility { subject, level } => self.registry.set_compatibility(subject, level)?,
                Step::RegisterSchema { subject, schema, .. } => {
                    self.registry.register(subject, schema)?;
                }
                Step::MigrateSink { sink, .. } => {
                    if !migrated.contains(&sink.as_str()) {
                        self.migrate(sink)?;
                        migrated.push(sink);
                    }
                }
            }
            done(step);
        }
        Ok(())
    }

    fn plan_topics(&self, plan: &mut Plan) -> Result<(), ProvisionError> {
        let existing: BTreeMap<String, u32> =
            self.broker.topics()?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        let replication = match &self.topology.broker {
            plan::Broker::Kafka { replication, .. } => *replication,
            plan::Broker::Embedded { .. } => 1,
        };
        for topic in self.topology.topics.values() {
            match existing.get(&topic.name) {
                None => plan.steps.push(Step::CreateTopic(new_topic(topic, replication))),
                Some(partitions) if *partitions != topic.partitions => plan.refusals.push(Refusal {
                    what: format!("topic {} has {partitions} partitions, not {}", topic.name, topic.partitions),
                    why: "the number of partitions decides which account lies where, so it cannot change; \
                          start a new pipeline with new topics and replay into it"
                        .to_owned(),
                }),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn plan_schemas(&self, plan: &mut Plan) -> Result<(), ProvisionError> {
        for topic in self.topology.topics.values() {
            let registered =
                |kind| self.codecs.iter().find(|codec| codec.kind == kind && codec.framing == Framing::Confluent);
            let Some(codec) = topic.kind.and_then(registered) else { continue };
            let subject = subject_of(&topic.name);
            let latest = self.registry.latest(&subject)?;
            if latest.as_ref().is_some_and(|(_, _, schema)| is_same_schema(schema, codec.schema)) {
                continue;
            }
            if latest.is_some() && !self.registry.is_compatible(&subject, codec.schema)? {
                plan.refusals.push(Refusal {
                    what: format!("schema {} v{} under {subject}", codec.kind.name, codec.version),
                    why: "it is not compatible with what is registered".to_owned(),
                });
                continue;
            }
            if latest.is_none() {
                plan.steps.push(Step::SetCompatibility { subject: subject.clone(), level: codec.compatibility });
            }
            plan.steps.push(Step::RegisterSchema {
                subject,
                kind: codec.kind.name,
                version: codec.version,
                schema: codec.schema,
            });
        }
        Ok(())
    }

    fn migrate(&self, name: &str) -> Result<(), ProvisionError> {
        let Some(sink_plan) = self.topology.sinks.iter().find(|sink| sink.name == name) else { return Ok(()) };
        let mut sink = open_sink(sink_plan)?;
        sink.apply().map_err(|error| ProvisionError::Sink { sink: name.to_owned(), error })
    }
}

/// Opens a sink of the topology; its settings have been checked.
pub fn open_sink(plan: &plan::SinkPlan) -> Result<Box<dyn Sink>, ProvisionError> {
    (plan.spec.open)(&plan.name, &plan.settings).map_err(|errors| ProvisionError::Settings {
        sink: plan.name.clone(),
        message: errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; "),
    })
}

fn new_topic(topic: &Topic, replication: u16) -> NewTopic {
    let mut config = topic.config.clone();
    let policy = match topic.cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
    };
    config.entry("cleanup.policy".to_owned()).or_insert_with(|| policy.to_owned());
    NewTopic { name: topic.name.clone(), partitions: topic.partitions, replication, config }
}
