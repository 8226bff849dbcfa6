//! Reference tables as workers have them.

use std::ops::ControlFlow;
use std::sync::Arc;

use tidemill_core::ReferenceTable;
use tidemill_runtime::broker::{TopicPartition, read_all};
use tidemill_runtime::codecs::{Codecs, ValueError};
use tidemill_topology::plan::ReferencePlan;

use crate::exit::{Exit, Failure};
use crate::session::Session;

/// As a worker has it: the settings, and over them what the topic holds.
pub(crate) fn reference_table(session: &Session, plan: &ReferencePlan) -> Result<Box<dyn ReferenceTable>, Failure> {
    let built = (plan.spec.build)(&plan.settings);
    let mut table = built.map_err(|errors| Failure::new(Exit::Config, format!("{}: {errors:?}", plan.spec.name)))?;
    let mut codecs = Codecs::new(Arc::clone(&session.registry), tidemill_schemas::CODECS);
    let partitions = session.topology.topics.get(&plan.topic).map_or(1, |topic| topic.partitions);
    for partition in (0..partitions).map(|number| TopicPartition::new(plan.topic.as_str(), number)) {
        read_all(session.broker.as_ref(), &partition, |record| {
            let event = match record.value.map(|value| codecs.decode(plan.spec.kind, value)).transpose() {
                Ok(event) => event,
                Err(ValueError::Unavailable(message)) => return Err(Failure::new(Exit::Unreachable, message)),
                // A worker does not use it either, and says so.
                Err(_) => return Ok(ControlFlow::Continue(())),
            };
            if let Err(message) = table.apply(record.key.unwrap_or_default(), event) {
                tracing::warn!(origin = %record.origin, error = message, "a reference entry is not used");
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(table)
}
