//! `payments.decisions.v1`, keyed by debit account: why a payment was let through or declined.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};
use crate::payment::{CounterpartyProfile, PayerProfile};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Accept,
    Decline,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHit {
    pub rule: String,
    pub points: i64,
}

/// Immutable and re-derivable: the same payment, profile and rules give the same decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub meta: Meta,
    pub payment_id: String,
    pub source: String,
    pub debit_account: String,
    pub verdict: Verdict,
    /// Sum of the points of all rules that hit.
    pub score: i64,
    /// At this score a payment is declined.
    pub threshold: i64,
    pub rules: Vec<RuleHit>,
    /// Name and version of the rule set.
    pub rule_set: String,
    pub payer: PayerProfile,
    pub counterparty: CounterpartyProfile,
    pub event_time: EventTime,
}

topic_event! {
    Decision: "decision", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "Why a payment was let through or declined.",
    key: |event, out| key_text(out, &event.debit_account),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}
