//! Adds what is known of the payer, this payment included.
//!
//! - Input: `screened_payment`, keyed by debit account; passes on `profiled_payment`.
//! - Store: `payer_profiles`, one value per debit account, at most 66 buckets and 64 counterparties (about 2 KiB).
//! - Time: `created_at` of the payment alone. Windows are counted in whole buckets: 1 h in 5-minute buckets, 24 h in
//!   hours, 7 d and 30 d in days from midnight UTC. A payment in a window is always younger than the window's length;
//!   one younger than the length less one bucket is always in it. Payments may arrive in any order; one that is older
//!   than the newest by more than the window is counted in it for itself alone, and a late one sees what is still kept.
//!   A payment dated ahead moves the windows ahead with it.
//! - `counterparties_24h` is exact up to 64 and stops there; a counterparty counts where it was last paid.
//! - Amounts add up in minor units: an account has one currency, and so have its figures. The ledger refuses a payment
//!   in another currency, which takes it out of the profile again.
//! - A reject or a resend found further down the chain leaves the profile byte for byte as it was.
//! - Only payments that the payer asks for are counted: transfers, withdrawals, authorisations and their increments,
//!   exchanges and journals that the payer leads. All others pass on an empty profile.
//! - Codes: none.
//!
//! Example: the third payment of an hour passes on `payments_1h = 3`.

use serde::{Deserialize, Serialize};
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Context, EventTime, Flow, KeySpace, Processor, ProcessorSpec, Reject, Settings, StateValue, Store,
    StoreSpec,
};
use tidemill_schemas::{PayerProfile, PaymentBody, ProfiledPayment, ScreenedPayment};

use crate::velocity::{Buckets, DAYS, DAYS_OF_A_WEEK, Distinct, FIVE_MINUTES, HOURS};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "profile_payer",
    summary: "Adds what is known of the payer, this payment included.",
    signatures: &[Signature { takes: ScreenedPayment::KIND, gives: Some(ProfiledPayment::KIND) }],
    stores: &[StoreSpec {
        name: PROFILES.name(),
        keyed_by: KeySpace::Named("account"),
        summary: "Recent payments of a debit account in buckets, its largest payment and whom it paid.",
    }],
    ports: &[],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build,
};

pub(crate) const PROFILES: Store<PayerState> = Store::new("payer_profiles");

/// Takes no settings: its windows are part of the meaning of the profile's fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PayerState {
    five_minutes: Buckets,
    hours: Buckets,
    days: Buckets,
    counterparties: Distinct,
    amount_minor_max: i64,
    first_seen_at: Option<EventTime>,
}

impl StateValue for PayerState {
    const VERSION: u8 = 1;
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let Config {} = settings.parse()?;
    Ok(Box::new(ProfilePayer))
}

struct ProfilePayer;

impl Processor for ProfilePayer {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let ScreenedPayment { payment, counterparty, .. } =
            event.downcast().map_err(|event| Reject::unexpected(&event))?;
        if !payment.payment_type.is_screened() {
            let payer = PayerProfile::default();
            return Ok(Flow::Continue(Box::new(ProfiledPayment { payment, counterparty, payer })));
        }
        let key = payment.debit_account.as_bytes();
        let mut state = PROFILES.get(context.state, key)?.unwrap_or_default();
        let payer = state.count(&payment);
        PROFILES.put(context.state, key, &state)?;
        Ok(Flow::Continue(Box::new(ProfiledPayment { payment, counterparty, payer })))
    }
}

impl PayerState {
    /// Takes the payment in and returns the profile with it. The windows are read first and the payment added to what
    /// they hold, since a payment that is too late for them belongs to its own profile nevertheless.
    fn count(&mut self, payment: &PaymentBody) -> PayerProfile {
        let (at, amount_minor) = (payment.created_at, payment.amount_minor);
        let hour = self.five_minutes.totals(FIVE_MINUTES, at, FIVE_MINUTES.kept()).plus(amount_minor);
        let day = self.hours.totals(HOURS, at, HOURS.kept()).plus(amount_minor);
        let week = self.days.totals(DAYS, at, DAYS_OF_A_WEEK.kept()).plus(amount_minor);
        let month = self.days.totals(DAYS, at, DAYS.kept()).plus(amount_minor);
        self.five_minutes.add(FIVE_MINUTES, at, amount_minor);
        self.hours.add(HOURS, at, amount_minor);
        self.days.add(DAYS, at, amount_minor);
        self.counterparties.add(HOURS, at, payment.counterparty());
        self.amount_minor_max = self.amount_minor_max.max(amount_minor);
        self.first_seen_at = Some(self.first_seen_at.map_or(at, |first| first.min(at)));
        PayerProfile {
            payments_1h: hour.payments,
            amount_minor_1h: hour.amount_minor,
            payments_24h: day.payments,
            amount_minor_24h: day.amount_minor,
            payments_7d: week.payments,
            amount_minor_7d: week.amount_minor,
            payments_30d: month.payments,
            amount_minor_30d: month.amount_minor,
            amount_minor_max: self.amount_minor_max,
            counterparties_24h: self.counterparties.count(HOURS, at).max(1),
            first_seen_at: self.first_seen_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::{Class, CodeSpec, Meta};
    use tidemill_schemas::CounterpartyProfile;
    use tidemill_testkit::{Driver, rows};

    use super::*;
    use crate::fixture;

    fn screened(at: &str, amount_minor: i64, counterparty: &str) -> ScreenedPayment {
        let mut payment = fixture::payment_body();
        payment.created_at = EventTime::parse(at).expect("an RFC 3339 time");
        payment.amount_minor = amount_minor;
        payment.merchant = None;
        payment.credit_account = counterparty.to_owned();
        ScreenedPayment { meta: Meta::default(), payment, counterparty: CounterpartyProfile::default() }
    }

    /// One payer from top to bottom; each row shows its profile with the payment of the row.
    #[test]
    fn profiles_include_the_payment() {
        let table = "
            at                          | amount | to | 1h    | 24h   | 7d     | 30d    | max  | to 24h | first seen
            2026-01-31T12:04:59.999999Z | 100    | a  | 1 100 | 1 100 | 1 100  | 1 100  | 100  | 1      | 2026-01-31T12:04:59.999999Z
            2026-01-31T12:59:59.999999Z | 200    | b  | 2 300 | 2 300 | 2 300  | 2 300  | 200  | 2      | 2026-01-31T12:04:59.999999Z
            2026-01-31T13:00:00Z        | 50     | a  | 2 250 | 3 350 | 3 350  | 3 350  | 200  | 2      | 2026-01-31T12:04:59.999999Z
            # late: what is after it in event time does not count, nor what the hour before the newest has dropped
            2026-01-31T12:30:00Z        | 10     | c  | 1 10  | 3 310 | 4 360  | 4 360  | 200  | 2      | 2026-01-31T12:04:59.999999Z
            2026-02-01T12:00:00Z        | 1      | d  | 1 1   | 2 51  | 5 361  | 5 361  | 200  | 2      | 2026-01-31T12:04:59.999999Z
            2026-02-06T23:59:59.999999Z | 1      | d  | 1 1   | 1 1   | 6 362  | 6 362  | 200  | 1      | 2026-01-31T12:04:59.999999Z
            2026-02-07T00:00:00Z        | 1      | d  | 2 2   | 2 2   | 3 3    | 7 363  | 200  | 1      | 2026-01-31T12:04:59.999999Z
            2026-03-02T00:00:00Z        | 1      | d  | 1 1   | 1 1   | 1 1    | 4 4    | 200  | 1      | 2026-01-31T12:04:59.999999Z
            # older than everything that is kept: it counts for itself alone
            2026-01-01T00:00:00Z        | 999    | e  | 1 999 | 1 999 | 1 999  | 1 999  | 999  | 1      | 2026-01-01T00:00:00Z
            2026-03-02T00:00:00Z        | 1      | d  | 2 2   | 2 2   | 2 2    | 5 5    | 999  | 1      | 2026-01-01T00:00:00Z
        ";
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for row in rows(table) {
            let amount_minor = row["amount"].parse().expect("a number");
            let ran = driver.send_event(screened(row["at"], amount_minor, row["to"]));
            let payer = &ran.passed_as::<ProfiledPayment>().payer;
            let found = [
                format!("{} {}", payer.payments_1h, payer.amount_minor_1h),
                format!("{} {}", payer.payments_24h, payer.amount_minor_24h),
                format!("{} {}", payer.payments_7d, payer.amount_minor_7d),
                format!("{} {}", payer.payments_30d, payer.amount_minor_30d),
                payer.amount_minor_max.to_string(),
                payer.counterparties_24h.to_string(),
                payer.first_seen_at.map_or("-".to_owned(), |at| at.to_string()),
            ];
            let columns = ["1h", "24h", "7d", "30d", "max", "to 24h", "first seen"];
            assert_eq!(found, columns.map(|column| row[column]), "{row:?}");
        }
    }

    static REFUSED: CodeSpec =
        CodeSpec { code: "refused", class: Class::Business, summary: "Refused.", remedy: "None." };

    /// Stands for whatever comes behind and refuses payments of more than 1.00.
    struct RefuseLargePayments;

    impl Processor for RefuseLargePayments {
        fn process(&self, event: AnyEvent, _context: &mut Context<'_>) -> Result<Flow, Reject> {
            let profiled: ProfiledPayment = event.downcast().map_err(|event| Reject::unexpected(&event))?;
            if profiled.payment.amount_minor > 100 {
                return Err(Reject::new(&REFUSED));
            }
            Ok(Flow::Continue(Box::new(profiled)))
        }
    }

    static REFUSE_LARGE_PAYMENTS: ProcessorSpec = ProcessorSpec {
        name: "refuse_large_payments",
        stores: &[],
        build: |_| Ok(Box::new(RefuseLargePayments)),
        ..SPEC
    };

    #[test]
    fn a_reject_further_down_leaves_the_profile_as_it_was() {
        let mut driver = Driver::new(&[(&SPEC, ""), (&REFUSE_LARGE_PAYMENTS, "")]);
        assert_eq!(driver.send_event(screened("2026-01-31T12:00:00Z", 101, "a")).code(), "refused");
        assert_eq!(driver.state.len(PROFILES.name()), 0);

        assert_eq!(driver.send_event(screened("2026-01-31T12:00:00Z", 100, "a")).code(), "passed");
        let before = driver.state.dump();
        assert_eq!(driver.send_event(screened("2026-02-28T12:00:00Z", 101, "b")).code(), "refused");
        assert_eq!(driver.state.dump(), before);

        let ran = driver.send_event(screened("2026-01-31T12:00:00Z", 50, "c"));
        let payer = &ran.passed_as::<ProfiledPayment>().payer;
        assert_eq!((payer.payments_1h, payer.amount_minor_max, payer.counterparties_24h), (2, 100, 2));
    }

    #[test]
    fn state_bytes_of_version_1_stay_readable() {
        let mut driver = Driver::new(&[(&SPEC, "")]);
        for (at, counterparty) in
            [("2026-01-31T12:00:00Z", "a"), ("2026-01-31T12:30:00Z", "b"), ("2026-02-01T09:00:00Z", "a")]
        {
            driver.send_event(screened(at, 1_234, counterparty));
        }
        fixture::check_state(&driver.state, PROFILES, fixture::payment_body().debit_account.as_bytes());
    }
}
