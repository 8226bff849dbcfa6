//! One record: decoded, taken through its chain, and its effects written into the open transaction.

use std::fmt::Write as _;

use tidemill_core::chain::{self, Ended, Surroundings};
use tidemill_core::effects::Write;
use tidemill_core::{AnyEvent, Class, CodeSpec, Effects, Event, Outcome, RawEvent, RecordView, Reject, partition};
use tidemill_topology::plan::OnError;

use crate::broker::Outgoing;
use crate::codecs::{Codecs, ValueError, subject_of};
use crate::dead_letter::{self, FailedBy, Failure};
use crate::reconciliation::SetAside;
use crate::task::Task;
use crate::transaction::Transaction;
use crate::worker::WorkerError;
use crate::worker::latest::{Kept, Latest};
use crate::worker::program::{Delivery, Head, InputProgram, Port, Program, ReferenceTables};

/// A record of a topic with a schema could not be read. Only somebody who writes past Tidemill can cause it.
pub static VALUE_UNREADABLE: CodeSpec = CodeSpec {
    code: "value_unreadable",
    class: Class::Decode,
    summary: "The value is not in the Confluent wire format, or not a datum of the schema it names.",
    remedy: "Find out who wrote it: on this topic only the pipeline should. Mend the record and replay it.",
};

/// A record names a schema that the registry does not know.
pub static VALUE_SCHEMA_UNKNOWN: CodeSpec = CodeSpec {
    code: "value_schema_unknown",
    class: Class::Schema,
    summary: "The schema id of the value is not registered, or stands for another kind of event.",
    remedy: "Register the schema, or mend the record, and replay it with `tidemill dlq plan`.",
};

/// What a worker writes records with. Everything here belongs to the worker's one transaction.
pub(crate) struct Output {
    pub(crate) transaction: Transaction,
    pub(crate) codecs: Codecs,
    pub(crate) latest: Latest,
    pub(crate) failed_by: FailedBy,
    /// Records of the open transaction by number of the counted topic and partition.
    pub(crate) written: Vec<Vec<u64>>,
    produced_by: String,
    key: Vec<u8>,
    value: Vec<u8>,
    effects: Effects,
}

/// Where an emitted event comes from: what its identity is derived from.
#[derive(Clone, Copy)]
struct Source<'a> {
    record: &'a RecordView<'a>,
    ordinal: u32,
}

/// Whether an event has a key, which is in [`Output::key`] then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Found,
    Absent,
}

impl Output {
    pub(crate) fn new(transaction: Transaction, codecs: Codecs, failed_by: FailedBy, program: &Program) -> Self {
        let none = |(_, partitions): &(_, u32)| vec![0; *partitions as usize];
        Self {
            written: program.counted.iter().map(none).collect(),
            transaction,
            codecs,
            latest: Latest::default(),
            produced_by: failed_by.produced_by.clone(),
            failed_by,
            key: Vec::new(),
            value: Vec::new(),
            effects: Effects::default(),
        }
    }

    /// Takes one record through its chain. The task's state and positions are staged, its effects are in the transaction.
    pub(crate) fn process(
        &mut self,
        input: &InputProgram,
        references: &ReferenceTables,
        task: &mut Task,
        record: &RecordView<'_>,
    ) -> Result<Outcome, WorkerError> {
        let event = match decode(&mut self.codecs, input, record)? {
            Ok(event) => event,
            Err(reject) => return self.bury(input, task, record, &reject),
        };
        let decodes = match input.head {
            Head::Raw { decodes } => decodes,
            Head::Event(_) => None,
        };
        let schemas = self.codecs.for_kind(decodes);
        let around = Surroundings { task: task.number, references, schemas: &schemas };
        let ended = chain::run(&input.processors, event, *record, &mut task.state, &mut self.effects, around);
        if !sabotaged!(ReadFailureIsReject) {
            task.state.check_reads()?;
        }
        let ended = ended?;
        let outcome = match ended {
            Ended::Passed(event) => {
                self.write_effects(input, record)?;
                match &input.output {
                    Some(port) => self.emit(port, event, Write::Append, Source { record, ordinal: 0 })?,
                    None => tracing::debug!(topic = %input.topic, "the chain passed an event on to nowhere"),
                }
                return Ok(Outcome::Passed);
            }
            Ended::Done(outcome) => outcome,
            Ended::Answered(reject) => Outcome::Rejected(reject.code().code),
            Ended::Unanswered(reject) => {
                self.write_effects(input, record)?;
                return self.bury(input, task, record, &reject);
            }
        };
        self.write_effects(input, record)?;
        Ok(outcome)
    }

    fn write_effects(&mut self, input: &InputProgram, record: &RecordView<'_>) -> Result<(), WorkerError> {
        let mut effects = std::mem::take(&mut self.effects);
        for (effect, ordinal) in effects.drain().zip(1..) {
            let Some(port) = input.port(effect.port) else {
                return Err(WorkerError::Broken(format!("stage {} has no port {}", input.stage, effect.port)));
            };
            self.emit(port, effect.event, effect.write, Source { record, ordinal })?;
        }
        self.effects = effects;
        Ok(())
    }

    fn emit(&mut self, port: &Port, mut event: AnyEvent, write: Write, source: Source<'_>) -> Result<(), WorkerError> {
        if port.delivery == Delivery::Withheld {
            return Ok(());
        }
        if let Some(meta) = event.meta_mut() {
            meta.record_id.clear();
            let _infallible = write!(meta.record_id, "{}/{}", source.record.origin, source.ordinal);
            meta.produced_by.clone_from(&self.produced_by);
            meta.traceparent = source.record.headers.text("traceparent").map(ToOwned::to_owned);
        }
        let key = self.find_key(event.as_ref());
        let partition = match key {
            Key::Found => partition::partition_of(&self.key, port.partitions),
            Key::Absent => source.record.origin.partition % port.partitions.max(1),
        };
        match write {
            Write::Append => self.send(port, partition, key, event.as_ref()),
            Write::Latest => {
                self.latest.keep(port, partition, &self.key, event);
                Ok(())
            }
        }
    }

    fn find_key(&mut self, event: &dyn Event) -> Key {
        self.key.clear();
        if event.key(&mut self.key) { Key::Found } else { Key::Absent }
    }

    /// Encodes the event whose key was looked for last, and writes it.
    fn send(&mut self, port: &Port, partition: u32, key: Key, event: &dyn Event) -> Result<(), WorkerError> {
        let topic: &str = &port.topic;
        self.value.clear();
        let encoded = self.codecs.encode(topic, event, &mut self.value);
        encoded.map_err(|error| WorkerError::Broken(format!("an event for {topic} cannot be encoded: {error}")))?;
        self.transaction.send(&Outgoing {
            topic,
            partition,
            timestamp_ms: event.event_time().millis(),
            key: (key == Key::Found).then_some(self.key.as_slice()),
            value: Some(&self.value),
            headers: &[],
        })?;
        if let Some(count) = port.counted.and_then(|number| self.written.get_mut(number)?.get_mut(partition as usize)) {
            *count += 1;
        }
        Ok(())
    }

    /// Writes the record to the dead letters, unless the failure has to stop the worker.
    pub(crate) fn bury(
        &mut self,
        input: &InputProgram,
        task: &mut Task,
        record: &RecordView<'_>,
        reject: &Reject,
    ) -> Result<Outcome, WorkerError> {
        let stops = match reject.class() {
            Class::Invariant => true,
            Class::Bug => input.on_error == OnError::Stop,
            Class::Decode | Class::Schema | Class::Validation | Class::Business => false,
        };
        if stops {
            return Err(WorkerError::StoppedOnBug {
                stage: input.stage.to_string(),
                origin: record.origin.to_string(),
                code: reject.code().code,
                message: reject.message().to_owned(),
            });
        }
        let schema_id = dead_letter::schema_id(record.value);
        let schema_version = schema_id.and_then(|id| self.codecs.version_of(&subject_of(&input.topic), id));
        let failure = Failure { schema_version, ..Failure::of(reject, &input.stage, &input.topic, &self.failed_by) };
        let headers = dead_letter::headers(record, &failure);
        self.transaction.send(&Outgoing {
            topic: &input.dead_letters.topic,
            partition: record.origin.partition % input.dead_letters.partitions.max(1),
            timestamp_ms: record.event_time.millis(),
            key: record.key,
            value: record.value,
            headers: &dead_letter::borrowed(&headers),
        })?;
        task.set_aside(input.number, SetAside { dead_letters: 1, ..SetAside::default() });
        self.park(input, task, record)?;
        tracing::debug!(
            code = reject.code().code,
            stage = %input.stage,
            topic = %input.topic,
            partition = record.origin.partition,
            offset = record.origin.offset,
            "record written to the dead letters"
        );
        Ok(Outcome::Dead(reject.code().code))
    }

    /// Writes the current values that were kept back until the end of the transaction.
    pub(crate) fn write_latest(&mut self) -> Result<(), WorkerError> {
        for Kept { port, partition, event } in self.latest.drain() {
            let key = self.find_key(event.as_ref());
            self.send(&port, partition, key, event.as_ref())?;
        }
        Ok(())
    }

    pub(crate) fn discard(&mut self) {
        if !sabotaged!(KeepLatest) {
            let _discarded = self.latest.drain();
        }
        let _discarded = self.effects.drain().count();
        self.written.iter_mut().for_each(|partitions| partitions.fill(0));
    }
}

/// The record as the first processor of the chain takes it.
pub(crate) fn decode(
    codecs: &mut Codecs,
    input: &InputProgram,
    record: &RecordView<'_>,
) -> Result<Result<AnyEvent, Reject>, WorkerError> {
    match input.head {
        Head::Raw { decodes: None } => Ok(Ok(Box::new(RawEvent))),
        Head::Raw { decodes: Some(kind) } => {
            if let Some(value) = record.value {
                codecs.look_ahead(kind, value).map_err(WorkerError::RegistryUnavailable)?;
            }
            Ok(Ok(Box::new(RawEvent)))
        }
        Head::Event(kind) => match codecs.decode(kind, record.value.unwrap_or_default()) {
            Ok(event) => Ok(Ok(event)),
            Err(ValueError::Unreadable(error)) => Ok(Err(Reject::new(&VALUE_UNREADABLE).because(error.message))),
            Err(ValueError::UnknownSchema) => Ok(Err(Reject::new(&VALUE_SCHEMA_UNKNOWN))),
            Err(ValueError::Unavailable(message)) => Err(WorkerError::RegistryUnavailable(message)),
        },
    }
}
