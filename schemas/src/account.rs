//! Accounts: what is asked for on `accounts.requested.v1` and answered on `accounts.status.v1`.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, Meta};

/// What the sender wrote, not yet believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountRequest {
    pub id: Option<String>,
    pub source: Option<String>,
    /// `open`, `freeze`, `thaw`, `close`.
    #[serde(rename = "type")]
    pub request_type: Option<String>,
    pub account: Option<String>,
    pub customer: Option<String>,
    pub currency: Option<String>,
    /// Kind of account on `open` (`customer` when absent); on `freeze` and `thaw` what is frozen: `debits`, `credits`, `both`.
    pub kind: Option<String>,
    /// Overdraft limit, decimal text; `"0"` when absent.
    pub limit: Option<String>,
    pub created_at: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    Customer,
    Merchant,
    Fee,
    InTransit,
    Suspense,
    Receivable,
    External,
}

/// A validated account request. In memory only, between `decode_account` and `post_ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountCommand {
    pub request_id: String,
    pub source: String,
    pub account: String,
    pub created_at: EventTime,
    pub action: AccountAction,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountAction {
    Open { customer: Option<String>, currency: String, kind: AccountKind, limit_minor: i64 },
    Freeze(Sides),
    Thaw(Sides),
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    Debits,
    Credits,
    Both,
}

/// `accounts.status.v1`, keyed by account: the answer to one account request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    pub meta: Meta,
    pub request_id: String,
    pub source: String,
    pub account_id: String,
    pub action: String,
    /// `done` or `refused`.
    pub status: String,
    /// `ok`, or why it was refused.
    pub code: String,
    pub reason: Option<String>,
    pub event_time: EventTime,
}
