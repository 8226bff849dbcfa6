//! Adds what was known of the counterparty before this payment, and counts the payment and its label.
//!
//! - Input: `payment`, keyed by counterparty; passes on `screened_payment`. `fraud_label`, keyed by counterparty;
//!   ends here.
//! - Store: `counterparty_profiles`, one value per counterparty, at most 66 buckets (about 1 KiB).
//! - Time: `created_at` of the payment alone. Windows are counted in whole buckets: 1 h in 5-minute buckets, 24 h in
//!   hours, 7 d in days from midnight UTC. A payment in a window is always younger than the window's length; one
//!   younger than the length less one bucket is always in it. Payments may arrive in any order; one that is older than
//!   the newest by more than the window is not counted in it, and a late one sees what is still kept. A payment dated
//!   ahead moves the windows ahead with it.
//! - `risk_ppm` is frauds over labelled payments in millionths, rounded toward zero, 0 without labels. A label counts
//!   from when it arrives, whatever its event time, and every label counts: who labels a payment twice counts it twice.
//! - `amount_minor_24h` adds minor units of whatever currency the counterparty is paid in.
//! - A payment that a later stage declines was still made to the counterparty, and stays counted here.
//! - Only payments that a payer asks for are counted: transfers, withdrawals, authorisations and their increments.
//! - Codes: none.
//!
//! Example: the third payment of an hour to a shop with 2 labels, 1 of them fraud, passes on `payments_1h = 2` and
//! `risk_ppm = 500000`.

use serde::{Deserialize, Serialize};
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Context, EventTime, Flow, KeySpace, Meta, Outcome, Processor, ProcessorSpec, Reject, Settings,
    StateValue, Store, StoreSpec,
};
use tidemill_schemas::{CounterpartyProfile, FraudLabel, Payment, ScreenedPayment};

use crate::velocity::{Buckets, DAYS_OF_A_WEEK, FIVE_MINUTES, HOURS};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "profile_counterparty",
    summary: "Adds what was known of the counterparty before this payment.",
    signatures: &[
        Signature { takes: Payment::KIND, gives: Some(ScreenedPayment::KIND) },
        Signature { takes: FraudLabel::KIND, gives: None },
    ],
    stores: &[StoreSpec {
        name: PROFILES.name(),
        keyed_by: KeySpace::Named("counterparty"),
        summary: "Recent payments to a counterparty in buckets, and how many of its labelled payments were fraud.",
    }],
    ports: &[],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build,
};

pub(crate) const PROFILES: Store<CounterpartyState> = Store::new("counterparty_profiles");

/// Takes no settings: its windows are part of the meaning of the profile's fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CounterpartyState {
    five_minutes: Buckets,
    hours: Buckets,
    days: Buckets,
    labelled: u64,
    frauds: u64,
    first_seen_at: Option<EventTime>,
}

impl StateValue for CounterpartyState {
    const VERSION: u8 = 1;
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let Config {} = settings.parse()?;
    Ok(Box::new(ProfileCounterparty))
}

struct ProfileCounterparty;

impl Processor for ProfileCounterparty {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        match event.downcast::<Payment>() {
            Ok(payment) => screen(payment, context),
            Err(event) => match event.downcast::<FraudLabel>() {
                Ok(label) => count_label(&label, context),
                Err(event) => Err(Reject::unexpected(&event)),
            },
        }
    }
}

fn screen(Payment { payment, .. }: Payment, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let key = payment.counterparty().as_bytes();
    let mut state = PROFILES.get(context.state, key)?.unwrap_or_default();
    let counterparty = state.profile_at(payment.created_at);
    if payment.payment_type.is_screened() {
        state.count(payment.created_at, payment.amount_minor);
        PROFILES.put(context.state, key, &state)?;
    }
    Ok(Flow::Continue(Box::new(ScreenedPayment { meta: Meta::default(), payment, counterparty })))
}

fn count_label(label: &FraudLabel, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let key = label.counterparty.as_bytes();
    let mut state = PROFILES.get(context.state, key)?.unwrap_or_default();
    state.labelled = state.labelled.saturating_add(1);
    state.frauds = state.frauds.saturating_add(u64::from(label.fraud));
    PROFILES.put(context.state, key, &state)?;
    Ok(Flow::Done(Outcome::Applied))
}

impl CounterpartyState {
    fn profile_at(&self, at: EventTime) -> CounterpartyProfile {
        let day = self.hours.totals(HOURS, at, HOURS.kept());
        CounterpartyProfile {
            payments_1h: self.five_minutes.totals(FIVE_MINUTES, at, FIVE_MINUTES.kept()).payments,
            payments_24h: day.payments,
            amount_minor_24h: day.amount_minor,
            payments_7d: self.days.totals(DAYS_OF_A_WEEK, at, DAYS_OF_A_WEEK.kept()).payments,
            risk_ppm: self.risk_ppm(),
            first_seen_at: self.first_seen_at,
        }
    }

    fn count(&mut self, at: EventTime, amount_minor: i64) {
        self.five_minutes.add(FIVE_MINUTES, at, amount_minor);
        self.hours.add(HOURS, at, amount_minor);
        self.days.add(DAYS_OF_A_WEEK, at, amount_minor);
        self.first_seen_at = Some(self.first_seen_at.map_or(at, |first| first.min(at)));
    }

    fn risk_ppm(&self) -> i64 {
        let ppm = (u128::from(self.frauds) * 1_000_000).checked_div(u128::from(self.labelled)).unwrap_or_default();
        i64::try_from(ppm).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_testkit::{Driver, rows};

    use super::*;
    use crate::fixture;

    fn payment(at: &str, amount_minor: i64) -> Payment {
        let mut body = fixture::payment_body();
        body.created_at = EventTime::parse(at).expect("an RFC 3339 time");
        body.amount_minor = amount_minor;
        Payment { meta: Meta::default(), payment: body }
    }

    fn label(fraud: bool) -> FraudLabel {
        let counterparty = fixture::payment_body().counterparty().to_owned();
        FraudLabel {
            meta: Meta::default(),
            payment_id: "p-0".to_owned(),
            counterparty,
            fraud,
            event_time: EventTime::default(),
        }
    }

    /// One counterparty from top to bottom; each row shows what was known before it.
    #[test]
    fn shows_what_was_known_before_the_payment() {
        let table = "
            at                          | amount | 1h | 24h | minor 24h | 7d | risk   | first seen
            2026-01-31T12:04:59.999999Z | 100    | 0  | 0   | 0         | 0  | 0      | -
            2026-01-31T12:59:59.999999Z | 200    | 1  | 1   | 100       | 1  | 0      | 2026-01-31T12:04:59.999999Z
            # the bucket of the first payment has left the hour, though the payment is 55 minutes and 1 µs old
            2026-01-31T13:00:00Z        | 400    | 1  | 2   | 300       | 2  | 0      | 2026-01-31T12:04:59.999999Z
            label ok                    |        |    |     |           |    |        |
            label fraud                 |        |    |     |           |    |        |
            label ok                    |        |    |     |           |    |        |
            # late: what is after it in event time does not count, nor what the hour before the newest has dropped
            2026-01-31T12:30:00Z        | 800    | 0  | 2   | 300       | 3  | 333333 | 2026-01-31T12:04:59.999999Z
            2026-02-01T12:00:00Z        | 1      | 0  | 1   | 400       | 4  | 333333 | 2026-01-31T12:04:59.999999Z
            2026-02-06T23:59:59.999999Z | 1      | 0  | 0   | 0         | 5  | 333333 | 2026-01-31T12:04:59.999999Z
            2026-02-07T00:00:00Z        | 1      | 1  | 1   | 1         | 2  | 333333 | 2026-01-31T12:04:59.999999Z
            # older than everything that is kept: it sees nothing and counts nowhere but as the first one
            2026-01-01T00:00:00Z        | 5      | 0  | 0   | 0         | 0  | 333333 | 2026-01-31T12:04:59.999999Z
            2026-02-07T00:00:00Z        | 1      | 2  | 2   | 2         | 3  | 333333 | 2026-01-01T00:00:00Z
        ";
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for row in rows(table) {
            if let Some(kind) = row["at"].strip_prefix("label ") {
                assert_eq!(driver.send_event(label(kind == "fraud")).code(), "applied");
                continue;
            }
            let ran = driver.send_event(payment(row["at"], row["amount"].parse().expect("a number")));
            let profile = &ran.passed_as::<ScreenedPayment>().counterparty;
            let found = [
                profile.payments_1h.to_string(),
                profile.payments_24h.to_string(),
                profile.amount_minor_24h.to_string(),
                profile.payments_7d.to_string(),
                profile.risk_ppm.to_string(),
                profile.first_seen_at.map_or("-".to_owned(), |at| at.to_string()),
            ];
            assert_eq!(
                found,
                [row["1h"], row["24h"], row["minor 24h"], row["7d"], row["risk"], row["first seen"]],
                "{row:?}"
            );
        }
        assert_eq!(driver.state.len(PROFILES.name()), 1);
    }

    #[test]
    fn a_label_for_an_unknown_counterparty_waits_for_its_first_payment() {
        let mut driver = Driver::new(&[(&SPEC, "")]);
        driver.send_event(label(true));
        let ran = driver.send_event(payment("2026-01-31T12:00:00Z", 100));
        let profile = &ran.passed_as::<ScreenedPayment>().counterparty;
        assert_eq!((profile.risk_ppm, profile.payments_7d, profile.first_seen_at), (1_000_000, 0, None));
    }

    #[test]
    fn state_bytes_of_version_1_stay_readable() {
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for at in ["2026-01-31T12:00:00Z", "2026-01-31T12:30:00Z", "2026-02-01T09:00:00Z"] {
            driver.send_event(payment(at, 1_234));
        }
        driver.send_event(label(true));
        fixture::check_state(&driver.state, PROFILES, fixture::payment_body().counterparty().as_bytes());
    }
}
