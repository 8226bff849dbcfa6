//! Reference data and labels: fee schedules, fraud rules, what turned out to be fraud.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

/// `fraud.labels.v1`, keyed by counterparty: what a payment turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FraudLabel {
    pub meta: Meta,
    pub payment_id: String,
    pub counterparty: String,
    pub fraud: bool,
    pub event_time: EventTime,
}

/// `fraud.rules.v1`, keyed by rule set name and version, compacted: a reference table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FraudRules {
    pub meta: Meta,
    pub name: String,
    pub version: String,
    pub effective_from: EventTime,
    pub threshold: i64,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub name: String,
    /// A rhai expression over the payment and its profiles that is true when the rule hits.
    pub when: String,
    pub points: i64,
}

/// `fees.schedules.v1`, keyed by schedule name and version, compacted: a reference table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeSchedule {
    pub meta: Meta,
    pub name: String,
    pub version: String,
    pub effective_from: EventTime,
    /// Empty: every currency.
    pub currency: String,
    /// Empty: every channel.
    pub channel: String,
    /// By `model`. One tier without an end is a plain percentage.
    pub tiers: Vec<FeeTier>,
    pub flat_minor: i64,
    pub min_minor: i64,
    /// No maximum when absent.
    pub max_minor: Option<i64>,
    /// A [`tidemill_core::Rounding`] in snake_case.
    pub rounding: String,
    /// `graduated` (also when absent): each tier prices its own slice of the amount. `volume`: the tier in which the
    /// amount ends prices all of it.
    #[serde(default)]
    pub model: Option<String>,
    /// Types of payment; empty: every type that costs a fee, but for those another schedule names.
    #[serde(default)]
    pub payment_types: Vec<String>,
    /// Debit accounts; empty: every one.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Customers that payments name; empty: every one, and none.
    #[serde(default)]
    pub customers: Vec<String>,
    /// Of the schedules that cover a payment, the one of the highest priority is in force, however specific others are.
    #[serde(default)]
    pub priority: i32,
    #[serde(default)]
    pub free: Option<FreeAllowance>,
    /// Segments of debit accounts; empty: every account, in a segment or not.
    #[serde(default)]
    pub segments: Vec<String>,
    /// A [`crate::FeeCharge`]; absent: on top.
    #[serde(default)]
    pub charged: Option<String>,
    /// A [`crate::FeeRefund`]; absent: kept.
    #[serde(default)]
    pub refunds: Option<String>,
}

/// What costs nothing in each calendar period, in UTC: the first payments, and then the first minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeAllowance {
    /// `day` or `month`.
    pub period: String,
    pub amount_minor: Option<i64>,
    pub payments: Option<i64>,
}

/// The slice of the amount from the end of the tier before to `up_to_minor` (exclusive; absent: without end).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeTier {
    pub up_to_minor: Option<i64>,
    /// Decimal text: `"0.01"` is one per cent.
    pub rate: String,
    /// Added once where the tier is used: in `graduated` for every tier that the amount reaches into.
    #[serde(default)]
    pub flat_minor: Option<i64>,
}

topic_event! {
    FraudLabel: "fraud_label", keyed by KeySpace::Named("counterparty"), "BACKWARD", "What a payment turned out to be.",
    key: |event, out| key_text(out, &event.counterparty),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    FraudRules: "fraud_rules", keyed by KeySpace::Named("rule_set"), "BACKWARD", "A set of fraud rules.",
    key: |event, out| key_text(out, &format!("{}/{}", event.name, event.version)),
    time: |event| event.effective_from,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    FeeSchedule: "fee_schedule", keyed by KeySpace::Named("fee_schedule"), "BACKWARD", "A fee schedule.",
    key: |event, out| key_text(out, &format!("{}/{}", event.name, event.version)),
    time: |event| event.effective_from,
    meta: |event| Some(&mut event.meta),
}
