//! What payers may spend, with whom and how often.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

/// `payments.limits.v1`, keyed by name and version, compacted: a reference table.
///
/// A payment is covered by a limit if it is in every list of the first group that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentLimit {
    pub meta: Meta,
    pub name: String,
    pub version: String,
    pub effective_from: EventTime,

    /// Debit accounts.
    pub accounts: Vec<String>,
    /// Customers of the debit account, or that the payment names where the account has none.
    pub customers: Vec<String>,
    pub cards: Vec<String>,
    /// Merchants, or credit accounts where no merchant is named.
    pub counterparties: Vec<String>,
    /// Categories of merchants.
    pub categories: Vec<String>,
    /// Types of payment; empty: those that a payer asks for.
    pub payment_types: Vec<String>,
    /// Empty: every currency.
    pub currency: String,

    /// Of the payments that are covered, only these are allowed; empty: all.
    pub allowed_merchants: Vec<String>,
    pub allowed_categories: Vec<String>,
    pub allowed_countries: Vec<String>,
    /// Of the payments that are covered, these are not allowed.
    pub blocked_merchants: Vec<String>,
    pub blocked_categories: Vec<String>,
    pub blocked_countries: Vec<String>,

    /// What is counted together within one account: `account`, `card`, `counterparty` or `payment_type`.
    pub per: String,
    /// `payment`, `day`, `week`, `month`, `rolling` or `lifetime`; empty where nothing is counted.
    pub window: String,
    /// Of calendar windows: IANA name of the time zone.
    pub zone: String,
    /// Of weeks: English name of the day in lower case.
    pub week_starts_on: String,
    /// Of rolling windows.
    pub window_minutes: Option<i64>,
    pub amount_minor_max: Option<i64>,
    pub payments_max: Option<i64>,
    /// What gives back what a payment has used: `reverse`, `refund`, `chargeback`.
    pub gives_back: Vec<String>,
}

topic_event! {
    PaymentLimit: "payment_limit", keyed by KeySpace::Named("payment_limit"), "BACKWARD", "A limit on payments.",
    key: |event, out| key_text(out, &format!("{}/{}", event.name, event.version)),
    time: |event| event.effective_from,
    meta: |event| Some(&mut event.meta),
}
