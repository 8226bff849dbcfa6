//! `alerts.triggered.v1`, keyed by what it is about: something a person should look at.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub meta: Meta,
    /// Account or counterparty.
    pub subject: String,
    /// Stable code: `fraud_declined`, `money_in_suspense`, `account_overdrawn`.
    pub code: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    pub message: String,
    pub payment_id: Option<String>,
    pub event_time: EventTime,
}

topic_event! {
    Alert: "alert", keyed by KeySpace::Any, "BACKWARD", "Something a person should look at.",
    key: |event, out| key_text(out, &event.subject),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}
