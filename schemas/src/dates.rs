//! Days of the calendar, as accounts are kept by them.

use serde::{Deserialize, Serialize};

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
