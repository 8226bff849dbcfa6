//! Accounts: what is asked for on `accounts.requested.v1` and answered on `accounts.status.v1`.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, memory_event, topic_event};
use crate::status::StatusPhase;

/// What the sender wrote, not yet believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountRequest {
    pub id: Option<String>,
    pub source: Option<String>,
    /// `open`, `freeze`, `thaw`, `change_limit`, `change_segment`, `close`.
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
    /// The account that a new one is added up in.
    pub parent: Option<String>,
    /// On `close`, what becomes of open holds: `refuse` (when absent) or `release`.
    pub holds: Option<String>,
    /// On `change_segment`, the new one; none when absent.
    pub segment: Option<String>,
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
    Asset,
    Liability,
    Income,
    Expense,
    FxPosition,
    FxSpread,
    Clearing,
}

impl AccountKind {
    /// Whether money of the outside world stands there: where deposits come from and withdrawals go to.
    pub fn is_settlement(self) -> bool {
        matches!(self, Self::External | Self::Asset)
    }

    /// Whether debits ask for funds. What is owned and what was spent is less than zero by nature in books where money
    /// owed to customers is more than zero.
    pub fn is_funds_checked(self) -> bool {
        !matches!(self, Self::Asset | Self::Expense)
    }

    /// What the names of the ledger's own accounts of this kind begin with, before `.<task>.<currency>`; `None` for
    /// kinds that are opened by a request.
    pub const fn internal_name(self) -> Option<&'static str> {
        match self {
            Self::Fee => Some("fees"),
            Self::InTransit => Some("in_transit"),
            Self::Suspense => Some("suspense"),
            Self::FxPosition => Some("fx_position"),
            Self::FxSpread => Some("fx_spread"),
            Self::Clearing => Some("clearing"),
            Self::Customer
            | Self::Merchant
            | Self::Receivable
            | Self::External
            | Self::Asset
            | Self::Liability
            | Self::Income
            | Self::Expense => None,
        }
    }

    /// Whether each change of such an account is an entry of its own, so that its entries are numbered without gaps and
    /// lead from balance to balance. Those that carry the other side of entries change without having one.
    pub const fn numbers_entries(self) -> bool {
        self.internal_name().is_none() || matches!(self, Self::Suspense)
    }
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
    Open {
        customer: Option<String>,
        parent: Option<String>,
        currency: String,
        kind: AccountKind,
        limit_minor: i64,
    },
    Freeze(Sides),
    Thaw(Sides),
    ChangeLimit {
        limit_minor: i64,
        currency: String,
    },
    /// By which fees are priced; none takes the account out of every segment.
    ChangeSegment {
        segment: Option<String>,
    },
    Close(OpenHolds),
}

/// What becomes of open holds when their account is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenHolds {
    /// The account stays open.
    Refuse,
    /// They are given up.
    Release,
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
    /// `outcome`, the one answer to the request, or `repeat`, the answer to a resend.
    #[serde(default = "StatusPhase::outcome")]
    pub phase: StatusPhase,
}

topic_event! {
    AccountRequest: "account_request", keyed by KeySpace::Any, "BACKWARD", "What a sender asks for an account.",
    key: |event, out| key_text(out, event.account.as_deref().unwrap_or_default()),
    time: |event| event.created_at.as_deref().and_then(EventTime::parse).unwrap_or_default(),
    meta: |_| None,
}

memory_event! {
    AccountCommand: "account_command", keyed by KeySpace::Named("account"),
    key: |event, out| key_text(out, &event.account),
    time: |event| event.created_at,
}

topic_event! {
    AccountStatus: "account_status", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "The answer to one account request.",
    key: |event, out| key_text(out, &event.account_id),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}
