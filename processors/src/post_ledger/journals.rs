//! `journal`: several accounts pay several others, all of it or nothing of it.
//!
//! The debit account leads. Where it pays alone, its owner decides at once. Otherwise what it pays stands in clearing
//! while its owner collects from the other payers, each of which is asked, and answers, by an instruction. When the last
//! has answered, everything leaves for those who are paid, or goes back to those who have paid. Nobody waits for anybody:
//! every account is changed by its own owner, and money that is collected is never anywhere but in transit or clearing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill_core::{AnyEvent, Context, Meta, Reject, StateError, StateValue, Store};
use tidemill_schemas::payment::{PaymentBody, identity};
use tidemill_schemas::{EntryKind, Instruction, InstructionKind, PaymentStatus, PaymentType, StatusCode, StatusPhase};

use super::accounts::{ACCOUNTS, Internal};
use super::book::{Book, Line, Overflow, Slot};
use super::codes::{LEDGER_UNBALANCED, OK, PaymentCode};
use super::instructions;
use super::outcomes::{self, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};
use super::payment_limits::{self, Asked, Broken, Counts, Enforcement};
use super::payments::{self, Decided, Moves, Request, Stop, admit_debit};

/// Keyed by the journal's identity. Journals that are still collecting.
pub const OPEN_JOURNALS: Store<OpenJournal> = Store::new("open_journals");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenJournal {
    /// What the leading account has given.
    pub own_minor: i64,
    pub credits: BTreeMap<String, i64>,
    /// How many have not answered.
    pub waiting: u32,
    pub collected: BTreeMap<String, i64>,
    /// Why somebody has given nothing.
    pub refused: Option<String>,
}

impl StateValue for OpenJournal {
    const VERSION: u8 = 1;
}

/// Checks `amount_overflow` and `insufficient_funds` beside what every payer is checked for.
pub(super) fn journal<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let payer = request.payer(context)?;
    admit_debit(&payer)?;
    let counts = payment_limits::check(&Asked::of(payment, &payer), Enforcement::Refuse, context)?;
    let is_covered = !payer.kind.is_funds_checked() || payer.available_minor() >= i128::from(payment.amount_minor);
    let (contra, moves) = match payment.debits.is_empty() {
        true => (Internal::InTransit, Moves::Money),
        false => (Internal::Clearing, Moves::Collecting),
    };
    let mut book = request.book(context);
    let payer = book.add(payment.debit_account.clone(), payer);
    let contra = book.add_internal(contra, context.state)?;
    book.post(Line::of(EntryKind::Debit, payer, contra, -payment.amount_minor, 1))?;
    if !is_covered {
        return Err(PaymentCode::InsufficientFunds.into());
    }
    Ok(Decided { counts, ..Decided::new(book, payer, moves) })
}

/// Remembers the journal and asks the other payers. `model` is the instruction as it would go to a payee.
pub(super) fn open(
    payment: &PaymentBody,
    identity: &[u8],
    model: &Instruction,
    context: &mut Context<'_>,
) -> Result<(), Stop> {
    let journal = OpenJournal {
        own_minor: payment.amount_minor,
        credits: payment.credits.clone(),
        waiting: u32::try_from(payment.debits.len()).map_err(|_| PaymentCode::AmountOverflow)?,
        collected: BTreeMap::new(),
        refused: None,
    };
    OPEN_JOURNALS.put(context.state, identity, &journal)?;
    for (account, amount_minor) in &payment.debits {
        send(model, InstructionKind::Collect, account, *amount_minor, context);
    }
    Ok(())
}

/// One instruction about the leg of an account, which stands where the payee stands in a transfer.
pub(super) fn send(
    model: &Instruction,
    kind: InstructionKind,
    account: &str,
    amount_minor: i64,
    context: &mut Context<'_>,
) {
    let leg_no = match kind {
        InstructionKind::Collect => 1,
        InstructionKind::Uncollect => 3,
        _ => 2,
    };
    let instruction: AnyEvent = Box::new(Instruction {
        meta: Meta::default(),
        kind,
        account_id: account.to_owned(),
        credit_account: account.to_owned(),
        amount_minor,
        reason: None,
        leg_no,
        ..model.clone()
    });
    context.effects.emit("instructions", instruction);
}

/// A further payer gives what it is asked for, or says why not.
pub(super) fn collect(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), Reject> {
    let (amount_minor, reason) = match book_collect(instruction, context) {
        Ok((book, counts)) => {
            book.write(context)?;
            count_leg(instruction, counts, context)?;
            (instruction.amount_minor, None)
        }
        Err(Stop::Refused(code) | Stop::Limited(Broken { code, .. })) => (0, Some(code.spec().code.to_owned())),
        Err(Stop::Broken(reject)) => return Err(reject),
    };
    let answer: AnyEvent = Box::new(Instruction {
        meta: Meta::default(),
        kind: InstructionKind::Collected,
        account_id: instruction.debit_account.clone(),
        amount_minor,
        reason,
        ..instruction.clone()
    });
    context.effects.emit("instructions", answer);
    Ok(())
}

/// What a leg uses of limits is not that of a payment which this account has made under the same id.
fn leg_key(instruction: &Instruction) -> Vec<u8> {
    let Instruction { source, account_id, payment_id, .. } = instruction;
    [b"leg".as_slice(), &identity(source, account_id, payment_id)].concat()
}

fn count_leg(instruction: &Instruction, counts: Counts, context: &mut Context<'_>) -> Result<(), Reject> {
    if counts.is_empty() {
        return Ok(());
    }
    let key = leg_key(instruction);
    counts.write(&key, context.state)?;
    Ok(outcomes::remember_leg(&key, instruction.event_time, context.state)?)
}

/// A leg of a journal that failed is as if it had not been.
pub(super) fn uncount_leg(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), StateError> {
    payment_limits::release(&leg_key(instruction), context.state)
}

fn book_collect<'a>(instruction: &'a Instruction, context: &mut Context<'_>) -> Result<(Book<'a>, Counts), Stop> {
    let id = &instruction.account_id;
    let payer = payments::payer(id, &instruction.currency, instruction.event_time, context)?;
    admit_debit(&payer)?;
    let counts = payment_limits::check(&Asked::leg(instruction, &payer), Enforcement::Refuse, context)?;
    let is_covered = !payer.kind.is_funds_checked() || payer.available_minor() >= i128::from(instruction.amount_minor);
    let mut book = Book::new(instructions::voucher(instruction, context));
    let account = book.add(id.clone(), payer);
    let in_transit = book.add_internal(Internal::InTransit, context.state)?;
    book.post(Line::of(EntryKind::Debit, account, in_transit, -instruction.amount_minor, 1))?;
    if !is_covered {
        return Err(PaymentCode::InsufficientFunds.into());
    }
    Ok((book, counts))
}

/// Takes in the answer of a further payer; the last one decides the journal.
pub(super) fn collected(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), Reject> {
    let broken = |why| Reject::new(&LEDGER_UNBALANCED).because(why);
    let identity = identity(&instruction.source, &instruction.debit_account, &instruction.payment_id);
    let Some(mut journal) = OPEN_JOURNALS.get(context.state, &identity)? else {
        return Err(broken("a leg of a journal that is not open"));
    };
    let mut book = Book::new(instructions::voucher(instruction, context));
    let clearing = book.add_internal(Internal::Clearing, context.state)?;
    let in_transit = book.add_internal(Internal::InTransit, context.state)?;
    let overflow = |Overflow| broken("an internal balance would leave 64 bits");
    match &instruction.reason {
        None => {
            journal.collected.insert(instruction.credit_account.clone(), instruction.amount_minor);
            let line = Line::of(EntryKind::Credit, clearing, in_transit, instruction.amount_minor, 1);
            book.post(line).map_err(overflow)?;
        }
        Some(code) => journal.refused = Some(first_of(journal.refused.take(), code)),
    }
    journal.waiting = journal.waiting.saturating_sub(1);
    if journal.waiting > 0 {
        book.write(context)?;
        return Ok(OPEN_JOURNALS.put(context.state, &identity, &journal)?);
    }
    OPEN_JOURNALS.delete(context.state, &identity)?;
    match journal.refused.clone() {
        None => {
            let total_minor = journal.credits.values().sum::<i64>();
            let line = Line::of(EntryKind::Debit, clearing, in_transit, -total_minor, 2);
            book.post(line).map_err(overflow)?;
            book.write(context)?;
            for (account, amount_minor) in &journal.credits {
                send(instruction, InstructionKind::Credit, account, *amount_minor, context);
            }
            conclude(instruction, &identity, StatusCode::ACSC, OK, Aftermath::Executed, &journal, context)
        }
        Some(code) => {
            fail(instruction, &journal, book, [clearing, in_transit], context)?;
            payment_limits::release(&identity, context.state)?;
            let aftermath = Aftermath::Refused(code.clone());
            conclude(instruction, &identity, StatusCode::RJCT, &code, aftermath, &journal, context)
        }
    }
}

/// Of several refusals the one that comes first in the order of codes, whoever answered first.
fn first_of(before: Option<String>, code: &str) -> String {
    let place = |code: &str| PaymentCode::ALL.iter().position(|known| known.spec().code == code);
    before.filter(|before| place(before) < place(code)).unwrap_or_else(|| code.to_owned())
}

/// Everybody gets back what they have given; what the leading account cannot take stands in suspense.
fn fail(
    instruction: &Instruction,
    journal: &OpenJournal,
    mut book: Book<'_>,
    [clearing, in_transit]: [Slot; 2],
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let back_minor = journal.collected.values().sum::<i64>();
    let mut posted = Ok(());
    if back_minor > 0 {
        posted = book.post(Line::of(EntryKind::Debit, clearing, in_transit, -back_minor, 3));
    }
    let leader = ACCOUNTS.get(context.state, instruction.debit_account.as_bytes())?;
    let leader = leader.filter(|account| !account.closed && !account.credits_frozen);
    let receiver = match leader {
        Some(leader) => book.add(instruction.debit_account.clone(), leader),
        None => {
            context.effects.emit("alerts", instructions::in_suspense(instruction, context.task));
            book.add_internal(Internal::Suspense, context.state)?
        }
    };
    posted = posted.and_then(|()| book.post(Line::of(EntryKind::Return, receiver, clearing, journal.own_minor, 3)));
    if posted.is_err() {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("what was given for a journal cannot be given back"));
    }
    book.write(context)?;
    for (account, amount_minor) in &journal.collected {
        send(instruction, InstructionKind::Uncollect, account, *amount_minor, context);
    }
    Ok(())
}

/// Tells the sender how it ended.
fn conclude(
    instruction: &Instruction,
    identity: &[u8],
    status: StatusCode,
    code: &str,
    aftermath: Aftermath,
    journal: &OpenJournal,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let Some(outcome) = PAYMENT_OUTCOMES.get(context.state, identity)? else {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("an open journal has no outcome"));
    };
    let reason = if code == OK { "all have paid" } else { "a payer of the journal has not paid" };
    let status: AnyEvent = Box::new(PaymentStatus {
        meta: Meta::default(),
        payment_id: instruction.payment_id.clone(),
        source: instruction.source.clone(),
        debit_account: instruction.debit_account.clone(),
        credit_account: outcome.credit_account.clone(),
        amount_minor: journal.own_minor,
        currency: instruction.currency.clone(),
        fee_minor: 0,
        status,
        phase: StatusPhase::Update,
        code: code.to_owned(),
        reason: Some(reason.to_owned()),
        merchant_id: None,
        customer: instruction.customer.clone(),
        channel: String::new(),
        event_time: instruction.event_time,
        payment_type: Some(PaymentType::Journal),
        reference: None,
        exchange: None,
    });
    context.effects.emit("status", status);
    Ok(PAYMENT_OUTCOMES.put(context.state, identity, &PaymentOutcome { aftermath, ..outcome })?)
}
