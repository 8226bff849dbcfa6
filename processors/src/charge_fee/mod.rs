//! Adds the fee to a payment, by the fee schedule in force when it was made.
//!
//! - Input: `scored_payment`, keyed by debit account; passes on `priced_payment`. `account_command`, keyed by account, which
//!   is passed on as it came: `change_segment` says in which segment an account is.
//! - Stores: `fee_allowances`, what an account has used of what a schedule leaves free; `fee_segments`, which segment an
//!   account is in. A payment or request that is refused later in the chain, or is a resend, changes neither.
//! - Reference table: `fee_schedules` (topic kind `fee_schedule`), laid over the `schedules` of the settings. An entry
//!   of the topic with the same name and version takes the place of the one in the settings.
//! - In force for a payment is, among the schedules for its debit account, that account's segment, its customer, type,
//!   currency and channel whose `effective_from` is not after its `created_at`: first the one of the highest `priority`, of
//!   those the most specific (one that names the account before one that does not, then the customer, the segment, the
//!   type, the currency, the channel), of those the one with the latest `effective_from`, of those the one with the greatest
//!   name and version. A schedule that names accounts or segments and has no price exempts them.
//! - `free`: of each calendar day or month (UTC) the first payments, and then the first minor units, cost nothing. A
//!   payment of which something is left is priced as one of that amount; one that is free altogether costs nothing,
//!   whatever the minimum.
//! - A tier is the slice `[end of the tier before, up_to_minor)` of the amount, whose minor units are counted from 0:
//!   with `up_to_minor = 10_000` the first 100.00 EUR are in the tier and nothing above.
//! - Model `graduated`: fee = flat + Σ over the tiers the amount reaches into of (tier's flat + slice × rate). Model
//!   `volume`: fee = flat + flat of the tier in which the amount ends + whole amount × its rate.
//! - Exact, rounded once by the schedule's rounding mode, then raised to `min_minor` and lowered to `max_minor`. The flat
//!   parts are inside minimum and maximum.
//! - The fee comes on top of the amount, or is `deducted` from it, and is paid by the debit account. Transfers, withdrawals,
//!   captures and forced posts cost one; a hold costs nothing until money is taken, and what gives money back is free, but
//!   for chargebacks where a schedule names them.
//! - Codes, in order of precedence: `fee_schedule_missing`, `fee_exceeds_amount`. The first is the operator's fault, never
//!   the payment's, so it is not remembered: once the schedule is there, the record can be replayed.
//!
//! Example: 1 % to 100.00, 0.5 % to 1,000.00, 0.1 % above, half even, at least 0.10 and at most 25.00: a payment of
//! 500.00 EUR costs 3.00.

mod allowance;
mod schedule;
mod segment;
mod table;
#[cfg(test)]
mod tests;

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::reject::BUG;
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, Flow, KeySpace, Processor, ProcessorSpec, ReferenceSpec, Reject, Settings,
    StateError, StoreSpec,
};
use tidemill_schemas::{
    AccountCommand, FeeCharge, FeeSchedule, PaymentBody, PaymentType, PricedPayment, ScoredPayment,
};

pub(crate) use allowance::FEE_ALLOWANCES;
use allowance::Priced;
use schedule::Schedule;
pub(crate) use segment::FEE_SEGMENTS;
use table::FeeTable;

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "charge_fee",
    summary: "Adds the fee by the schedule in force when the payment was made.",
    signatures: &[
        Signature { takes: ScoredPayment::KIND, gives: Some(PricedPayment::KIND) },
        Signature { takes: AccountCommand::KIND, gives: Some(AccountCommand::KIND) },
    ],
    stores: &[
        StoreSpec {
            name: FEE_ALLOWANCES.name(),
            keyed_by: KeySpace::Named("account"),
            summary: "What each account has used of what is free in its period.",
        },
        StoreSpec {
            name: FEE_SEGMENTS.name(),
            keyed_by: KeySpace::Named("account"),
            summary: "The segment of each account that is in one.",
        },
    ],
    ports: &[],
    references: &[ReferenceSpec {
        name: FEE_SCHEDULES,
        kind: FeeSchedule::KIND,
        summary: "Fee schedules, effective-dated by the payment's created_at.",
        build: build_table,
    }],
    codes: &[FEE_SCHEDULE_MISSING, FEE_EXCEEDS_AMOUNT],
    decodes: None,
    moves_money: MovesMoney::No,
    example: r#"
[[schedules]]
name = "standard"
version = "1"
effective_from = "2000-01-01T00:00:00Z"
currency = "EUR"
tiers = [
    { up_to_minor = 10_000, rate = "0.01" },
    { up_to_minor = 100_000, rate = "0.005" },
    { rate = "0.001" },
]
min_minor = 10
max_minor = 2_500
rounding = "half_even"
"#,
    build,
};

const FEE_SCHEDULES: &str = "fee_schedules";

pub const FEE_SCHEDULE_MISSING: CodeSpec = CodeSpec {
    code: "fee_schedule_missing",
    class: Class::Bug,
    summary: "No fee schedule is in force for the payment's currency, channel and date.",
    remedy: "Publish a schedule with an earlier effective_from to the fee schedule topic or add one to the settings \
             of charge_fee, then replay the record.",
};

pub const FEE_EXCEEDS_AMOUNT: CodeSpec = CodeSpec {
    code: "fee_exceeds_amount",
    class: Class::Business,
    summary: "The fee is to be deducted from the amount, and nothing would be left.",
    remedy: "Send a larger amount under a new id, or change the schedule: `tidemill fee preview` shows which it is.",
};

struct ChargeFee;

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    FeeTable::from_settings(settings)?;
    Ok(Box::new(ChargeFee))
}

fn build_table(settings: &Settings) -> Result<Box<dyn tidemill_core::ReferenceTable>, Vec<SettingsError>> {
    Ok(Box::new(FeeTable::from_settings(settings)?))
}

impl Processor for ChargeFee {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        if let Some(command) = event.downcast_ref::<AccountCommand>() {
            segment::note(command, context.state)?;
            return Ok(Flow::Continue(event));
        }
        let scored = event.downcast::<ScoredPayment>().map_err(|event| Reject::unexpected(&event))?;
        if !scored.payment.payment_type.can_be_priced() {
            return Ok(Flow::Continue(Box::new(priced(scored.payment, 0, None))));
        }
        let Some(table) = context.references.table::<FeeTable>(FEE_SCHEDULES) else {
            return Err(Reject::new(&BUG).because("the reference table fee_schedules was not built"));
        };
        let payment = &scored.payment;
        let segment = match table.asks_for_segments() {
            true => segment::of(&payment.debit_account, context.state)?,
            false => None,
        };
        let Some(schedule) = table.in_force(payment, segment.as_deref()) else {
            // What is charged back costs nothing but where a schedule says so.
            return match payment.payment_type.is_priced() {
                true => Err(Reject::new(&FEE_SCHEDULE_MISSING).about(Box::new(scored))),
                false => Ok(Flow::Continue(Box::new(priced(scored.payment, 0, None)))),
            };
        };
        let fee_minor = match free_of(schedule, payment, context)? {
            Priced::Nothing => Some(0),
            Priced::Amount(amount_minor) => schedule.fee_minor(amount_minor),
        };
        let Some(fee_minor) = fee_minor else {
            return Err(Reject::new(&BUG).because("the fee does not fit 64 bits").about(Box::new(scored)));
        };
        let priced = priced(scored.payment, fee_minor, Some(schedule));
        match priced.sent_minor() {
            1.. => Ok(Flow::Continue(Box::new(priced))),
            _ => Err(Reject::new(&FEE_EXCEEDS_AMOUNT).about(Box::new(priced))),
        }
    }
}

/// What of the payment is priced, after what is free of it has been taken.
fn free_of(schedule: &Schedule, payment: &PaymentBody, context: &mut Context<'_>) -> Result<Priced, StateError> {
    let Some(free) = &schedule.free else { return Ok(Priced::Amount(payment.amount_minor)) };
    let key = allowance::key(&payment.debit_account, &schedule.name);
    let mut used = allowance::read(context.state, &key)?;
    let priced = free.take(&mut used, payment);
    FEE_ALLOWANCES.put(context.state, &key, &used)?;
    Ok(priced)
}

fn priced(payment: PaymentBody, fee_minor: i64, schedule: Option<&Schedule>) -> PricedPayment {
    let fee_schedule = schedule.map(|schedule| schedule.label.clone()).unwrap_or_default();
    let mut fee_terms = schedule.map(|schedule| schedule.terms).unwrap_or_default();
    // Whoever was paid back is owed all of it.
    if payment.payment_type == PaymentType::Chargeback {
        fee_terms.charge = FeeCharge::OnTop;
    }
    PricedPayment { payment, fee_minor, fee_schedule, fee_terms, exchange: None, dates: None }
}
