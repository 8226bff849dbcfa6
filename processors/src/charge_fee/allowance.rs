//! What is free in a period, and how much of it an account has used.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, State, StateError, StateValue, Store};
use tidemill_schemas::{FreeAllowance, PaymentBody};

/// Keyed by account and name of the schedule, whose versions share what they leave free.
pub(crate) const FEE_ALLOWANCES: Store<Used> = Store::new("fee_allowances");

/// What has been used in the account's period. A payment that is dated before it is counted in it: the period of an
/// account never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(super) period_start: EventTime,
    pub(super) amount_minor: i64,
    pub(super) payments: i64,
}

impl StateValue for Used {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    period: Period,
    /// The first minor units of each period.
    amount_minor: i64,
    /// The first payments of each period, whatever their amount.
    payments: i64,
}

/// Calendar periods in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Day,
    Month,
}

/// What of one payment is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priced {
    Nothing,
    /// So much of the amount, which is more than nothing.
    Amount(i64),
}

impl Free {
    /// The field at fault and what is wrong with it.
    pub(super) fn compile(free: &FreeAllowance) -> Result<Self, (&'static str, &'static str)> {
        let period = match free.period.as_str() {
            "day" => Period::Day,
            "month" => Period::Month,
            _ => return Err(("period", "must be day or month")),
        };
        let (amount_minor, payments) = (free.amount_minor.unwrap_or_default(), free.payments.unwrap_or_default());
        if amount_minor < 0 {
            return Err(("amount_minor", "must not be negative"));
        }
        if payments < 0 {
            return Err(("payments", "must not be negative"));
        }
        if amount_minor == 0 && payments == 0 {
            return Err(("amount_minor", "must be given, or payments: nothing would be free"));
        }
        Ok(Self { period, amount_minor, payments })
    }

    /// Takes what the payment uses from what is left, free payments first.
    pub(super) fn take(&self, used: &mut Used, payment: &PaymentBody) -> Priced {
        let period_start = self.period.start(payment.created_at);
        if period_start > used.period_start {
            *used = Used { period_start, ..Used::default() };
        }
        if used.payments < self.payments {
            used.payments += 1;
            return Priced::Nothing;
        }
        let free_minor = payment.amount_minor.min(self.amount_minor.saturating_sub(used.amount_minor).max(0));
        used.amount_minor = used.amount_minor.saturating_add(free_minor);
        match payment.amount_minor - free_minor {
            0 => Priced::Nothing,
            priced_minor => Priced::Amount(priced_minor),
        }
    }
}

impl Period {
    fn start(self, at: EventTime) -> EventTime {
        const DAY_MICROS: i64 = 86_400_000_000;
        let day = at.0.div_euclid(DAY_MICROS);
        let days_before = match self {
            Self::Day => 0,
            Self::Month => jiff::Timestamp::from_microsecond(at.0)
                .map_or(0, |at| i64::from(jiff::tz::Offset::UTC.to_datetime(at).day()) - 1),
        };
        EventTime((day - days_before).saturating_mul(DAY_MICROS))
    }
}

pub(super) fn read(state: &mut dyn State, key: &[u8]) -> Result<Used, StateError> {
    Ok(FEE_ALLOWANCES.get(state, key)?.unwrap_or(Used { period_start: EventTime(i64::MIN), ..Used::default() }))
}

pub(super) fn key(account: &str, schedule_name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + account.len() + schedule_name.len());
    key.extend_from_slice(&u16::try_from(account.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(account.as_bytes());
    key.extend_from_slice(schedule_name.as_bytes());
    key
}
