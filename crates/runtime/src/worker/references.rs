//! Reference tables of a worker: read whole before the first record, then kept up to date.

use std::time::Duration;

use tidemill_core::RecordView;

use crate::broker::{Isolation, RecordBatch, TopicPartition};
use crate::codecs::{Codecs, ValueError};
use crate::worker::program::ReferenceTables;
use crate::worker::{Worker, WorkerError};

const BATCH_RECORDS_MAX: usize = 10_000;
const POLL_WAIT: Duration = Duration::from_millis(50);

impl Worker {
    /// Reads every reference topic to its end, and goes on reading it with the data.
    pub(super) fn load_references(&mut self) -> Result<(), WorkerError> {
        let topics: Vec<_> = self.program.references.topics().map(|(topic, _)| topic.clone()).collect();
        let mut batch = RecordBatch::default();
        for topic in topics {
            let partitions = self.shared.topology.topics.get(topic.as_ref()).map_or(1, |topic| topic.partitions);
            for partition in (0..partitions).map(|partition| TopicPartition::new(topic.clone(), partition)) {
                let watermarks = self.shared.broker.watermarks(&partition, Isolation::ReadCommitted)?;
                let mut next_offset = watermarks.low;
                if watermarks.low < watermarks.high {
                    let mut reader = self.shared.broker.reader(Isolation::ReadCommitted)?;
                    reader.assign(&partition, next_offset)?;
                    while next_offset < watermarks.high {
                        reader.poll(&mut batch, BATCH_RECORDS_MAX, POLL_WAIT)?;
                        for index in 0..batch.len() {
                            self.apply_reference(&batch.view(index, &[]))?;
                        }
                        match batch.metas().last() {
                            Some(last) => next_offset = last.offset + 1,
                            None if reader.reached_end(&partition) => break,
                            None => {}
                        }
                    }
                }
                self.reader.assign(&partition, next_offset)?;
            }
        }
        Ok(())
    }

    /// Takes one record into its table. One that cannot be used leaves the table as it was, and an operator is told.
    pub(super) fn apply_reference(&mut self, record: &RecordView<'_>) -> Result<(), WorkerError> {
        match apply(&mut self.program.references, &mut self.output.codecs, record) {
            Ok(()) => Ok(()),
            Err(Refused::Entry(message)) => {
                let origin = record.origin;
                tracing::error!(code = "reference_refused", %origin, message, "a reference entry is not used");
                Ok(())
            }
            Err(Refused::RegistryUnavailable(message)) => Err(WorkerError::RegistryUnavailable(message)),
        }
    }
}

enum Refused {
    Entry(String),
    RegistryUnavailable(String),
}

fn apply(tables: &mut ReferenceTables, codecs: &mut Codecs, record: &RecordView<'_>) -> Result<(), Refused> {
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
