//! Reference tables of a worker: read whole before the first record, then kept up to date.

use std::ops::ControlFlow;

use tidemill_core::RecordView;
use tidemill_topology::Topology;

use crate::broker::{Broker, BrokerError, TopicPartition, read_all};
use crate::codecs::{Codecs, ValueError};
use crate::worker::program::ReferenceTables;
use crate::worker::{Worker, WorkerError};

impl Worker {
    /// Reads every reference topic to its end, and goes on reading it with the data.
    pub(super) fn load_references(&mut self) -> Result<(), WorkerError> {
        let Self { shared, program, output, reader, .. } = self;
        load(
            shared.broker.as_ref(),
            &shared.topology,
            &mut program.references,
            &mut output.codecs,
            |partition, next| reader.assign(partition, next),
        )
    }

    /// Takes one record into its table. One that cannot be used leaves the table as it was, and an operator is told.
    pub(super) fn apply_reference(&mut self, record: &RecordView<'_>) -> Result<(), WorkerError> {
        apply(&mut self.program.references, &mut self.output.codecs, record)
    }
}

/// Fills the tables from everything that their topics hold, and tells `read` where each partition ended.
pub(crate) fn load(
    broker: &dyn Broker,
    topology: &Topology,
    tables: &mut ReferenceTables,
    codecs: &mut Codecs,
    mut read: impl FnMut(&TopicPartition, u64) -> Result<(), BrokerError>,
) -> Result<(), WorkerError> {
    let topics: Vec<_> = tables.topics().map(|(topic, _)| topic.clone()).collect();
    for topic in topics {
        let partitions = topology.topics.get(topic.as_ref()).map_or(1, |topic| topic.partitions);
        for partition in (0..partitions).map(|partition| TopicPartition::new(topic.clone(), partition)) {
            let next_offset = read_all(broker, &partition, |record| {
                apply(tables, codecs, record)?;
                Ok::<_, WorkerError>(ControlFlow::Continue(()))
            })?;
            read(&partition, next_offset)?;
        }
    }
    Ok(())
}

fn apply(tables: &mut ReferenceTables, codecs: &mut Codecs, record: &RecordView<'_>) -> Result<(), WorkerError> {
    match take(tables, codecs, record) {
        Ok(()) => Ok(()),
        Err(Refused::Entry(message)) => {
            let origin = record.origin;
            tracing::error!(code = "reference_refused", %origin, error = message, "a reference entry is not used");
            Ok(())
        }
        Err(Refused::RegistryUnavailable(message)) => Err(WorkerError::RegistryUnavailable(message)),
    }
}

enum Refused {
    Entry(String),
    RegistryUnavailable(String),
}

fn take(tables: &mut ReferenceTables, codecs: &mut Codecs, record: &RecordView<'_>) -> Result<(), Refused> {
    let Some((table, kind)) = tables.of_topic(record.origin.topic) else { return Ok(()) };
    let event = match record.value {
        None => None,
        Some(value) => Some(codecs.decode(kind, value).map_err(|error| match error {
            ValueError::Unreadable(error) => Refused::Entry(error.to_string()),
            ValueError::UnknownSchema => Refused::Entry("its schema is not registered".to_owned()),
            ValueError::Unavailable(message) => Refused::RegistryUnavailable(message),
        })?),
    };
    table.apply(record.key.unwrap_or_default(), event).map_err(Refused::Entry)
}
