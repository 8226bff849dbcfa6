//! Releases what is parked: reads the parked topics of tasks with keys whose head is resolved, and takes from them what is
//! the next of its key. What is not is passed over, and found when the topic is read again.
//!
//! Invariant: positions here are only where to look. What has been released is in the state alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::RecordView;

use crate::broker::{Isolation, Reader, RecordBatch, TopicPartition};
use crate::parking::Ticket;
use crate::status::first_timestamp;
use crate::worker::{Worker, WorkerError};

const RECORDS_PER_POLL_MAX: usize = 2_000;
const POLL_WAIT: Duration = Duration::from_millis(2);
/// Before the topic is read once more.
const PASS_GAP: Duration = Duration::from_millis(20);
/// A key whose records keep arriving would never be free. After so many passes nothing else is read until all are.
const PASSES_BESIDE_INPUTS: u32 = 8;
/// So often in a row a pass may find nothing of what the state says is there.
const EMPTY_PASSES_MAX: u32 = 50;

/// One parked topic of one task that is read.
struct Scan {
    /// Number of the input.
    input: usize,
    /// Records released in this pass.
    released: u64,
    /// Behind the last record that this pass has read.
    read_to: u64,
    /// Offset of the first record in this pass whose turn is still to come.
    first_waiting: Option<u64>,
    passes: u32,
    empty_passes: u32,
    /// A pass has ended; the next begins then.
    next_pass_at: Option<Duration>,
}

/// When a record that is parked is processed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    Later,
    /// It has been, or nobody knows its key any more.
    Over,
}

#[derive(Default)]
pub(super) struct Release {
    reader: Option<Box<dyn Reader>>,
    batch: RecordBatch,
    scans: BTreeMap<TopicPartition, Scan>,
    /// Of the worker, when the scans began: going back undoes what they have released.
    rewinds: u64,
    /// No more may wait before something has been released.
    pub(super) is_urgent: bool,
    /// Only what operators have decided is read, because it may make room.
    is_for_decisions: bool,
}

impl Release {
    pub(super) fn is_active(&self) -> bool {
        !self.scans.is_empty()
    }

    /// Whether records of the inputs have to wait.
    pub(super) fn comes_first(&self) -> bool {
        self.is_active() && self.is_urgent || self.scans.values().any(|scan| scan.passes >= PASSES_BESIDE_INPUTS)
    }
}

impl Worker {
    /// Releases some of what can be released.
    pub(super) fn release_parked(&mut self) -> Result<(), WorkerError> {
        let is_releasing = self.tasks.values().any(|task| task.parking.is_releasing);
        if !is_releasing && !self.release.is_active() {
            self.release.is_urgent = false;
            return Ok(());
        }
        self.drop_scans()?;
        self.begin_scans()?;
        let mut batch = std::mem::take(&mut self.release.batch);
        let read = match &mut self.release.reader {
            Some(reader) => reader.poll(&mut batch, RECORDS_PER_POLL_MAX, POLL_WAIT).map_err(WorkerError::from),
            None => {
                batch.clear();
                Ok(())
            }
        };
        let released = read.and_then(|()| self.release_batch(&batch));
        self.release.batch = batch;
        released?;
        // What the passes have seen was seen by a transaction that is undone.
        if self.release.rewinds != self.rewinds {
            return Ok(());
        }
        self.end_passes()
    }

    /// More than may wait would have to. What is being released makes room, so that goes first, and the records are read
    /// again behind it; so does what operators have decided. Otherwise somebody has to act, and what has been done so far is
    /// not done again for that.
    pub(super) fn make_room(&mut self, full: WorkerError) -> Result<(), WorkerError> {
        self.commit()?;
        if self.tasks.values().any(|task| task.parking.is_releasing) {
            self.release.is_urgent = true;
            return self.seek_all();
        }
        if !self.has_decisions()? {
            return Err(full);
        }
        self.release.is_for_decisions = true;
        self.rewinds += 1;
        for task in self.tasks.values() {
            for (topic, position) in task.positions() {
                let partition = TopicPartition::new(topic.clone(), task.number);
                match self.program.redrive.as_ref() == Some(topic) {
                    true => self.reader.assign(&partition, position)?,
                    false => self.reader.unassign(&partition)?,
                }
            }
        }
        Ok(())
    }

    /// Reads the inputs again, once everything has been taken in that operators have decided.
    pub(super) fn end_decisions(&mut self) -> Result<(), WorkerError> {
        if !self.release.is_for_decisions || !self.batch.is_empty() {
            return Ok(());
        }
        if self.decisions().any(|(partition, _)| !self.reader.reached_end(&partition)) {
            return Ok(());
        }
        self.release.is_for_decisions = false;
        self.seek_all()
    }

    /// The redrive partitions of the tasks, and where they are read on.
    fn decisions(&self) -> impl Iterator<Item = (TopicPartition, u64)> + '_ {
        let of_task = |topic| {
            let tasks = self.tasks.values();
            tasks.filter_map(move |task| {
                Some((TopicPartition::new(Arc::clone(topic), task.number), task.position(topic)?))
            })
        };
        self.program.redrive.iter().flat_map(of_task)
    }

    fn has_decisions(&self) -> Result<bool, WorkerError> {
        for (partition, next_offset) in self.decisions() {
            if first_timestamp(self.shared.broker.as_ref(), &partition, next_offset)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets what is read for tasks that are not here, and everything after going back.
    fn drop_scans(&mut self) -> Result<(), WorkerError> {
        let has_gone_back = self.release.rewinds != self.rewinds;
        self.release.rewinds = self.rewinds;
        let is_gone = |partition: &TopicPartition| has_gone_back || !self.tasks.contains_key(&partition.partition);
        let gone: Vec<TopicPartition> = self.release.scans.keys().filter(|key| is_gone(key)).cloned().collect();
        for partition in gone {
            self.end_scan(&partition)?;
        }
        Ok(())
    }

    fn end_scan(&mut self, partition: &TopicPartition) -> Result<(), WorkerError> {
        self.release.scans.remove(partition);
        match &mut self.release.reader {
            Some(reader) => Ok(reader.unassign(partition)?),
            None => Ok(()),
        }
    }

    fn begin_scans(&mut self) -> Result<(), WorkerError> {
        let mut begun = Vec::new();
        for (number, input) in self.program.inputs.iter().enumerate() {
            let Some(parking) = &input.parking else { continue };
            for task in self.tasks.values_mut().filter(|task| task.parking.is_releasing) {
                let partition = TopicPartition::new(parking.port.topic.clone(), task.number);
                if !self.release.scans.contains_key(&partition) && task.lot(input).input()?.releasing > 0 {
                    begun.push((partition, number));
                }
            }
        }
        for (partition, input) in begun {
            self.assign_scan(&partition, input)?;
            let scan = Scan {
                input,
                released: 0,
                read_to: 0,
                first_waiting: None,
                passes: 0,
                empty_passes: 0,
                next_pass_at: None,
            };
            self.release.scans.insert(partition, scan);
        }
        Ok(())
    }

    /// Reads the topic from where the first record lies that can still wait.
    fn assign_scan(&mut self, partition: &TopicPartition, input: usize) -> Result<(), WorkerError> {
        let Some(task) = self.tasks.get_mut(&partition.partition) else { return Ok(()) };
        let from = task.lot(&self.program.inputs[input]).input()?.scan_from;
        let low = self.shared.broker.watermarks(partition, Isolation::ReadCommitted)?.low;
        if self.release.reader.is_none() {
            self.release.reader = Some(self.shared.broker.reader(Isolation::ReadCommitted)?);
        }
        match &mut self.release.reader {
            Some(reader) => Ok(reader.assign(partition, from.max(low))?),
            None => Ok(()),
        }
    }

    fn release_batch(&mut self, batch: &RecordBatch) -> Result<(), WorkerError> {
        self.output.failed_by.failed_at_ms = self.shared.clock.unix_ms();
        for (index, meta) in batch.metas().iter().enumerate() {
            let partition = TopicPartition::new(meta.topic.clone(), meta.partition);
            let Some(scan) = self.release.scans.get(&partition) else { continue };
            let input = scan.input;
            let headers = batch.headers(index);
            let turn = self.release_record(input, &batch.view(index, &headers))?;
            if let Some(scan) = self.release.scans.get_mut(&partition) {
                scan.read_to = scan.read_to.max(meta.offset + 1);
                match turn {
                    Turn::Now => scan.released += 1,
                    Turn::Later => scan.first_waiting = scan.first_waiting.or(Some(meta.offset)),
                    Turn::Over => {}
                }
            }
            if turn == Turn::Now && self.is_full() {
                let rewinds = self.rewinds;
                self.commit()?;
                if self.rewinds != rewinds {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Processes the record, if it is the next of its key.
    fn release_record(&mut self, number: usize, record: &RecordView<'_>) -> Result<Turn, WorkerError> {
        let Some(task) = self.tasks.get_mut(&record.origin.partition) else { return Ok(Turn::Over) };
        let (Some(key), Some(ticket)) = (record.key, Ticket::of(&record.headers)) else { return Ok(Turn::Over) };
        let input = &self.program.inputs[number];
        if !task.lot(input).is_next(key, ticket)? {
            return Ok(if task.lot(input).waits(key, ticket)? { Turn::Later } else { Turn::Over });
        }
        self.output.transaction.open()?;
        let outcome = self.output.process(input, &self.program.references, task, record)?;
        task.lot(input).take(key, record.origin.offset)?;
        task.count(self.program.released(number), outcome);
        Ok(Turn::Now)
    }

    /// Where a parked topic was read to its end, reads it again as long as something is to be released.
    fn end_passes(&mut self) -> Result<(), WorkerError> {
        let now = self.shared.clock.now();
        let Release { reader: Some(reader), scans, .. } = &mut self.release else { return Ok(()) };
        let mut again = Vec::new();
        for (partition, scan) in scans {
            match scan.next_pass_at {
                None if reader.reached_end(partition) => scan.next_pass_at = Some(now + PASS_GAP),
                Some(at) if at <= now => again.push(partition.clone()),
                _ => {}
            }
        }
        for partition in again {
            self.begin_pass(&partition)?;
        }
        Ok(())
    }

    fn begin_pass(&mut self, partition: &TopicPartition) -> Result<(), WorkerError> {
        let (Some(scan), Some(task)) =
            (self.release.scans.get_mut(partition), self.tasks.get_mut(&partition.partition))
        else {
            return Ok(());
        };
        let input = scan.input;
        let seen_to = scan.first_waiting.take().unwrap_or(scan.read_to);
        let before = task.lot(&self.program.inputs[input]).input()?;
        if seen_to > before.scan_from {
            self.output.transaction.open()?;
            task.lot(&self.program.inputs[input]).scan_from(seen_to)?;
            task.touch();
        }
        let left = before.releasing;
        if left == 0 {
            return self.end_scan(partition);
        }
        // What the open transaction has parked cannot be read yet, nor what stands behind somebody else's.
        let may_hide = self.output.transaction.is_open();
        scan.passes += 1;
        scan.empty_passes = if scan.released > 0 || may_hide { 0 } else { scan.empty_passes + 1 };
        scan.released = 0;
        scan.next_pass_at = None;
        if scan.empty_passes > EMPTY_PASSES_MAX {
            let is_held = !self.shared.broker.held_back(std::slice::from_ref(partition))?.is_empty();
            // Whoever holds it back may end at any moment, and a pass that has looked before that has seen nothing of it.
            scan.empty_passes = 0;
            if !is_held {
                let TopicPartition { topic, partition } = partition;
                let message = format!("{left} keys wait for records of {topic}-{partition} that are not there");
                return Err(WorkerError::Broken(message));
            }
        }
        self.assign_scan(partition, input)
    }
}
