//! What stays of a record's state and effects, by how the record ends.

use serde::{Deserialize, Serialize};
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::Build;
use tidemill_core::{
    Answer, AnyEvent, Class, CodeSpec, Context, Flow, Outcome, Processor, ProcessorSpec, RawEvent, Reject, StateError,
    StateValue, Store,
};
use tidemill_testkit::{Driver, TestRecord, rows};

static REFUSED: CodeSpec = CodeSpec { code: "refused", class: Class::Business, summary: "", remedy: "" };
static UNBALANCED: CodeSpec = CodeSpec { code: "unbalanced", class: Class::Invariant, summary: "", remedy: "" };

const WRITTEN: Store<Written> = Store::new("written");

#[derive(Serialize, Deserialize)]
struct Written;

impl StateValue for Written {
    const VERSION: u8 = 1;
}

static LEAVE_TRACES: ProcessorSpec = spec("leave_traces", |_| Ok(Box::new(LeaveTraces)));
static END_AS_TOLD: ProcessorSpec = spec("end_as_told", |_| Ok(Box::new(EndAsTold)));

const fn spec(name: &'static str, build: Build<dyn Processor>) -> ProcessorSpec {
    ProcessorSpec {
        name,
        summary: "",
        signatures: &[Signature { takes: RawEvent::KIND, gives: Some(RawEvent::KIND) }],
        stores: &[],
        ports: &[],
        references: &[],
        codes: &[],
        decodes: None,
        moves_money: MovesMoney::No,
        example: "",
        build,
    }
}

/// Writes to the state and emits, as the processors before the one that decides do.
struct LeaveTraces;

impl Processor for LeaveTraces {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        WRITTEN.put(context.state, b"before", &Written)?;
        context.effects.emit("effect", Box::new(RawEvent) as AnyEvent);
        context.effects.emit_evidence("evidence", Box::new(RawEvent) as AnyEvent);
        Ok(Flow::Continue(event))
    }
}

/// Ends as the value of the record says, and answers every reject it is offered.
struct EndAsTold;

impl Processor for EndAsTold {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        match context.record.value.unwrap_or_default() {
            b"pass" => Ok(Flow::Continue(event)),
            b"apply" => Ok(Flow::Done(Outcome::Applied)),
            b"repeat" => Ok(Flow::Done(Outcome::Duplicate)),
            b"break an invariant" => Err(Reject::new(&UNBALANCED)),
            _ => Err(Reject::new(&REFUSED)),
        }
    }

    fn on_reject(&self, _reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
        WRITTEN.put(context.state, b"answer", &Written)?;
        context.effects.emit("answer", Box::new(RawEvent) as AnyEvent);
        match context.record.value.unwrap_or_default() {
            b"refuse a repeat" => Ok(Answer::Repeat),
            _ => Ok(Answer::Given),
        }
    }
}

#[test]
fn the_end_of_a_record_decides_what_stays_of_it() {
    let table = "
        value              | outcome             | emitted         | written
        pass               | Passed              | evidence effect | before
        apply              | Applied             | evidence effect | before
        repeat             | Duplicate           | evidence effect |
        refuse             | Rejected(refused)   | evidence answer | answer
        refuse a repeat    | Duplicate           | evidence answer |
        # Nobody may answer it: the engine stops.
        break an invariant | Dead(unbalanced)    | evidence        |
    ";
    for row in rows(table) {
        let mut driver = Driver::new(&[(&LEAVE_TRACES, ""), (&END_AS_TOLD, "")]);
        let ran = driver.send(&TestRecord::value(row["value"]));
        let emitted: Vec<&str> = ran.emitted.iter().map(|(port, _)| *port).collect();
        let written = driver.state.dump().remove(WRITTEN.name()).unwrap_or_default();
        let written: Vec<String> = written.into_keys().map(|key| String::from_utf8_lossy(&key).into_owned()).collect();
        assert_eq!(format!("{:?}", ran.outcome).replace('"', ""), row["outcome"], "{row:?}");
        assert_eq!(emitted.join(" "), row["emitted"], "{row:?}");
        assert_eq!(written.join(" "), row["written"], "{row:?}");
    }
}
