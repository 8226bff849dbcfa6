//! In what time payments are counted together.

use jiff::ToSpan;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use tidemill_core::EventTime;
use tidemill_schemas::{Date, PaymentLimit};

use super::super::codes::PaymentCode;
use super::limit::FieldError;
use crate::zones;

const MINUTE_MICROS: i64 = 60_000_000;
/// 366 days.
const WINDOW_MINUTES_MAX: i64 = 527_040;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// From the start of one local day to the start of another.
    Calendar {
        span: Span,
        zone: TimeZone,
    },
    /// `(at - micros, at]`
    Rolling {
        micros: i64,
    },
    Lifetime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Day,
    Week { starts_on: Weekday },
    Month,
}

impl Window {
    /// Of a limit that counts over more than one payment.
    pub(super) fn compile(limit: &PaymentLimit) -> Result<Self, FieldError> {
        let span = match limit.window.as_str() {
            "day" => Span::Day,
            "week" => {
                let starts_on = zones::parse_weekday(&limit.week_starts_on);
                Span::Week { starts_on: starts_on.ok_or(FieldError("week_starts_on", "is no day such as monday"))? }
            }
            "month" => Span::Month,
            "rolling" => {
                let minutes = limit.window_minutes.filter(|minutes| (1..=WINDOW_MINUTES_MAX).contains(minutes));
                let minutes = minutes.ok_or(FieldError("window_minutes", "must be from 1 to 527040"))?;
                return Ok(Self::Rolling { micros: minutes * MINUTE_MICROS });
            }
            "lifetime" => return Ok(Self::Lifetime),
            _ => return Err(FieldError("window", "must be payment, day, week, month, rolling or lifetime")),
        };
        let zone = zones::parse_zone(&limit.zone);
        Ok(Self::Calendar { span, zone: zone.ok_or(FieldError("zone", "is no IANA time zone such as Europe/Berlin"))? })
    }

    /// What stands for the window in which an instant lies: grows with the instant, and is the same for two of one window.
    /// A rolling window is that of its own instant.
    pub(super) fn period(&self, at: EventTime) -> i64 {
        match self {
            Self::Calendar { span, zone } => {
                let day = zones::local(at, zone).date();
                let first = match span {
                    Span::Day => day,
                    Span::Week { starts_on } => {
                        day.checked_sub(i64::from(day.weekday().since(*starts_on)).days()).unwrap_or(day)
                    }
                    Span::Month => day.first_of_month(),
                };
                i64::from(zones::to_days(first).0)
            }
            Self::Rolling { .. } => at.0,
            Self::Lifetime => 0,
        }
    }

    /// The first instant after the window. A rolling one ends for the last payment that was counted in it.
    pub(super) fn ends_at(&self, period: i64) -> EventTime {
        match self {
            Self::Calendar { span, zone } => {
                let first = zones::from_days(Date(i32::try_from(period).unwrap_or(i32::MAX)));
                let length = match span {
                    Span::Day => 1.day(),
                    Span::Week { .. } => 7.days(),
                    Span::Month => 1.month(),
                };
                first.checked_add(length).map_or(NEVER, |next| zones::start_of_day(next, zone))
            }
            Self::Rolling { micros } => EventTime(period.saturating_add(*micros)),
            Self::Lifetime => NEVER,
        }
    }

    /// As in `week from Monday in Europe/Berlin`.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Calendar { span, zone } => {
                let zone = zone.iana_name().unwrap_or("UTC");
                match span {
                    Span::Day => format!("day in {zone}"),
                    Span::Week { starts_on } => format!("week from {starts_on:?} in {zone}"),
                    Span::Month => format!("month in {zone}"),
                }
            }
            Self::Rolling { micros } => format!("{} minutes", micros / MINUTE_MICROS),
            Self::Lifetime => "lifetime".to_owned(),
        }
    }

    /// What is answered where the amount is too much, and where the payment is one too many.
    pub(super) fn codes(&self) -> [PaymentCode; 2] {
        match self {
            Self::Calendar { span: Span::Day, .. } => {
                [PaymentCode::DayAmountLimitExceeded, PaymentCode::DayCountLimitExceeded]
            }
            Self::Calendar { span: Span::Week { .. }, .. } => {
                [PaymentCode::WeekAmountLimitExceeded, PaymentCode::WeekCountLimitExceeded]
            }
            Self::Calendar { span: Span::Month, .. } => {
                [PaymentCode::MonthAmountLimitExceeded, PaymentCode::MonthCountLimitExceeded]
            }
            Self::Rolling { .. } => [PaymentCode::RollingAmountLimitExceeded, PaymentCode::RollingCountLimitExceeded],
            Self::Lifetime => [PaymentCode::LifetimeAmountLimitExceeded, PaymentCode::LifetimeCountLimitExceeded],
        }
    }
}

/// No instant is later.
pub(super) const NEVER: EventTime = EventTime(i64::MAX);
