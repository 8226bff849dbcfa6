//! What customers are told, and how they want to be told.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

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

topic_event! {
    Notification: "notification", keyed by KeySpace::Named("customer"), "BACKWARD", "One message to a customer on one channel.",
    key: |event, out| key_text(out, &event.customer),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    CustomerPreferences: "customer_preferences", keyed by KeySpace::Named("customer"), "BACKWARD", "How a customer wants to be told.",
    key: |event, out| key_text(out, &event.customer),
    time: |event| event.effective_from,
    meta: |event| Some(&mut event.meta),
}
