//! Says by which days a payment counts: booking date and value date, by the calendar of its rail.
//!
//! - Inputs: `priced_payment`, keyed by debit account, which is passed on with its dates; and `instruction`, which is passed
//!   on as it came, but for `execute`: the time of a payment that waits has come, and its dates are those of that time.
//! - Reference table: `calendars` (topic kind `posting_calendar`), laid over the `calendars` of the settings. An entry of the
//!   topic with the same name and version takes the place of the one in the settings.
//! - Time is the payment's `created_at`, or its `execute_at` if that is later.
//! - In force is, among the calendars for its channel, type and currency whose `effective_from` is not after that time:
//!   first the most specific (one that names the channel before one that does not, then the type, then the currency), of
//!   those the one with the latest `effective_from`, of those the one with the greatest name and version. Without any, the
//!   payment has no dates.
//! - Booking date: the local day of the time if that is a business day and the time is not after the cut-off, which is still
//!   in time itself; else the next business day. A day without business has no cut-off.
//! - A cut-off that the clock does not show on its day is the first instant after the gap; one that it shows twice is the
//!   later one.
//! - Value date: `value_days` business days after the booking date.
//!
//! Example: cut-off 17:00 in Berlin, weekends, value the next day: a payment of a Friday, 17:00:00, is booked on that
//! Friday with Monday as its value date; a microsecond later it is booked on Monday, with value on Tuesday.

mod calendar;
mod table;
#[cfg(test)]
mod tests;

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::reject::BUG;
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Context, Flow, Processor, ProcessorSpec, ReferenceSpec, ReferenceTable, Reject, Settings,
};
use tidemill_schemas::{Instruction, InstructionKind, PostingCalendar, PricedPayment};

use calendar::Asked;
use table::CalendarTable;

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "assign_dates",
    summary: "Assigns booking date and value date by the calendar of the payment's rail.",
    signatures: &[
        Signature { takes: PricedPayment::KIND, gives: Some(PricedPayment::KIND) },
        Signature { takes: Instruction::KIND, gives: Some(Instruction::KIND) },
    ],
    stores: &[],
    ports: &[],
    references: &[ReferenceSpec {
        name: CALENDARS,
        kind: PostingCalendar::KIND,
        summary: "Business days and cut-offs of rails, effective-dated by when a payment is made.",
        build: build_table,
    }],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: r#"
[[calendars]]
name = "sepa"
version = "2026"
effective_from = "2026-01-01T00:00:00Z"
channels = ["sepa"]
currency = "EUR"
zone = "Europe/Berlin"
weekend = ["saturday", "sunday"]
holidays = ["2026-01-01", "2026-04-03", "2026-04-06", "2026-05-01", "2026-12-25"]
cut_off = "17:00"
value_days = 1
"#,
    build,
};

const CALENDARS: &str = "calendars";

struct AssignDates;

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    CalendarTable::from_settings(settings)?;
    Ok(Box::new(AssignDates))
}

fn build_table(settings: &Settings) -> Result<Box<dyn ReferenceTable>, Vec<SettingsError>> {
    Ok(Box::new(CalendarTable::from_settings(settings)?))
}

impl Processor for AssignDates {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let Some(table) = context.references.table::<CalendarTable>(CALENDARS) else {
            return Err(Reject::new(&BUG).because("the reference table calendars was not built"));
        };
        let is_execution =
            event.downcast_ref::<Instruction>().map(|instruction| instruction.kind == InstructionKind::Execute);
        if table.is_empty() || is_execution == Some(false) {
            return Ok(Flow::Continue(event));
        }
        let event = match event.downcast::<PricedPayment>() {
            Ok(mut priced) => {
                priced.dates = table.dates(&Asked::of(&priced.payment));
                return Ok(Flow::Continue(Box::new(priced)));
            }
            Err(event) => event,
        };
        let mut instruction = event.downcast::<Instruction>().map_err(|event| Reject::unexpected(&event))?;
        let dates = table.dates(&Asked::when_executed(&instruction));
        instruction.booking_date = dates.map(|dates| dates.booking_date);
        instruction.value_date = dates.map(|dates| dates.value_date);
        Ok(Flow::Continue(Box::new(instruction)))
    }
}
