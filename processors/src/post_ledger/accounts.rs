//! Accounts as the ledger keeps them.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, Meta, StateValue, Store};
use tidemill_schemas::{AccountBalance, AccountKind};

/// Keyed by account. Holds the accounts of customers and the internal accounts of the task.
pub const ACCOUNTS: Store<Account> = Store::new("accounts");

/// Fixed in size but for the names at its end, so that reading one costs next to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub currency: CurrencyCode,
    pub kind: AccountKind,
    pub debits_frozen: bool,
    pub credits_frozen: bool,
    pub closed: bool,
    /// How far below zero the account may go.
    pub limit_minor: i64,
    pub posted_minor: i64,
    /// Sum of open holds on outgoing money.
    pub pending_minor: i64,
    /// Sum of open holds of others in favour of this account.
    pub pending_in_minor: i64,
    /// Number of the last entry; for internal accounts the count of their changes.
    pub seq: i64,
    pub open_holds: u32,
    /// How many holds there have ever been; numbers them.
    pub holds_opened: u64,
    /// When the first of the open holds ends; [`NO_EXPIRY`] without any.
    pub next_expiry_at: EventTime,
    /// How many payments wait for their time.
    pub waiting: u32,
    pub opened_at: EventTime,
    /// The account's clock: the greatest time of the records that have changed it.
    pub last_event_time: EventTime,
    pub customer: Option<String>,
    pub parent: Option<String>,
}

pub const NO_EXPIRY: EventTime = EventTime(i64::MAX);

impl StateValue for Account {
    const VERSION: u8 = 1;
}

/// The three letters of an ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CurrencyCode([u8; 3]);

impl CurrencyCode {
    /// Of a validated code; anything else becomes a code that no currency has.
    pub fn new(code: &str) -> Self {
        Self(code.as_bytes().try_into().unwrap_or_default())
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Account {
    pub(super) fn open(kind: AccountKind, currency: CurrencyCode, limit_minor: i64, at: EventTime) -> Self {
        Self {
            currency,
            kind,
            debits_frozen: false,
            credits_frozen: false,
            closed: false,
            limit_minor,
            posted_minor: 0,
            pending_minor: 0,
            pending_in_minor: 0,
            seq: 0,
            open_holds: 0,
            holds_opened: 0,
            next_expiry_at: NO_EXPIRY,
            waiting: 0,
            opened_at: at,
            last_event_time: at,
            customer: None,
            parent: None,
        }
    }

    /// posted − pending + limit
    pub fn available_minor(&self) -> i128 {
        i128::from(self.posted_minor) - i128::from(self.pending_minor) + i128::from(self.limit_minor)
    }

    /// Whether it is the ledger's own, which no payment and no request can name.
    pub fn is_internal(&self) -> bool {
        is_internal_kind(self.kind)
    }

    /// The time by which a record of `created_at` is judged: an account's time never runs backwards.
    pub(super) fn now(&self, created_at: EventTime) -> EventTime {
        self.last_event_time.max(created_at)
    }

    pub(super) fn balance(&self, id: &str) -> AccountBalance {
        let available = self.available_minor().clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        AccountBalance {
            meta: Meta::default(),
            account_id: id.to_owned(),
            customer: self.customer.clone(),
            kind: self.kind,
            currency: self.currency.as_str().to_owned(),
            posted_minor: self.posted_minor,
            pending_minor: self.pending_minor,
            available_minor: i64::try_from(available).unwrap_or(i64::MAX),
            limit_minor: self.limit_minor,
            seq: self.seq,
            debits_frozen: self.debits_frozen,
            credits_frozen: self.credits_frozen,
            closed: self.closed,
            event_time: self.last_event_time,
            parent: self.parent.clone(),
            pending_in_minor: self.pending_in_minor,
        }
    }
}

/// The ledger's own accounts, one of each per task and currency, so that no task waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Internal {
    /// Money that has left a payer and has not reached a payee. Summed over all tasks it is what is under way.
    InTransit,
    Fees,
    /// Money whose owner cannot be paid.
    Suspense,
    /// What the house has bought of a currency less what it has sold.
    FxPosition,
    /// What the house has earned by exchanges.
    FxSpread,
    /// What was given for journals that are still collecting.
    Clearing,
}

impl Internal {
    const ALL: [Self; 6] =
        [Self::InTransit, Self::Fees, Self::Suspense, Self::FxPosition, Self::FxSpread, Self::Clearing];

    fn prefix(self) -> &'static str {
        self.kind().internal_name().unwrap_or_default()
    }

    pub(super) fn kind(self) -> AccountKind {
        match self {
            Self::InTransit => AccountKind::InTransit,
            Self::Fees => AccountKind::Fee,
            Self::Suspense => AccountKind::Suspense,
            Self::FxPosition => AccountKind::FxPosition,
            Self::FxSpread => AccountKind::FxSpread,
            Self::Clearing => AccountKind::Clearing,
        }
    }

    /// `in_transit.0.EUR`
    pub(super) fn id(self, task: u32, currency: &str) -> String {
        format!("{}.{task}.{currency}", self.prefix())
    }
}

pub(super) fn is_internal_kind(kind: AccountKind) -> bool {
    Internal::ALL.iter().any(|internal| internal.kind() == kind)
}

/// Whether a name is kept for internal accounts, so that nobody can open one before the ledger does.
pub(super) fn is_reserved(id: &str) -> bool {
    Internal::ALL.iter().any(|internal| id.strip_prefix(internal.prefix()).is_some_and(|rest| rest.starts_with('.')))
}
