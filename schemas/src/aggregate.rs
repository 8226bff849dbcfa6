//! Balances added up: of a customer, and of an account with all that name it as their parent.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};

/// What a sum is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeScope {
    /// All accounts of one customer.
    Customer,
    /// An account and everything below it.
    Account,
}

/// `balances.shares.v1`, keyed by node: by how much a node's sum changes. On its way between tasks, for nobody to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceShare {
    pub meta: Meta,
    pub scope: NodeScope,
    /// Customer, or account.
    pub node: String,
    pub currency: String,
    /// By how many accounts the sum is of more.
    pub accounts: i64,
    pub posted_minor: i64,
    pub pending_minor: i64,
    pub available_minor: i64,
    /// How many parents it has climbed.
    pub depth: i32,
    pub event_time: EventTime,
}

/// `balances.aggregated.v1`, keyed by `scope/node/currency`, compacted: a sum of balances that have arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatedBalance {
    pub meta: Meta,
    pub scope: NodeScope,
    pub node: String,
    pub currency: String,
    /// How many accounts it is the sum of.
    pub accounts: i64,
    pub posted_minor: i64,
    pub pending_minor: i64,
    pub available_minor: i64,
    /// The greatest event time among them.
    pub event_time: EventTime,
}

topic_event! {
    BalanceShare: "balance_share", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "By how much a sum of balances changes.",
    key: |event, out| key_text(out, &event.node),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    AggregatedBalance: "aggregated_balance", keyed by KeySpace::Any, "FULL_TRANSITIVE", "Balances of a customer, or of an account and all below it.",
    key: |event, out| {
        out.extend_from_slice(match event.scope {
            NodeScope::Customer => b"customer/",
            NodeScope::Account => b"account/",
        });
        out.extend_from_slice(event.node.as_bytes());
        out.push(b'/');
        key_text(out, &event.currency)
    },
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}
