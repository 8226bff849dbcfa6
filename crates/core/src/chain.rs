//! Runs one record through a chain of processors: all of it, or nothing but the answer to its reject.
//!
//! The engine and the test kit both run chains with this function, so that a test sees what production does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::context::{Context, Schemas};
use crate::effects::Effects;
use crate::event::AnyEvent;
use crate::processor::{Answer, Flow, Outcome, Processor};
use crate::record::RecordView;
use crate::reference::References;
use crate::reject::{BUG, Class, Reject};
use crate::state::{State, StateError};

/// State whose changes since the last mark can be undone.
pub trait UndoState: State {
    fn mark(&mut self);
    fn undo(&mut self);
}

/// How the record ended.
#[derive(Debug)]
pub enum Ended {
    /// Past the last processor.
    Passed(AnyEvent),
    Done(Outcome),
    /// Rejected, undone, and a processor has answered it.
    Answered(Reject),
    /// Rejected, undone, and nobody has answered it.
    Unanswered(Reject),
}

/// Everything that stays the same for all records of an input.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub task: u32,
    pub references: &'a dyn References,
    pub schemas: &'a dyn Schemas,
}

/// Takes `event` through `processors`. Effects of the record are in `effects` afterwards. A panic is a reject with
/// code `bug`; the panic's message is not kept, since it may hold values of the record.
pub fn run(
    processors: &[Box<dyn Processor>],
    event: AnyEvent,
    record: RecordView<'_>,
    state: &mut dyn UndoState,
    effects: &mut Effects,
    around: Surroundings<'_>,
) -> Result<Ended, StateError> {
    state.mark();
    let result = {
        let mut context = context(record, state, effects, around);
        catch_unwind(AssertUnwindSafe(|| process_all(processors, event, &mut context)))
            .unwrap_or_else(|_| Err(Reject::new(&BUG).because("a processor panicked")))
    };
    let reject = match result {
        Ok(Flow::Continue(event)) => return Ok(Ended::Passed(event)),
        Ok(Flow::Done(outcome)) => {
            // What came before the processor that recognised the repeat must not have counted it a second time.
            if outcome == Outcome::Duplicate {
                state.undo();
            }
            return Ok(Ended::Done(outcome));
        }
        Err(reject) => reject,
    };
    state.undo();
    effects.reject();
    if reject.class() == Class::Invariant {
        return Ok(Ended::Unanswered(reject));
    }
    let answer = {
        let mut context = context(record, state, effects, around);
        catch_unwind(AssertUnwindSafe(|| answer(processors, &reject, &mut context)))
    };
    match answer {
        Ok(Ok(Answer::Given)) => Ok(Ended::Answered(reject)),
        Ok(Ok(Answer::Repeat)) => {
            state.undo();
            Ok(Ended::Done(Outcome::Duplicate))
        }
        Ok(Ok(Answer::NotMine)) => Ok(Ended::Unanswered(reject)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            state.undo();
            effects.reject();
            Ok(Ended::Unanswered(Reject::new(&BUG).because("a processor panicked while it answered a reject")))
        }
    }
}

fn context<'a>(
    record: RecordView<'a>,
    state: &'a mut dyn UndoState,
    effects: &'a mut Effects,
    around: Surroundings<'a>,
) -> Context<'a> {
    Context { record, task: around.task, state, effects, references: around.references, schemas: around.schemas }
}

fn answer(processors: &[Box<dyn Processor>], reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
    for processor in processors.iter().rev() {
        let answer = processor.on_reject(reject, context)?;
        if answer != Answer::NotMine {
            return Ok(answer);
        }
    }
    Ok(Answer::NotMine)
}

fn process_all(
    processors: &[Box<dyn Processor>],
    mut event: AnyEvent,
    context: &mut Context<'_>,
) -> Result<Flow, Reject> {
    for processor in processors {
        match processor.process(event, context)? {
            Flow::Continue(next) => event = next,
            done @ Flow::Done(_) => return Ok(done),
        }
    }
    Ok(Flow::Continue(event))
}
