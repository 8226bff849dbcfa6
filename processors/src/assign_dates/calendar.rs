//! One calendar, checked and ready to count days.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use tidemill_core::{Currency, EventTime};
use tidemill_schemas::{Instruction, PaymentBody, PaymentType, PostingCalendar, PostingDates};

use crate::zones;

/// A field of a calendar that cannot be used, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldError(pub(super) &'static str, pub(super) &'static str);

/// What a calendar is asked about a payment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    channel: &'a str,
    payment_type: PaymentType,
    currency: &'a str,
    pub(super) at: EventTime,
}

impl<'a> Asked<'a> {
    pub(super) fn of(payment: &'a PaymentBody) -> Self {
        let at = payment.execute_at.map_or(payment.created_at, |execute_at| execute_at.max(payment.created_at));
        Self { channel: &payment.channel, payment_type: payment.payment_type, currency: &payment.currency, at }
    }

    pub(super) fn when_executed(instruction: &'a Instruction) -> Self {
        Self {
            channel: instruction.channel.as_deref().unwrap_or_default(),
            payment_type: instruction.payment_type,
            currency: &instruction.currency,
            at: instruction.event_time,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) effective_from: EventTime,
    /// Empty: every channel, type, currency.
    channels: Vec<String>,
    payment_types: Vec<PaymentType>,
    currency: String,
    zone: TimeZone,
    weekend: Vec<Weekday>,
    holidays: BTreeSet<Date>,
    /// The last instant of the day that counts for it; without one, all of the day does.
    cut_off: Option<Time>,
    value_days: u32,
}

const VALUE_DAYS_MAX: i32 = 30;
const HOLIDAYS_MAX: usize = 4_000;

impl Calendar {
    pub(super) fn compile(calendar: &PostingCalendar) -> Result<Self, FieldError> {
        for (field, value) in [("name", &calendar.name), ("version", &calendar.version)] {
            if value.is_empty() {
                return Err(FieldError(field, "must not be empty"));
            }
        }
        if calendar.channels.iter().any(String::is_empty) {
            return Err(FieldError("channels", "must not hold an empty name"));
        }
        if !calendar.currency.is_empty() && Currency::parse(&calendar.currency).is_none() {
            return Err(FieldError("currency", "is no ISO 4217 currency with a minor unit"));
        }
        let types: Option<Vec<PaymentType>> =
            calendar.payment_types.iter().map(|name| PaymentType::parse(name)).collect();
        let weekend: Option<Vec<Weekday>> = calendar.weekend.iter().map(|name| zones::parse_weekday(name)).collect();
        let weekend = weekend.ok_or(FieldError("weekend", "must hold days such as saturday"))?;
        // With one day of the week left, some day is always a business day: there are not enough holidays to fill them.
        if Weekday::Monday.cycle_forward().take(7).all(|day| weekend.contains(&day)) {
            return Err(FieldError("weekend", "must leave a day of business"));
        }
        if calendar.holidays.len() > HOLIDAYS_MAX {
            return Err(FieldError("holidays", "must not be more than 4,000"));
        }
        let holidays: Option<BTreeSet<Date>> = calendar.holidays.iter().map(|text| text.parse().ok()).collect();
        let cut_off = Some(&calendar.cut_off).filter(|text| !text.is_empty()).map(|text| text.parse::<Time>());
        let value_days = Some(calendar.value_days).filter(|days| (0..=VALUE_DAYS_MAX).contains(days));
        Ok(Self {
            effective_from: calendar.effective_from,
            channels: calendar.channels.clone(),
            payment_types: types.ok_or(FieldError("payment_types", "names no type of payment"))?,
            currency: calendar.currency.clone(),
            zone: zones::parse_zone(&calendar.zone)
                .ok_or(FieldError("zone", "is no IANA time zone such as Europe/Berlin"))?,
            weekend,
            holidays: holidays.ok_or(FieldError("holidays", "must hold days such as 2026-12-25"))?,
            cut_off: cut_off.transpose().map_err(|_| FieldError("cut_off", "is no time of day such as 17:00"))?,
            value_days: value_days
                .and_then(|days| u32::try_from(days).ok())
                .ok_or(FieldError("value_days", "must be from 0 to 30"))?,
        })
    }

    /// How specific it is for a payment; `None` if it is not for it.
    pub(super) fn rank(&self, asked: &Asked<'_>) -> Option<[bool; 3]> {
        let is_for = (self.channels.is_empty() || self.channels.iter().any(|name| name == asked.channel))
            && (self.payment_types.is_empty() || self.payment_types.contains(&asked.payment_type))
            && (self.currency.is_empty() || self.currency == asked.currency);
        is_for.then_some([!self.channels.is_empty(), !self.payment_types.is_empty(), !self.currency.is_empty()])
    }

    pub(super) fn dates(&self, at: EventTime) -> PostingDates {
        let today = zones::local(at, &self.zone).date();
        let is_late = self.cut_off.is_some_and(|cut_off| at > zones::instant(today.to_datetime(cut_off), &self.zone));
        let booked = self.business_day_from(if is_late { next(today) } else { today });
        let valued = (0..self.value_days).fold(booked, |day, _| self.business_day_from(next(day)));
        PostingDates { booking_date: zones::to_days(booked), value_date: zones::to_days(valued) }
    }

    fn business_day_from(&self, mut day: Date) -> Date {
        while day < Date::MAX && (self.weekend.contains(&day.weekday()) || self.holidays.contains(&day)) {
            day = next(day);
        }
        day
    }
}

fn next(day: Date) -> Date {
    day.tomorrow().unwrap_or(Date::MAX)
}
