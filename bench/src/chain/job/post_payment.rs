//! Takes amount and fee from the debit account and tells the credit account's owner.
//!
//! - Input: `priced_payment`; ends the chain.
//! - Store: `accounts`.
//! - Writes the entries `debit` and `fee`, the instruction, and the account's balance.
//! - Codes: `insufficient_funds`, which changes nothing.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{AnyEvent, Class, CodeSpec, Context, Flow, Outcome, Processor, ProcessorSpec, Reject};

use crate::chain::job::account::{self, Account};
use crate::chain::job::charge_fee::PricedPayment;
use crate::chain::job::outputs::{
    BALANCES, Balance, ENTRIES, Entry, EntryKind, INSTRUCTIONS, Instruction, REJECTED, Rejected,
};

pub(super) static SPEC: ProcessorSpec = ProcessorSpec {
    name: "post_payment",
    summary: "Takes amount and fee from the debit account and instructs the credit account.",
    signatures: &[Signature { takes: PricedPayment::KIND, gives: None }],
    stores: &[account::STORE],
    ports: &[ENTRIES, INSTRUCTIONS, BALANCES, REJECTED],
    references: &[],
    codes: &[INSUFFICIENT_FUNDS],
    decodes: None,
    moves_money: MovesMoney::Yes,
    example: "",
    build: |_| Ok(Box::new(PostPayment)),
};

const INSUFFICIENT_FUNDS: CodeSpec = CodeSpec {
    code: "insufficient_funds",
    class: Class::Business,
    summary: "The account does not hold amount and fee.",
    remedy: "Try again under a new id once it does.",
};

struct PostPayment;

impl Processor for PostPayment {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let Some(priced) = event.downcast_ref::<PricedPayment>() else { return Err(Reject::unexpected(&event)) };
        let payment = priced.payment.as_ref();
        let time = payment.time();
        let name = payment.debit_account.bytes();
        let before = Account::get(context.state, name)?;
        let debited = before.with_entry(-payment.amount_minor);
        let charged = debited.and_then(|debited| debited.with_entry(-priced.fee_minor));
        let (Some(debited), Some(charged)) = (debited, charged.filter(|charged| charged.posted_minor >= 0)) else {
            let rejected = Rejected {
                payment: payment.id.clone(),
                debit_account: payment.debit_account.clone(),
                code: INSUFFICIENT_FUNDS.code,
                time: context.record.event_time,
            };
            context.effects.emit(REJECTED.name, Box::new(rejected) as AnyEvent);
            return Ok(Flow::Done(Outcome::Rejected(INSUFFICIENT_FUNDS.code)));
        };
        charged.put(context.state, name)?;
        let entry = |kind, amount_minor, after| {
            let (payment, account) = (payment.id.clone(), payment.debit_account.clone());
            Box::new(Entry { payment, account, kind, amount_minor, after, time }) as AnyEvent
        };
        context.effects.emit(ENTRIES.name, entry(EntryKind::Debit, -payment.amount_minor, debited));
        context.effects.emit(ENTRIES.name, entry(EntryKind::Fee, -priced.fee_minor, charged));
        let instruction = Instruction {
            payment: payment.id.clone(),
            account: payment.credit_account.clone(),
            amount_minor: payment.amount_minor,
            time,
        };
        context.effects.emit(INSTRUCTIONS.name, Box::new(instruction) as AnyEvent);
        let balance = Balance { account: payment.debit_account.clone(), now: charged, time };
        context.effects.emit_latest(BALANCES.name, Box::new(balance) as AnyEvent);
        Ok(Flow::Done(Outcome::Posted))
    }
}
