//! Gives the credit account what was taken from the debit account.
//!
//! - Input: `instruction`; ends the chain.
//! - Store: `accounts`.
//! - Writes the entry `credit` and the account's balance.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{AnyEvent, Class, CodeSpec, Context, Flow, Outcome, Processor, ProcessorSpec, Reject};

use crate::chain::job::account::{self, Account};
use crate::chain::job::outputs::{BALANCES, Balance, ENTRIES, Entry, EntryKind, Instruction};

pub(super) static SPEC: ProcessorSpec = ProcessorSpec {
    name: "credit_account",
    summary: "Gives an account what it was instructed to be given.",
    signatures: &[Signature { takes: Instruction::KIND, gives: None }],
    stores: &[account::STORE],
    ports: &[ENTRIES, BALANCES],
    references: &[],
    codes: &[BALANCE_TOO_LARGE],
    decodes: None,
    moves_money: MovesMoney::Yes,
    example: "",
    build: |_| Ok(Box::new(CreditAccount)),
};

/// The money has left the debit account, so it must not get lost here.
static BALANCE_TOO_LARGE: CodeSpec = CodeSpec {
    code: "balance_too_large",
    class: Class::Invariant,
    summary: "The account would hold more than a balance can say.",
    remedy: "Find out how it came to that: all accounts together open with less.",
};

struct CreditAccount;

impl Processor for CreditAccount {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let instruction = event.downcast::<Instruction>().map_err(|event| Reject::unexpected(&event))?;
        let Instruction { payment, account, amount_minor, .. } = instruction;
        // An instruction's value does not say when; its record does.
        let time = context.record.event_time;
        let before = Account::get(context.state, account.bytes())?;
        let after = before.with_entry(amount_minor).ok_or_else(|| Reject::new(&BALANCE_TOO_LARGE))?;
        after.put(context.state, account.bytes())?;
        let entry = Entry { payment, account: account.clone(), kind: EntryKind::Credit, amount_minor, after, time };
        context.effects.emit(ENTRIES.name, Box::new(entry) as AnyEvent);
        context.effects.emit_latest(BALANCES.name, Box::new(Balance { account, now: after, time }) as AnyEvent);
        Ok(Flow::Done(Outcome::Applied))
    }
}
