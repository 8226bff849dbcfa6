//! The other legs of a payment: the credit at the payee's side, the return at the payer's, suspense as the last resort;
//! and word of what is held for a payee.
//!
//! The engine reads each instruction exactly once, so none is remembered.

use tidemill_core::{AnyEvent, Context, Flow, Meta, Outcome, Reject, StateError};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{
    Alert, EntryKind, Instruction, InstructionKind, PaymentStatus, PaymentType, PostingDates, StatusCode, StatusPhase,
};

use super::accounts::{ACCOUNTS, Account, CurrencyCode, Internal};
use super::book::{self, Book, Line, Overflow, Slot, Voucher};
use super::codes::{IN_SUSPENSE, LEDGER_UNBALANCED, PaymentCode};
use super::exchanges::Swap;
use super::outcomes::{Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};
use super::receipts::{self, FeeBack, INCOMING_HOLDS, IncomingHold};
use super::{Config, journals, links, payment_limits, scheduled};

pub(super) fn process(instruction: &Instruction, config: Config, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let (addressed_to, amount_minor_min) = match instruction.kind {
        InstructionKind::Credit => (&instruction.credit_account, 1),
        InstructionKind::Return => (&instruction.debit_account, 1),
        InstructionKind::Announce => (&instruction.credit_account, 0),
        InstructionKind::Collect | InstructionKind::Uncollect => (&instruction.credit_account, 1),
        InstructionKind::Collected | InstructionKind::Execute => (&instruction.debit_account, 0),
    };
    let is_sound = instruction.amount_minor >= amount_minor_min
        && instruction.fee_minor >= 0
        && instruction.fee_back_minor >= 0
        && instruction.account_id == *addressed_to;
    if !is_sound {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("an instruction contradicts itself"));
    }
    match instruction.kind {
        InstructionKind::Credit => credit(instruction, config, context)?,
        InstructionKind::Return => take_back(instruction, config, context)?,
        InstructionKind::Announce => note_hold(instruction, context)?,
        InstructionKind::Collect => journals::collect(instruction, context)?,
        InstructionKind::Collected => journals::collected(instruction, context)?,
        InstructionKind::Uncollect => uncollect(instruction, context)?,
        InstructionKind::Execute => scheduled::execute(instruction, config, context)?,
    }
    Ok(Flow::Done(Outcome::Applied))
}

fn credit(instruction: &Instruction, config: Config, context: &mut Context<'_>) -> Result<(), Reject> {
    match book_credit(instruction, config, context)? {
        Ok(book) => {
            book.write(context)?;
            links::credited(instruction, config, context)
        }
        Err(code) => {
            let back: AnyEvent = Box::new(Instruction {
                meta: Meta::default(),
                kind: InstructionKind::Return,
                account_id: instruction.debit_account.clone(),
                reason: Some(code.spec().code.to_owned()),
                leg_no: 3,
                ..instruction.clone()
            });
            context.effects.emit("instructions", back);
            Ok(())
        }
    }
}

fn book_credit<'a>(
    instruction: &'a Instruction,
    config: Config,
    context: &mut Context<'_>,
) -> Result<Result<Book<'a>, PaymentCode>, Reject> {
    let payee = ACCOUNTS.get(context.state, instruction.account_id.as_bytes())?;
    let payee = match admit(payee, instruction) {
        Ok(payee) => payee,
        Err(code) => return Ok(Err(code)),
    };
    let fee_back = fee_back(instruction, config, context)?;
    let mut book = Book::new(voucher(instruction, context));
    if let Some(exchange) = &instruction.exchange {
        book.set_quote(&exchange.quote);
    }
    let account = book.add(instruction.account_id.clone(), payee);
    let contra = book.add_internal(Internal::InTransit, context.state)?;
    let mut posted = book.post(Line::of(EntryKind::Credit, account, contra, instruction.amount_minor, 2));
    if let Some(FeeBack { minor, schedule }) = fee_back {
        book.set_fee_schedule(schedule);
        let fees = book.add_internal(Internal::Fees, context.state)?;
        posted = posted.and_then(|()| book.post(Line::of(EntryKind::Fee, account, fees, minor, 2)));
    }
    Ok(posted.map(|()| book).map_err(|Overflow| PaymentCode::AmountOverflow))
}

/// What of a fee comes back with the money: all of it with a payment that is undone, where fees are returned at all, and with
/// a refund what its receipt has said.
fn fee_back(
    instruction: &Instruction,
    config: Config,
    context: &mut Context<'_>,
) -> Result<Option<FeeBack>, StateError> {
    if instruction.fee_back_minor > 0 {
        let (minor, schedule) = (instruction.fee_back_minor, instruction.fee_schedule.clone().unwrap_or_default());
        return Ok(Some(FeeBack { minor, schedule }));
    }
    let undone = links::undone(instruction, context.state)?.filter(|undone| config.return_fee && undone.fee_minor > 0);
    Ok(undone.map(|undone| FeeBack { minor: undone.fee_minor, schedule: undone.fee_schedule }))
}

/// Whether the account takes credits, by the same rules and in the same order on both sides.
fn admit(account: Option<Account>, instruction: &Instruction) -> Result<Account, PaymentCode> {
    let account = account.filter(|account| !account.is_internal()).ok_or(PaymentCode::CreditAccountNotFound)?;
    if account.currency != CurrencyCode::new(own_currency(instruction)) {
        return Err(PaymentCode::CurrencyMismatch);
    }
    let is_withdrawal =
        instruction.payment_type == PaymentType::Withdrawal && instruction.kind == InstructionKind::Credit;
    if is_withdrawal && !account.kind.is_settlement() {
        return Err(PaymentCode::SettlementAccountRequired);
    }
    if account.closed {
        return Err(PaymentCode::CreditAccountClosed);
    }
    if account.credits_frozen {
        return Err(PaymentCode::CreditAccountFrozen);
    }
    Ok(account)
}

/// The currency of the account that the instruction is for. What comes back from an exchange is what was given for it.
fn own_currency(instruction: &Instruction) -> &str {
    match Swap::behind(instruction) {
        Some(swap) if instruction.kind == InstructionKind::Return => swap.own_currency,
        _ => &instruction.currency,
    }
}

/// Notes how much is held for the account by one authorisation. What is held for an account that does not exist, or
/// would make more than 64 bits, is not noted, and so is not taken off later either.
fn note_hold(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), Reject> {
    let Instruction { account_id, source, debit_account, payment_id, amount_minor, .. } = instruction;
    let key = receipts::key(account_id, source, debit_account, payment_id);
    let noted = INCOMING_HOLDS.get(context.state, &key)?;
    let account = ACCOUNTS.get(context.state, account_id.as_bytes())?;
    let account = account.filter(|account| !account.is_internal());
    let currency = CurrencyCode::new(&instruction.currency);
    let Some(mut account) = account.filter(|account| account.currency == currency) else { return Ok(()) };
    if noted.is_none() && (*amount_minor == 0 || account.closed) {
        return Ok(());
    }
    let change = i128::from(*amount_minor) - i128::from(noted.map_or(0, |noted| noted.held_minor));
    let Ok(pending_in_minor) = i64::try_from(i128::from(account.pending_in_minor) + change) else { return Ok(()) };
    account.pending_in_minor = pending_in_minor;
    match amount_minor {
        0 => INCOMING_HOLDS.delete(context.state, &key)?,
        held_minor => INCOMING_HOLDS.put(context.state, &key, &IncomingHold { held_minor: *held_minor })?,
    }
    book::write_account(account_id, &account, context)?;
    Ok(())
}

/// Gives returned money back to the payer, or puts it in suspense. There is no third hop.
fn take_back(instruction: &Instruction, config: Config, context: &mut Context<'_>) -> Result<(), Reject> {
    let Some(reason) = instruction.reason.clone() else {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("a return instruction names no reason"));
    };
    let fee_back_minor = if config.return_fee { instruction.fee_minor } else { 0 };
    let key = identity(&instruction.source, &instruction.debit_account, &instruction.payment_id);
    // Long after the payment its outcome may have been forgotten; then there is no resend to answer either.
    let outcome = PAYMENT_OUTCOMES.get(context.state, &key)?;
    let fee_schedule = outcome.as_ref().map(|outcome| outcome.fee_schedule.as_str());
    let voucher = Voucher { fee_schedule, ..voucher(instruction, context) };
    let payer = ACCOUNTS.get(context.state, instruction.account_id.as_bytes())?;
    let mut to_payer = None;
    if let Ok(payer) = admit(payer, instruction) {
        let mut book = Book::new(voucher);
        let account = book.add(instruction.account_id.clone(), payer);
        to_payer = post_return(&mut book, account, instruction, fee_back_minor, context)?.then_some(book);
    }
    let (code, aftermath) = match to_payer {
        Some(book) => {
            book.write(context)?;
            (reason.clone(), Aftermath::Returned(reason.clone()))
        }
        None => {
            suspend(instruction, voucher, fee_back_minor, context)?;
            (IN_SUSPENSE.code.to_owned(), Aftermath::InSuspense(reason.clone()))
        }
    };
    if matches!(aftermath, Aftermath::Returned(_)) {
        links::returned(instruction, context)?;
    }
    // Wherever it stands now, it has not been spent.
    payment_limits::returned(instruction, context.state)?;
    context.effects.emit("status", status(instruction, outcome.as_ref(), code, &reason, fee_back_minor));
    if let Some(outcome) = outcome {
        PAYMENT_OUTCOMES.put(context.state, &key, &PaymentOutcome { aftermath, ..outcome })?;
    }
    Ok(())
}

/// What was given for a journal that failed comes back, or stands in suspense. Its sender has been told already.
fn uncollect(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), Reject> {
    journals::uncount_leg(instruction, context)?;
    let voucher = voucher(instruction, context);
    let payer = ACCOUNTS.get(context.state, instruction.account_id.as_bytes())?;
    if let Ok(payer) = admit(payer, instruction) {
        let mut book = Book::new(voucher);
        let account = book.add(instruction.account_id.clone(), payer);
        if post_return(&mut book, account, instruction, 0, context)? {
            return book.write(context);
        }
    }
    suspend(instruction, voucher, 0, context)
}

fn suspend(
    instruction: &Instruction,
    voucher: Voucher<'_>,
    fee_back_minor: i64,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut book = Book::new(voucher);
    let suspense = book.add_internal(Internal::Suspense, context.state)?;
    if !post_return(&mut book, suspense, instruction, fee_back_minor, context)? {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("an internal balance would leave 64 bits"));
    }
    book.write(context)?;
    context.effects.emit("alerts", in_suspense(instruction, context.task));
    Ok(())
}

pub(super) fn in_suspense(instruction: &Instruction, task: u32) -> AnyEvent {
    let suspense = Internal::Suspense.id(task, own_currency(instruction));
    Box::new(Alert {
        meta: Meta::default(),
        subject: instruction.account_id.clone(),
        code: "money_in_suspense".to_owned(),
        severity: "critical".to_owned(),
        message: format!("Returned money could not be given back to its payer; it stands in {suspense}."),
        payment_id: Some(instruction.payment_id.clone()),
        event_time: instruction.event_time,
    })
}

/// Whether amount and fee fit; a book that says no must not be written.
fn post_return(
    book: &mut Book<'_>,
    account: Slot,
    instruction: &Instruction,
    fee_back_minor: i64,
    context: &mut Context<'_>,
) -> Result<bool, Reject> {
    if let Some(swap) = Swap::behind(instruction) {
        return Ok(swap.taken_back().post(book, account, EntryKind::Return, 3, context)?.is_ok());
    }
    let in_transit = book.add_internal(Internal::InTransit, context.state)?;
    let mut posted = book.post(Line::of(EntryKind::Return, account, in_transit, instruction.amount_minor, 3));
    if fee_back_minor > 0 {
        let fees = book.add_internal(Internal::Fees, context.state)?;
        posted = posted.and_then(|()| book.post(Line::of(EntryKind::Fee, account, fees, fee_back_minor, 3)));
    }
    Ok(posted.is_ok())
}

pub(super) fn voucher<'a>(instruction: &'a Instruction, context: &Context<'_>) -> Voucher<'a> {
    Voucher {
        task: context.task,
        payment_type: instruction.payment_type,
        payment_id: &instruction.payment_id,
        source: &instruction.source,
        reference: instruction.reference.as_deref(),
        currency: own_currency(instruction),
        fee_schedule: None,
        event_time: instruction.event_time,
        dates: instruction
            .booking_date
            .zip(instruction.value_date)
            .map(|(booking_date, value_date)| PostingDates { booking_date, value_date }),
    }
}

fn status(
    instruction: &Instruction,
    outcome: Option<&PaymentOutcome>,
    code: String,
    reason: &str,
    fee_back_minor: i64,
) -> AnyEvent {
    let is_journal = instruction.payment_type == PaymentType::Journal;
    // What came back is less than what was asked for where the fee was taken out of it. Of a journal it is one leg.
    let amount_minor = match (Swap::behind(instruction), outcome) {
        (Some(swap), _) => -swap.own_minor,
        (None, Some(outcome)) if !is_journal => outcome.amount_minor,
        _ => instruction.amount_minor,
    };
    Box::new(PaymentStatus {
        meta: Meta::default(),
        payment_id: instruction.payment_id.clone(),
        source: instruction.source.clone(),
        debit_account: instruction.debit_account.clone(),
        credit_account: instruction.credit_account.clone(),
        amount_minor,
        currency: own_currency(instruction).to_owned(),
        fee_minor: instruction.fee_minor - fee_back_minor,
        // The other legs of a journal have stayed where they went.
        status: if is_journal { StatusCode::PART } else { StatusCode::RJCT },
        phase: StatusPhase::Update,
        code,
        reason: Some(format!("returned: {reason}")),
        merchant_id: None,
        customer: instruction.customer.clone(),
        channel: String::new(),
        event_time: instruction.event_time,
        payment_type: Some(instruction.payment_type),
        reference: instruction.reference.clone(),
        exchange: instruction.exchange.clone(),
    })
}
