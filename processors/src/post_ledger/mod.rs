//! Posts payments to accounts: decides, moves the money, and answers. The end of the ledger's chains.
//!
//! Inputs, all keyed by account, in the task that owns the account:
//! - `priced_payment`, at the debit account: the payer's side of a transfer. Posts amount and fee, sends a credit
//!   instruction to the credit account, answers on `status`.
//! - `instruction`, at the account to be credited: `credit` is the payee's side; where it cannot be applied, a
//!   `return` goes back to the payer, and where that cannot be applied either, the money stands in suspense.
//! - `account_command`: open, freeze, thaw, close; answered on `account_status`.
//!
//! Stores: `accounts`, `payment_outcomes`, `payment_outcomes_sweep`, `account_request_outcomes`.
//!
//! Promises:
//! - Changes of one record add up to zero per currency; see `Book::write`, which refuses to write anything else.
//! - Identity (source, debit account, id) is looked up before any other rule: same body, same answer, for as long as
//!   outcomes are kept; another body, `idempotency_conflict`. A refusal is as final as a success, whoever in the chain
//!   refused. A resend that an earlier processor of the chain rejects still gets the first answer.
//! - A resend changes nothing, in the stores of the whole chain, and counts as a duplicate.
//! - A refusal changes no account. It writes its outcome, and the sweep's place with it.
//! - Funds are judged on what earlier payments have left, also within one batch.
//! - Order and time: an account's records in the order of its partition; event time is only carried along.
//!
//! Codes in order of precedence: `codes.rs`. All lines, contra accounts and rules: `docs/reference/ledger.md`.
//!
//! Example: a has 100.00; 60.00 to b is posted, another 60.00 is answered `insufficient_funds`.

mod account_commands;
pub mod accounts;
mod book;
pub mod codes;
mod instructions;
pub mod outcomes;
#[cfg(test)]
mod tests;
mod transfers;

use serde::Deserialize;
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    Answer, AnyEvent, Class, Context, Flow, KeySpace, PortSpec, Processor, ProcessorSpec, Reject, Settings, StateError,
    StoreSpec,
};
use tidemill_schemas::{
    AccountBalance, AccountCommand, AccountStatus, Alert, Instruction, LedgerEntry, PaymentStatus, PricedPayment,
    ScoredPayment,
};

use self::accounts::ACCOUNTS;
use self::outcomes::{ACCOUNT_REQUEST_OUTCOMES, PAYMENT_OUTCOMES, SWEEP};

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
        store(SWEEP.name(), "How far old payment outcomes have been forgotten."),
        store(ACCOUNT_REQUEST_OUTCOMES.name(), "The first outcome of each account request."),
    ],
    ports: &[
        PortSpec { name: "status", kind: PaymentStatus::KIND, summary: "What became of each payment." },
        PortSpec { name: "entries", kind: LedgerEntry::KIND, summary: "Every balanced journal line." },
        PortSpec { name: "balances", kind: AccountBalance::KIND, summary: "The latest balance of each account." },
        PortSpec { name: "instructions", kind: Instruction::KIND, summary: "Money on its way to another account." },
        PortSpec { name: "account_status", kind: AccountStatus::KIND, summary: "The answer to each account request." },
        PortSpec { name: "alerts", kind: Alert::KIND, summary: "Money that needs a person: money_in_suspense." },
    ],
    references: &[],
    codes: codes::CODES,
    decodes: None,
    moves_money: MovesMoney::Yes,
    example: "outcome_retention_days = 30\nreturn_fee = true\n",
    build,
};

const fn store(name: &'static str, summary: &'static str) -> StoreSpec {
    StoreSpec { name, keyed_by: KeySpace::Named("account"), summary }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// How long a payment's outcome answers its resends, in days of event time; 1 to 3,650.
    outcome_retention_days: u32,
    /// Whether the fee goes back to the payer together with a returned payment.
    return_fee: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { outcome_retention_days: 30, return_fee: true }
    }
}

struct PostLedger {
    config: Config,
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let config: Config = settings.parse()?;
    if !(1..=3_650).contains(&config.outcome_retention_days) {
        let error = SettingsError::new("outcome_retention_days", "must be from 1 to 3650");
        return Err(vec![error.hint("A resend later than this many days is carried out again; 30 is a good start.")]);
    }
    Ok(Box::new(PostLedger { config }))
}

impl Processor for PostLedger {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let event = match event.downcast::<PricedPayment>() {
            Ok(payment) => return transfers::process(payment, self.config, context),
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
            transfers::answer_reject(reject, &priced.payment, self.config, context)
        } else if let Some(scored) = subject.downcast_ref::<ScoredPayment>() {
            transfers::answer_reject(reject, &scored.payment, self.config, context)
        } else if let Some(command) = subject.downcast_ref::<AccountCommand>() {
            account_commands::answer_reject(reject, command, context)
        } else {
            Ok(Answer::NotMine)
        }
    }
}
