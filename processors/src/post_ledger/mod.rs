//! Posts payments to accounts: decides, moves the money, and answers. The end of the ledger's chains.
//!
//! Inputs, all keyed by account, in the task that owns the account:
//! - `priced_payment`, at the debit account: judged by its type. What moves money posts amount and fee and sends a credit
//!   instruction to the credit account; a hold only sets money aside. Answered on `status`.
//! - `instruction`, at the account to be credited: `credit` is the payee's side; where it cannot be applied, a
//!   `return` goes back to the payer, and where that cannot be applied either, the money stands in suspense.
//!   `announce` says how much is held for an account; `collect`, `collected` and `uncollect` are the legs of a journal with
//!   several payers; `execute` says that the time of a payment has come.
//! - `account_command`: open, freeze, thaw, change_limit, close; answered on `account_status`.
//!
//! Stores: `accounts`, `payment_outcomes`, `payment_outcomes_by_age`, `payment_outcomes_sweep`, `open_holds`, `receipts`,
//! `receipts_by_age`, `incoming_holds`, `open_journals`, `scheduled_payments`, `due_payments`,
//! `account_request_outcomes`, `limit_usages`, `limited_payments`. Reference table: `payment_limits`, see
//! `payment_limits/mod.rs`.
//!
//! Promises:
//! - Changes of one record add up to zero per currency; see `Book::write`, which refuses to write anything else.
//! - Identity (source, debit account, id) is looked up before any other rule: same body, same answer, for as long as
//!   outcomes are kept; another body, `idempotency_conflict`. A refusal is as final as a success, whoever in the chain
//!   refused. A resend that an earlier processor of the chain rejects still gets the first answer.
//! - A resend changes nothing, in the stores of the whole chain, and counts as a duplicate.
//! - A refusal changes no account. It writes its outcome, and with it the task's clock and what hangs on that: how far old
//!   values are forgotten, and which payments are due.
//! - Funds are judged on what earlier payments have left, also within one batch.
//! - Order and time: an account's records in the order of its partition. Only the end of a hold depends on time: that of
//!   its account, which is the greatest event time of the records that have changed it and never runs backwards.
//!
//! Codes in order of precedence: `codes.rs`. All lines, contra accounts and rules: `docs/reference/ledger.md`.
//!
//! Example: a has 100.00; 60.00 to b is posted, another 60.00 is answered `insufficient_funds`.

pub mod account_commands;
pub mod accounts;
mod answers;
mod authorisations;
mod book;
mod captures;
pub mod codes;
mod exchanges;
mod give_back;
pub mod holds;
mod instructions;
pub mod journals;
mod links;
pub mod outcomes;
pub mod payment_limits;
mod payments;
pub mod receipts;
pub mod scheduled;
#[cfg(test)]
mod tests;
mod transfers;

use serde::Deserialize;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    Answer, AnyEvent, Class, Context, Flow, KeySpace, PortSpec, Processor, ProcessorSpec, ReferenceSpec,
    ReferenceTable, Reject, Settings, StateError, StoreSpec,
};
use tidemill_schemas::{
    AccountBalance, AccountCommand, AccountStatus, Alert, Instruction, LedgerEntry, PaymentLimit, PaymentStatus,
    PricedPayment, ScoredPayment,
};

use self::account_commands::ACCOUNT_REQUEST_OUTCOMES;
use self::accounts::ACCOUNTS;
use self::holds::OPEN_HOLDS;
use self::journals::OPEN_JOURNALS;
use self::outcomes::{OUTCOMES_BY_AGE, PAYMENT_OUTCOMES, SWEEP};
use self::payment_limits::{LIMIT_USAGES, LIMITED_PAYMENTS, LimitTable, PAYMENT_LIMITS};
use self::receipts::{INCOMING_HOLDS, RECEIPTS, RECEIPTS_BY_AGE};
use self::scheduled::{DUE_PAYMENTS, SCHEDULED_PAYMENTS};

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "post_ledger",
    summary: "Posts payments to accounts with a funds check, carries the other leg, and manages accounts.",
    signatures: &[
        Signature { takes: PricedPayment::KIND, gives: None },
        Signature { takes: AccountCommand::KIND, gives: None },
        Signature { takes: Instruction::KIND, gives: None },
    ],
    stores: &[
        store(ACCOUNTS.name(), "Accounts of customers and the internal accounts of the task."),
        store(PAYMENT_OUTCOMES.name(), "The first outcome of each payment, by source, debit account and id."),
        store(OUTCOMES_BY_AGE.0.name(), "The identities of payment outcomes, the oldest first."),
        store(SWEEP.name(), "How far old payment outcomes have been forgotten."),
        store(OPEN_HOLDS.name(), "The open holds of each account, by when they end."),
        store(RECEIPTS.name(), "What each account has received, and how much of it has been given back."),
        store(RECEIPTS_BY_AGE.0.name(), "The keys of receipts, the oldest first."),
        store(INCOMING_HOLDS.name(), "What is held for each account by the accounts of others."),
        store(OPEN_JOURNALS.name(), "Journals of which not every payer has answered."),
        store(SCHEDULED_PAYMENTS.name(), "Payments that wait for their time."),
        store(DUE_PAYMENTS.name(), "When each payment that waits is due."),
        store(ACCOUNT_REQUEST_OUTCOMES.name(), "The first outcome of each account request."),
        store(LIMIT_USAGES.name(), "What has been used of the limits of each account."),
        store(LIMITED_PAYMENTS.name(), "What each payment has used of limits."),
    ],
    ports: &[
        PortSpec { name: "status", kind: PaymentStatus::KIND, summary: "What became of each payment." },
        PortSpec { name: "entries", kind: LedgerEntry::KIND, summary: "Every balanced journal line." },
        PortSpec { name: "balances", kind: AccountBalance::KIND, summary: "The latest balance of each account." },
        PortSpec { name: "instructions", kind: Instruction::KIND, summary: "Money on its way to another account." },
        PortSpec { name: "account_status", kind: AccountStatus::KIND, summary: "The answer to each account request." },
        PortSpec { name: "alerts", kind: Alert::KIND, summary: "Money that needs a person." },
    ],
    references: &[ReferenceSpec {
        name: PAYMENT_LIMITS,
        kind: PaymentLimit::KIND,
        summary: "How much, how often and to whom accounts may pay, effective-dated by the payment's created_at.",
        build: build_limits,
    }],
    codes: codes::CODES,
    decodes: None,
    moves_money: MovesMoney::Yes,
    example: EXAMPLE,
    build,
};

const fn store(name: &'static str, summary: &'static str) -> StoreSpec {
    StoreSpec { name, keyed_by: KeySpace::Named("account"), summary }
}

const EXAMPLE: &str = r#"
outcome_retention_days = 30
refund_days = 180
return_fee = true
hold_days = 7
holds_per_account_max = 1_000
over_capture_percent = 0
reverse_when_spent = "refuse"
scheduled_per_account_max = 1_000
scheduled_grace_minutes = 15
retry_minutes = 1_440

[[limits]]
name = "everyday"
version = "1"
effective_from = "2000-01-01T00:00:00Z"
currency = "EUR"
window = "day"
zone = "Europe/Berlin"
amount_minor_max = 1_000_000
payments_max = 100
gives_back = ["reverse", "refund"]
"#;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// How long a payment's outcome answers its resends, in days of event time; 1 to 3,650.
    outcome_retention_days: u32,
    /// How long a payment can be refunded, reversed or charged back, in days of event time; 1 to 3,650.
    refund_days: u32,
    /// Whether the fee goes back to the payer together with a returned or reversed payment.
    return_fee: bool,
    /// How long a hold lasts that does not say, in days; 1 to 400.
    hold_days: u32,
    /// How many holds an account can have open; 1 to 100,000.
    holds_per_account_max: u32,
    /// How much more than authorised may be captured, in per cent; 0 to 100.
    over_capture_percent: u32,
    /// What becomes of a reversal whose money has been spent.
    reverse_when_spent: WhenSpent,
    /// How many payments of an account can wait for their time; 1 to 100,000.
    scheduled_per_account_max: u32,
    /// How long after the time of a payment that waits two payments must have been made, in minutes; 0 to 1,440.
    scheduled_grace_minutes: u32,
    /// After how long a payment that waited is tried again for lack of funds, in minutes; 1 to 44,640.
    retry_minutes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhenSpent {
    /// It is refused for lack of funds.
    Refuse,
    /// The account goes below its limit, and somebody is alerted.
    Force,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            outcome_retention_days: 30,
            refund_days: 180,
            return_fee: true,
            hold_days: 7,
            holds_per_account_max: 1_000,
            over_capture_percent: 0,
            reverse_when_spent: WhenSpent::Refuse,
            scheduled_per_account_max: 1_000,
            scheduled_grace_minutes: 15,
            retry_minutes: 1_440,
        }
    }
}

struct PostLedger {
    config: Config,
}

fn build_limits(settings: &Settings) -> Result<Box<dyn ReferenceTable>, Vec<SettingsError>> {
    Ok(Box::new(LimitTable::from_settings(settings)?))
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    // The limits are for their table.
    let mut own = settings.clone();
    own.0.remove("limits");
    let config: Config = own.parse()?;
    let ranges = [
        ("outcome_retention_days", config.outcome_retention_days, 1..=3_650),
        ("refund_days", config.refund_days, 1..=3_650),
        ("hold_days", config.hold_days, 1..=400),
        ("holds_per_account_max", config.holds_per_account_max, 1..=100_000),
        ("over_capture_percent", config.over_capture_percent, 0..=100),
        ("scheduled_per_account_max", config.scheduled_per_account_max, 1..=100_000),
        ("scheduled_grace_minutes", config.scheduled_grace_minutes, 0..=1_440),
        ("retry_minutes", config.retry_minutes, 1..=44_640),
    ];
    let outside = ranges.into_iter().filter(|(_, value, range)| !range.contains(value));
    let errors: Vec<SettingsError> = outside
        .map(|(key, _, range)| {
            let error = SettingsError::new(key, format!("must be from {} to {}", range.start(), range.end()));
            error.hint(format!("Without the key it is {}.", default_of(key)))
        })
        .collect();
    if errors.is_empty() { Ok(Box::new(PostLedger { config })) } else { Err(errors) }
}

/// As the documented example has it, which says the defaults.
fn default_of(key: &str) -> &'static str {
    let line = EXAMPLE.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    line.unwrap_or_default()
}

impl Processor for PostLedger {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let event = match event.downcast::<PricedPayment>() {
            Ok(payment) => return payments::process(payment, self.config, context),
            Err(event) => event,
        };
        let event = match event.downcast::<Instruction>() {
            Ok(instruction) => return instructions::process(&instruction, self.config, context),
            Err(event) => event,
        };
        match event.downcast::<AccountCommand>() {
            Ok(command) => account_commands::process(command, context),
            Err(event) => Err(Reject::unexpected(&event)),
        }
    }

    fn on_reject(&self, reject: &Reject, context: &mut Context<'_>) -> Result<Answer, StateError> {
        let Some(subject) = reject.subject().filter(|_| reject.class() == Class::Business) else {
            return Ok(Answer::NotMine);
        };
        if let Some(priced) = subject.downcast_ref::<PricedPayment>() {
            answers::answer_reject(reject, &priced.payment, self.config, context)
        } else if let Some(scored) = subject.downcast_ref::<ScoredPayment>() {
            answers::answer_reject(reject, &scored.payment, self.config, context)
        } else if let Some(command) = subject.downcast_ref::<AccountCommand>() {
            account_commands::answer_reject(reject, command, context)
        } else {
            Ok(Answer::NotMine)
        }
    }
}
