//! Days of the calendar, as accounts are kept by them.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

/// Days since 1970-01-01, in whatever zone the calendar is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Date(pub i32);

/// By which days a payment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostingDates {
    /// The business day whose books it is in.
    pub booking_date: Date,
    /// From which day on it bears interest.
    pub value_date: Date,
}

/// `calendars.posting.v1`, keyed by name and version, compacted: a reference table. By which days one rail counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostingCalendar {
    pub meta: Meta,
    pub name: String,
    pub version: String,
    pub effective_from: EventTime,
    /// Empty: every channel.
    pub channels: Vec<String>,
    /// Empty: every type.
    pub payment_types: Vec<String>,
    /// Empty: every currency.
    pub currency: String,
    /// IANA name of the time zone.
    pub zone: String,
    /// English names of the days in lower case.
    pub weekend: Vec<String>,
    /// As in `2026-12-25`.
    pub holidays: Vec<String>,
    /// As in `17:00`: until then, inclusive, a payment counts for the same day. Empty: until midnight.
    pub cut_off: String,
    /// How many business days after the booking date the value date is.
    pub value_days: i32,
}

topic_event! {
    PostingCalendar: "posting_calendar", keyed by KeySpace::Named("calendar"), "BACKWARD", "By which days one rail counts.",
    key: |event, out| key_text(out, &format!("{}/{}", event.name, event.version)),
    time: |event| event.effective_from,
    meta: |event| Some(&mut event.meta),
}
