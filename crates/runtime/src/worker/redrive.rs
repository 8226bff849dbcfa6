//! What comes back to the unit: dead letters that are sent to the stage that failed, and what an operator has decided about
//! them. They lie in the unit's redrive topic, which is an input like any other.

use tidemill_core::{Class, CodeSpec, Outcome, RecordView, Reject};

use crate::dead_letter::sent_back;
use crate::task::Place;
use crate::worker::{Worker, WorkerError};

/// Who writes to the redrive topic names the input. Only somebody who writes past Tidemill does not.
pub static REDRIVE_UNADDRESSED: CodeSpec = CodeSpec {
    code: "redrive_unaddressed",
    class: Class::Schema,
    summary: "A record of the redrive topic does not name an input of this unit.",
    remedy: "Find out who wrote it: on this topic only `tidemill dlq` should. Discard the dead letter.",
};

/// What an operator has decided about a dead letter without sending it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is given up. What waits behind it goes on.
    Discard,
    /// What waits behind it goes on without it; it stays a dead letter.
    Release,
}

impl Decision {
    pub fn name(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Release => "release",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Discard, Self::Release].into_iter().find(|decision| decision.name() == text)
    }
}

impl Worker {
    pub(super) fn is_redrive(&self, topic: &str) -> bool {
        self.program.redrive.as_deref() == Some(topic)
    }

    /// Takes one record of the redrive topic in. Says whether anything was done.
    pub(super) fn process_redriven(&mut self, place: Place<'_>, record: &RecordView<'_>) -> Result<bool, WorkerError> {
        let Some(task) = self.tasks.get_mut(&record.origin.partition) else { return Ok(false) };
        if task.position(place.topic).is_some_and(|position| record.origin.offset < position) {
            return Ok(false);
        }
        self.output.transaction.open()?;
        let named = record.headers.text(sent_back::INPUT).and_then(|topic| self.program.input_named(topic));
        let Some(number) = named else {
            let Some(first) = self.program.inputs.first() else { return Ok(false) };
            let outcome = self.output.bury(first, task, record, &Reject::new(&REDRIVE_UNADDRESSED))?;
            task.advance(place, self.program.redriven(0), outcome);
            return Ok(true);
        };
        // Its schema may have been registered since it failed.
        self.output.codecs.forget_unknown();
        let input = &self.program.inputs[number];
        let key = record.key.unwrap_or_default();
        let letter = record.headers.text(sent_back::REPLAY_OF).unwrap_or_default();
        let outcome = match record.headers.text(sent_back::RESOLVE).and_then(Decision::parse) {
            Some(decision) => {
                task.lot(input).resolve(key, letter)?;
                (decision == Decision::Discard).then_some(Outcome::Discarded)
            }
            None if task.lot(input).is_head(key, letter)? => {
                let outcome = self.output.process(input, &self.program.references, task, record)?;
                if !matches!(outcome, Outcome::Dead(_)) {
                    task.lot(input).resolve(key, letter)?;
                }
                Some(outcome)
            }
            None => match self.output.hold_back(input, task, record)? {
                Some(outcome) => Some(outcome),
                None => Some(self.output.process(input, &self.program.references, task, record)?),
            },
        };
        match outcome {
            Some(outcome) => task.advance(place, self.program.redriven(number), outcome),
            None => task.obey(place),
        }
        Ok(true)
    }
}
