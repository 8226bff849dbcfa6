//! What customers are told, and how they want to be told.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, Meta};

/// `notifications.requested.v1`, keyed by customer: one message on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub meta: Meta,
    /// One event gives at most one notification per channel, so this is unique: `<event id>/<channel>`.
    pub notification_id: String,
    pub customer: String,
    /// `email`, `sms`, `push`, `webhook`.
    pub channel: String,
    /// `payment_posted`, `payment_rejected`, `payment_returned`.
    pub category: String,
    pub template: String,
    pub subject: String,
    pub body: String,
    pub payment_id: String,
    /// `requested`, or `suppressed` with the reason.
    pub status: String,
    pub reason: Option<String>,
    pub event_time: EventTime,
}

/// `customers.preferences.v1`, keyed by customer, compacted: a reference table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerPreferences {
    pub meta: Meta,
    pub customer: String,
    /// In order of preference; empty means none.
    pub channels: Vec<String>,
    /// Categories the customer does not want.
    pub muted: Vec<String>,
    /// BCP 47; picks the template.
    pub language: String,
    pub effective_from: EventTime,
}
