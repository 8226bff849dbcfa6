//! Takes a pipeline away with everything that it has for itself.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use serde::Serialize;
use tidemill_topology::Topology;

use crate::broker::{Broker, BrokerErrorKind};
use crate::codecs::subject_of;
use crate::provision::{ProvisionError, open_sink};
use crate::registry::{RegistryError, SchemaRegistry};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub topics: u64,
    pub groups: u64,
    pub subjects: u64,
    pub read_models: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("{path}: {error}")]
    Folder { path: String, error: std::io::Error },
    /// It is the live one, or the first, and other pipelines may rest on its topics.
    #[error("only a pipeline with a colour can be removed")]
    NoColour,
}

/// Removes topics, groups, subjects, read models and local stores of a pipeline with a colour. What is gone already is
/// passed over, so that a removal that was killed is simply done again.
pub fn remove(
    broker: &dyn Broker,
    registry: &dyn SchemaRegistry,
    topology: &Topology,
) -> Result<Removed, RemovalError> {
    if topology.pipeline.colour.is_none() {
        return Err(RemovalError::NoColour);
    }
    let mut removed = Removed::default();
    for plan in &topology.sinks {
        let mut sink = open_sink(plan)?;
        if let Some(read_model) = sink.read_model() {
            read_model.remove().map_err(|error| ProvisionError::Sink { sink: plan.name.clone(), error })?;
            removed.read_models += 1;
        }
    }
    let pipeline = &topology.pipeline;
    let units = topology.units.iter().map(|unit| unit.group(pipeline));
    for group in units.chain(topology.sinks.iter().map(|sink| sink.group(pipeline))) {
        broker.delete_group(&group).map_err(ProvisionError::from)?;
        removed.groups += 1;
    }
    let existing: BTreeSet<String> =
        broker.topics().map_err(ProvisionError::from)?.into_iter().map(|topic| topic.name).collect();
    // The topic goes last: where it is gone, its subject is.
    for topic in topology.own_topics().filter(|topic| existing.contains(&topic.name)) {
        if topic.kind.is_some() {
            match registry.delete_subject(&subject_of(&topic.name)) {
                Ok(()) | Err(RegistryError::Unknown) => removed.subjects += 1,
                Err(error) => return Err(ProvisionError::Registry(error).into()),
            }
        }
        match broker.delete_topic(&topic.name) {
            Err(error) if error.kind == BrokerErrorKind::NotFound => {}
            result => result.map_err(ProvisionError::from)?,
        }
        removed.topics += 1;
    }
    match std::fs::remove_dir_all(&topology.state_dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(RemovalError::Folder { path: topology.state_dir.display().to_string(), error })
        }
        _ => Ok(removed),
    }
}
