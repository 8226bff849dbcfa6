//! What a worker does with a record of a parked key, and with one that fails.

use std::sync::Arc;

use tidemill_core::{Outcome, RecordView, StateError};
use tidemill_topology::plan::ParkingLimits;

use crate::broker::Outgoing;
use crate::dead_letter::{self, FirstOrigin, OwnedHeader, sent_back};
use crate::parking::lot::{Full, Lot};
use crate::parking::{PARKED_BEHIND, TICKET, Ticket};
use crate::reconciliation::SetAside;
use crate::task::Task;
use crate::task::checkpoint::Checkpoint;
use crate::worker::WorkerError;
use crate::worker::process::Output;
use crate::worker::program::{InputProgram, Port};

/// Where records of an input wait, and how many may.
pub(crate) struct ParkingProgram {
    pub(crate) port: Port,
    pub(crate) limits: ParkingLimits,
}

impl Task {
    pub(crate) fn lot<'a>(&'a mut self, input: &'a InputProgram) -> Lot<'a> {
        Lot { state: &mut self.state, flags: &mut self.parking, topic: &input.topic }
    }

    /// What is parked of an input whose stage does not park any more, as topic and keys: nobody would release it.
    pub(crate) fn parked_for_nobody(&mut self, inputs: &[InputProgram]) -> Result<Option<(String, u64)>, StateError> {
        for input in inputs.iter().filter(|input| input.parking.is_none()) {
            let keys = self.lot(input).input()?.keys;
            if keys > 0 {
                return Ok(Some((input.topic.to_string(), keys)));
            }
        }
        Ok(None)
    }

    /// Writes down how many records wait, by the state: what the figures say of that must be the same.
    pub(crate) fn note_waiting(
        &mut self,
        inputs: &[InputProgram],
        checkpoint: &mut Checkpoint,
    ) -> Result<(), StateError> {
        for input in inputs.iter().filter(|input| input.parking.is_some()) {
            let waiting = if self.parking.is_holding { self.lot(input).input()?.records } else { 0 };
            match checkpoint.tally.set_aside.get_mut(&input.name) {
                Some(set_aside) => set_aside.waiting = waiting,
                None if waiting > 0 => {
                    let set_aside = SetAside { waiting, ..SetAside::default() };
                    checkpoint.tally.set_aside.insert(input.name.clone(), set_aside);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Parked topics with the offset before which no committed record waits, where that is news.
    pub(crate) fn newly_dead(&mut self, inputs: &[InputProgram]) -> Result<Vec<(Arc<str>, u64)>, StateError> {
        let mut dead = Vec::new();
        for input in inputs {
            let Some(parking) = &input.parking else { continue };
            let before = self.lot(input).input()?.scan_from;
            if self.is_dead_before(input.number, before) {
                dead.push((parking.port.topic.clone(), before));
            }
        }
        Ok(dead)
    }

    /// Looks up what is parked, so that a task that holds nothing back asks no more.
    pub(crate) fn refresh_parking(&mut self, inputs: &[InputProgram]) -> Result<(), StateError> {
        let (mut keys, mut releasing) = (0, 0);
        for input in inputs.iter().filter(|input| input.parking.is_some()) {
            let parked = self.lot(input).input()?;
            keys += parked.keys;
            releasing += parked.releasing;
        }
        self.parking.is_holding = keys > 0;
        self.parking.is_releasing = releasing > 0 && !sabotaged!(ForgetReleasing);
        Ok(())
    }
}

impl Output {
    /// Writes the record to those that wait, if its key is parked.
    pub(crate) fn hold_back(
        &mut self,
        input: &InputProgram,
        task: &mut Task,
        record: &RecordView<'_>,
    ) -> Result<Option<Outcome>, WorkerError> {
        let (Some(parking), true, Some(key)) = (&input.parking, task.parking.is_holding, record.key) else {
            return Ok(None);
        };
        let Some(parked) = task.lot(input).get(key)? else { return Ok(None) };
        let head = parked.head.clone();
        let ticket = match task.lot(input).hold_back(key, parked, self.failed_by.failed_at_ms, parking.limits)? {
            Ok(ticket) => ticket,
            Err(full) => return Err(full_of(input, parking.limits, full)),
        };
        let headers = waiting_headers(record, ticket, &head);
        self.transaction.send(&Outgoing {
            topic: &parking.port.topic,
            partition: task.number,
            timestamp_ms: record.event_time.millis(),
            key: record.key,
            value: record.value,
            headers: &dead_letter::borrowed(&headers),
        })?;
        task.set_aside(input.number, SetAside { parked: 1, ..SetAside::default() });
        Ok(Some(Outcome::Parked))
    }

    /// Parks the key of a record that has become a dead letter, if its stage does so.
    pub(crate) fn park(
        &mut self,
        input: &InputProgram,
        task: &mut Task,
        record: &RecordView<'_>,
    ) -> Result<(), WorkerError> {
        let (Some(parking), Some(key)) = (&input.parking, record.key) else { return Ok(()) };
        let now_ms = self.failed_by.failed_at_ms;
        let parked = task.lot(input).park(key, dead_letter::id(record), now_ms, parking.limits)?;
        parked.map_err(|full| full_of(input, parking.limits, full))
    }
}

fn waiting_headers(record: &RecordView<'_>, ticket: Ticket, head: &str) -> Vec<OwnedHeader> {
    let owned = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
    let mut headers: Vec<OwnedHeader> = dead_letter::original_headers(&record.headers).map(owned).collect();
    headers.extend(FirstOrigin::of(record).headers());
    let replays = dead_letter::replay_count(&record.headers);
    if replays > 0 {
        headers.push((sent_back::REPLAY_COUNT.to_owned(), Some(replays.to_string().into_bytes())));
    }
    headers.push((PARKED_BEHIND.to_owned(), Some(head.as_bytes().to_vec())));
    headers.push((TICKET.to_owned(), Some(ticket.to_string().into_bytes())));
    headers
}

fn full_of(input: &InputProgram, limits: ParkingLimits, full: Full) -> WorkerError {
    let (what, max) = match full {
        Full::Keys => ("keys", limits.keys_max),
        Full::RecordsOfKey => ("records of one key", limits.records_per_key_max),
        Full::Age => {
            let (stage, topic) = (input.stage.to_string(), input.topic.to_string());
            return WorkerError::ParkedTooLong { stage, topic, age_s_max: limits.age_s_max };
        }
    };
    WorkerError::ParkingFull { stage: input.stage.to_string(), topic: input.topic.to_string(), what, max }
}
