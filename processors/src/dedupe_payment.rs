//! Drops resends before anything is counted twice, and refuses an id that is used for another payment.
//!
//! - Input: `payment`, keyed by counterparty; passes it on unchanged the first time.
//! - Identity: `(source, debit account, payment id)`. The same identity with the same `body_hash` is a resend, answered
//!   `RCVD` in phase `repeat` with code `duplicate`; with another body it is `idempotency_conflict`, answered `RJCT` in
//!   phase `repeat` with a reason that names the first field that differs. The first outcome stands in both cases.
//! - Bound: this processor sees only payments of its counterparty. A conflicting resend that names another counterparty
//!   looks new here and is found by the ledger, whose record is the authority on identity.
//! - Store: `seen_payments`, one value per identity. Time: event time. An entry counts for payments created less than
//!   `retention_hours` before or after the one that made it; a resend changes nothing and does not prolong it.
//! - Eviction: store `seen_payments_sweep` holds a cursor. After every 64 new payments of the task the next 128 entries
//!   in key order are looked at, and those that have expired by the task's clock are deleted: two entries looked at for
//!   each that is added, so the store never holds more than about twice the entries of one retention. The clock is the
//!   largest `created_at` seen, but one payment moves it by at most a 24th of the retention, so that a sender with a
//!   wrong clock cannot empty the store at a stroke. The same input gives the same deletions.
//! - Codes, first wins: `duplicate` (an outcome, not a reject), `idempotency_conflict`.
//!
//! Example: `p-1` over 5.00, `p-1` over 5.00, `p-1` over 6.00 → passed on, `duplicate`, `idempotency_conflict`.

use serde::{Deserialize, Serialize};
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    Answer, AnyEvent, Class, CodeSpec, Context, EventTime, Flow, KeySpace, Meta, Outcome, PortSpec, Processor,
    ProcessorSpec, Reject, Settings, StateError, StateValue, Store, StoreSpec,
};
use tidemill_schemas::{Payment, PaymentBody, PaymentStatus, StatusCode, StatusPhase};

use crate::fingerprint::Fingerprint;
use crate::post_ledger::codes::IDEMPOTENCY_CONFLICT;

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "dedupe_payment",
    summary: "Drops resends of a payment and refuses an id that is used for another one.",
    signatures: &[Signature { takes: Payment::KIND, gives: Some(Payment::KIND) }],
    stores: &[
        StoreSpec {
            name: SEEN.name(),
            keyed_by: KeySpace::Named("counterparty"),
            summary: "Body hash and event time of every payment of the retention.",
        },
        StoreSpec { name: SWEEP.name(), keyed_by: KeySpace::Any, summary: "How far eviction has come in this task." },
    ],
    ports: &[PortSpec { name: STATUS, kind: PaymentStatus::KIND, summary: "The answer to a resend or a conflict." }],
    references: &[],
    codes: &[DUPLICATE, IDEMPOTENCY_CONFLICT],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "retention_hours = 24\n",
    build,
};

const DUPLICATE: CodeSpec = CodeSpec {
    code: "duplicate",
    class: Class::Business,
    summary: "The payment was received before, with the same body.",
    remedy: "Nothing needs to be done: the first outcome stands, look it up under the same id.",
};

const STATUS: &str = "status";
pub(crate) const SEEN: Store<Seen> = Store::new("seen_payments");
pub(crate) const SWEEP: Store<Sweep> = Store::new("seen_payments_sweep");
const SWEEP_KEY: &[u8] = b"task";
/// New payments between two looks at the store.
const SWEEP_INTERVAL_PAYMENTS: u32 = 64;
/// Entries per look. More than the interval, or the store would grow without end.
const SWEEP_ENTRIES: usize = 128;
/// The task's clock moves by at most this part of the retention per payment.
const CLOCK_STEPS_PER_RETENTION: i64 = 24;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// How long an id is remembered, in event time. 1 to 8,760 (a year).
    retention_hours: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self { retention_hours: 24 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    body: Fingerprint,
    at: EventTime,
}

impl StateValue for Seen {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sweep {
    /// The last key that was looked at; empty at the start of a round.
    cursor: Vec<u8>,
    payments_since: u32,
    /// The task's clock; absent before the first payment.
    now: Option<EventTime>,
}

impl StateValue for Sweep {
    const VERSION: u8 = 1;
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let config: Config = settings.parse()?;
    if !(1..=8_760).contains(&config.retention_hours) {
        let error = SettingsError::new("retention_hours", "must be from 1 to 8760");
        return Err(vec![error.hint("Choose how long senders may repeat a payment after a failure; 24 is usual.")]);
    }
    Ok(Box::new(DedupePayment { retention_micros: i64::from(config.retention_hours) * MICROS_PER_HOUR }))
}

struct DedupePayment {
    retention_micros: i64,
}

impl Processor for DedupePayment {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let payment = event.downcast::<Payment>().map_err(|event| Reject::unexpected(&event))?;
        let body = &payment.payment;
        let key = body.identity();
        let fingerprint = Fingerprint::of(body)?;
        let earlier = SEEN.get(context.state, &key)?.filter(|seen| !self.is_expired(seen.at, body.created_at));
        match earlier {
            None => {
                SEEN.put(context.state, &key, &Seen { body: fingerprint, at: body.created_at })?;
                self.sweep(body.created_at, context)?;
                Ok(Flow::Continue(Box::new(payment)))
            }
            Some(seen) if seen.body.is_same_body(&fingerprint) => {
                let status = repeat_status(body, StatusCode::RCVD, &DUPLICATE, DUPLICATE.summary);
                context.effects.emit(STATUS, Box::new(status) as AnyEvent);
                Ok(Flow::Done(Outcome::Duplicate))
            }
            Some(seen) => Err(seen.body.conflict(&fingerprint).about(Box::new(payment))),
        }
    }

    fn on_reject(&self, reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
        if reject.code().code != IDEMPOTENCY_CONFLICT.code {
            return Ok(Answer::NotMine);
        }
        let Some(payment) = reject.subject().and_then(|subject| subject.downcast_ref::<Payment>()) else {
            return Ok(Answer::NotMine);
        };
        let status = repeat_status(&payment.payment, StatusCode::RJCT, &IDEMPOTENCY_CONFLICT, reject.message());
        context.effects.emit(STATUS, Box::new(status) as AnyEvent);
        Ok(Answer::Given)
    }
}

impl DedupePayment {
    fn is_expired(&self, seen_at: EventTime, now: EventTime) -> bool {
        now.micros().abs_diff(seen_at.micros()) >= self.retention_micros.unsigned_abs()
    }

    /// Counts a new payment, and looks at the next entries of the store when their turn has come.
    fn sweep(&self, created_at: EventTime, context: &mut Context<'_>) -> Result<(), StateError> {
        let mut sweep = SWEEP.get(context.state, SWEEP_KEY)?.unwrap_or_default();
        let now = self.advance(sweep.now, created_at);
        sweep.now = Some(now);
        sweep.payments_since = sweep.payments_since.saturating_add(1);
        if sweep.payments_since >= SWEEP_INTERVAL_PAYMENTS {
            sweep.payments_since = 0;
            sweep.cursor = self.evict_after(&sweep.cursor, now, context)?;
        }
        SWEEP.put(context.state, SWEEP_KEY, &sweep)
    }

    fn advance(&self, clock: Option<EventTime>, created_at: EventTime) -> EventTime {
        let Some(clock) = clock else { return created_at };
        let step_max = self.retention_micros / CLOCK_STEPS_PER_RETENTION;
        let furthest = EventTime(clock.micros().saturating_add(step_max));
        created_at.clamp(clock, furthest)
    }

    /// Deletes what has expired among the next entries and returns where to go on; empty after the last entry.
    fn evict_after(&self, cursor: &[u8], now: EventTime, context: &mut Context<'_>) -> Result<Vec<u8>, StateError> {
        let entries = SEEN.scan(context.state, cursor, SWEEP_ENTRIES)?;
        let is_last = entries.len() < SWEEP_ENTRIES;
        let next = entries.last().filter(|_| !is_last).map(|(key, _)| key.clone()).unwrap_or_default();
        for (key, seen) in &entries {
            if seen.at <= now && self.is_expired(seen.at, now) {
                SEEN.delete(context.state, key)?;
            }
        }
        Ok(next)
    }
}

fn repeat_status(payment: &PaymentBody, status: StatusCode, code: &CodeSpec, reason: &str) -> PaymentStatus {
    PaymentStatus {
        meta: Meta::default(),
        payment_id: payment.payment_id.clone(),
        source: payment.source.clone(),
        debit_account: payment.debit_account.clone(),
        credit_account: payment.credit_account.clone(),
        amount_minor: payment.amount_minor,
        currency: payment.currency.clone(),
        fee_minor: 0,
        status,
        phase: StatusPhase::Repeat,
        code: code.code.to_owned(),
        reason: Some(reason.to_owned()),
        merchant_id: payment.merchant.as_ref().map(|merchant| merchant.id.clone()),
        customer: payment.customer.clone(),
        channel: payment.channel.clone(),
        event_time: payment.created_at,
        payment_type: Some(payment.payment_type),
        reference: payment.reference.clone(),
        exchange: None,
    }
}

#[cfg(test)]
mod tests {
    use tidemill_testkit::{Driver, Ran, rows};

    use super::*;
    use crate::fixture;

    fn payment(id: &str, hash: &str, created_at: EventTime) -> Payment {
        let body = PaymentBody {
            payment_id: id.to_owned(),
            body_hash: hash.repeat(16),
            created_at,
            ..fixture::payment_body()
        };
        Payment { meta: Meta::default(), payment: body }
    }

    fn at(hours: i64) -> EventTime {
        EventTime(1_700_000_000_000_000 + hours * MICROS_PER_HOUR)
    }

    fn after(time: EventTime, micros: i64) -> EventTime {
        EventTime(time.micros() + micros)
    }

    fn answer(ran: &Ran) -> String {
        let statuses = ran.on::<PaymentStatus>(STATUS);
        statuses.iter().map(|status| format!("{:?} {:?} {}", status.status, status.phase, status.code)).collect()
    }

    #[test]
    fn resends_and_conflicts() {
        // One state for the whole table; times are in microseconds after the first payment.
        let table = "
            id | body | micros       | result
            a  | 11   | 0            | passed
            a  | 11   | 0            | RCVD Repeat duplicate
            a  | 22   | 0            | RJCT Repeat idempotency_conflict
            a  | 11   | 0            | RCVD Repeat duplicate
            b  | 11   | 0            | passed
            a  | 11   | 86399999999  | RCVD Repeat duplicate
            a  | 11   | -86399999999 | RCVD Repeat duplicate
            a  | 22   | 86399999999  | RJCT Repeat idempotency_conflict
            a  | 22   | 86400000000  | passed
            a  | 11   | 86400000000  | RJCT Repeat idempotency_conflict
            a  | 22   | 86400000001  | RCVD Repeat duplicate
            b  | 22   | -86400000000 | passed
        ";
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for row in rows(table) {
            let micros = row["micros"].parse().expect("a number");
            let state_before = driver.state.dump();
            let ran = driver.send_event(payment(row["id"], row["body"], after(at(0), micros)));
            let result = if ran.code() == "passed" { "passed".to_owned() } else { answer(&ran) };
            assert_eq!(result, row["result"], "{row:?}");
            assert_eq!(driver.state.dump() == state_before, result != "passed", "{row:?}");
        }
    }

    #[test]
    fn another_source_or_debit_account_is_another_payment() {
        let mut driver = Driver::new(&[(&SPEC, "")]);
        let first = payment("a", "11", at(0));
        let mut other_source = first.clone();
        other_source.payment.source = "bank-b".to_owned();
        let mut other_account = first.clone();
        other_account.payment.debit_account = "acc-9".to_owned();
        for payment in [first, other_source, other_account] {
            assert_eq!(driver.send_event(payment).code(), "passed");
        }
    }

    #[test]
    fn the_state_has_the_bytes_it_had() {
        let mut driver = Driver::new(&[(&SPEC, "")]);
        let payment = payment("a", "1f", at(0));
        let key = payment.payment.identity();
        driver.send_event(payment);
        fixture::check_state(&driver.state, SEEN, &key);
        fixture::check_state(&driver.state, SWEEP, SWEEP_KEY);
    }

    #[test]
    fn the_store_stays_within_twice_the_retention() {
        let per_hour = 200;
        let mut driver = Driver::new(&[(&SPEC, "retention_hours = 2")]);
        let mut largest = 0;
        for number in 0..per_hour * 40 {
            // Identifiers in no order, as they are in life.
            let id = format!("{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let created_at = after(at(0), number * MICROS_PER_HOUR / per_hour);
            assert_eq!(driver.send_event(payment(&id, "11", created_at)).code(), "passed");
            largest = largest.max(driver.state.len(SEEN.name()));
        }
        let live = usize::try_from(2 * per_hour).expect("fits");
        assert!(largest > live, "nothing within the retention may be deleted: {largest}");
        assert!(largest <= 2 * live + SWEEP_ENTRIES, "{largest} entries for a retention of {live} payments");
    }

    #[test]
    fn one_wrong_clock_does_not_empty_the_store() {
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for number in 0..500 {
            let created_at = if number == 3 { EventTime::LATEST } else { at(0) };
            driver.send_event(payment(&number.to_string(), "11", created_at));
        }
        assert_eq!(driver.state.len(SEEN.name()), 500);
        assert_eq!(driver.send_event(payment("0", "11", at(0))).code(), "duplicate");
    }

    #[test]
    fn the_same_input_gives_the_same_state() {
        let run = || {
            let mut driver = Driver::new(&[(&SPEC, "retention_hours = 1")]);
            for number in 0..1_000_i64 {
                driver.send_event(payment(&(number % 700).to_string(), "11", after(at(0), number * 30_000_000)));
            }
            driver.state.dump()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn settings_are_checked() {
        let cases = [
            ("", None),
            ("retention_hours = 1", None),
            ("retention_hours = 8760", None),
            ("retention_hours = 0", Some("retention_hours")),
            ("retention_hours = 8761", Some("retention_hours")),
            ("retention_hour = 1", Some("retention_hour")),
            (SPEC.example, None),
        ];
        for (text, key) in cases {
            let settings = Settings(text.parse().expect("is TOML"));
            let error = build(&settings).err().map(|errors| errors[0].key.clone());
            assert_eq!(error.as_deref(), key, "{text}");
        }
    }
}
