//! The ledger's own records: entries, balances, and the instructions that carry money between partitions.

use serde::{Deserialize, Serialize};
use tidemill_core::{EventTime, KeySpace, Meta};

use crate::codec::{key_text, topic_event};
use crate::dates::Date;
use crate::exchange::Exchange;
use crate::fee::FeeRefund;
use crate::payment_type::{PaymentType, as_text};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Money leaves the account for another.
    Debit,
    /// Money arrives.
    Credit,
    /// The price of the payment.
    Fee,
    /// Money comes back because the other side refused it.
    Return,
    /// Money is set aside for the contra account; it stays on the account.
    Hold,
    /// Money is no longer set aside for the contra account.
    Release,
    /// The house gives the currency that is bought, or takes it back.
    Exchange,
    /// What the house keeps of an exchange.
    Spread,
}

/// `ledger.entries.v1`, keyed by account. One balanced journal line: `account_id` changes by `amount_minor`,
/// `contra_account_id` by the opposite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    pub meta: Meta,
    pub account_id: String,
    /// Gapless per account, from 1.
    pub seq: i64,
    pub payment_id: String,
    pub source: String,
    pub kind: EntryKind,
    /// Signed: negative takes from the account.
    pub amount_minor: i64,
    pub currency: String,
    pub balance_after_minor: i64,
    /// An internal account of the same partition, such as `in_transit.<p>.<CCY>` or `fees.<p>.<CCY>`.
    /// On `hold` and `release`, which move nothing, the account that the money is set aside for.
    pub contra_account_id: String,
    /// 1 for the payer's side, 2 for the payee's, 3 for a return.
    pub leg_no: i32,
    /// `name@version` of the schedule that set the price, on a fee.
    pub fee_schedule: Option<String>,
    pub event_time: EventTime,
    #[serde(rename = "type", default, with = "as_text")]
    pub payment_type: PaymentType,
    /// Id of the payment that this one is about.
    #[serde(default)]
    pub reference: Option<String>,
    /// Signed change of what is set aside.
    #[serde(default)]
    pub hold_minor: i64,
    #[serde(default)]
    pub pending_after_minor: i64,
    /// Id of the quote, on every line of an exchange.
    #[serde(default)]
    pub quote: Option<String>,
    /// The business day whose books it is in; absent where no calendar is asked.
    #[serde(default)]
    pub booking_date: Option<Date>,
    /// From which day on it bears interest.
    #[serde(default)]
    pub value_date: Option<Date>,
}

/// `ledger.balances.v1`, keyed by account, compacted: the balance after the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBalance {
    pub meta: Meta,
    pub account_id: String,
    pub customer: Option<String>,
    pub kind: crate::account::AccountKind,
    pub currency: String,
    pub posted_minor: i64,
    /// Sum of open holds on outgoing money.
    pub pending_minor: i64,
    /// posted − pending + limit.
    pub available_minor: i64,
    pub limit_minor: i64,
    /// Number of the account's last entry; for internal accounts the count of their changes.
    pub seq: i64,
    pub debits_frozen: bool,
    pub credits_frozen: bool,
    pub closed: bool,
    pub event_time: EventTime,
    /// The account that this one is added up in.
    #[serde(default)]
    pub parent: Option<String>,
    /// Sum of open holds of others in favour of this account. Not part of what is available.
    #[serde(default)]
    pub pending_in_minor: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstructionKind {
    /// The payee's side of a transfer.
    Credit,
    /// A credit that was refused, on its way back to the payer.
    Return,
    /// No money: how much of it is held for the payee, `amount_minor` in all.
    Announce,
    /// No money: asks a further payer of a journal for `amount_minor`.
    Collect,
    /// What a further payer gives for a journal, on its way to the account that leads it; nothing, with a reason, where
    /// it gives nothing.
    Collected,
    /// What was collected for a journal that failed, on its way back.
    Uncollect,
    /// No money: the time of a payment that waited has come.
    Execute,
}

/// `ledger.instructions.v1`, keyed by the account to be credited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    pub meta: Meta,
    pub kind: InstructionKind,
    pub payment_id: String,
    pub source: String,
    /// The account that this instruction credits.
    pub account_id: String,
    pub debit_account: String,
    pub credit_account: String,
    pub amount_minor: i64,
    pub fee_minor: i64,
    pub currency: String,
    /// Why it comes back, on a return.
    pub reason: Option<String>,
    pub leg_no: i32,
    pub event_time: EventTime,
    pub customer: Option<String>,
    #[serde(rename = "type", default, with = "as_text")]
    pub payment_type: PaymentType,
    /// Id of the payment that this one is about.
    #[serde(default)]
    pub reference: Option<String>,
    /// Of an exchange, or of the reversal of one: what was sold and bought. `amount_minor` is then what is bought, or on
    /// a reversal what is given back.
    #[serde(default)]
    pub exchange: Option<Box<Exchange>>,
    #[serde(default)]
    pub booking_date: Option<Date>,
    #[serde(default)]
    pub value_date: Option<Date>,
    /// What becomes of the fee when the payment is refunded.
    #[serde(default)]
    pub fee_refund: FeeRefund,
    /// So much of the fee of the payment that is given back comes back with it.
    #[serde(default)]
    pub fee_back_minor: i64,
    /// What `fee_back_minor` was priced by, or `fee_minor` where it is not kept for good.
    #[serde(default)]
    pub fee_schedule: Option<String>,
    /// On `execute`: how the payment was made, by which its calendar is found.
    #[serde(default)]
    pub channel: Option<String>,
}

topic_event! {
    LedgerEntry: "ledger_entry", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "One balanced journal line.",
    key: |event, out| key_text(out, &event.account_id),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    AccountBalance: "account_balance", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "The balance of an account.",
    key: |event, out| key_text(out, &event.account_id),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}

topic_event! {
    Instruction: "instruction", keyed by KeySpace::Named("account"), "FULL_TRANSITIVE", "Money on its way to an account of another partition.",
    key: |event, out| key_text(out, &event.account_id),
    time: |event| event.event_time,
    meta: |event| Some(&mut event.meta),
}
