//! The other legs of a transfer: the credit at the payee's side, the return at the payer's, suspense as the last resort.
//!
//! The engine reads each instruction exactly once, so none is remembered.

use tidemill_core::{AnyEvent, CodeSpec, Context, Flow, Meta, Outcome, Reject};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{Alert, EntryKind, Instruction, InstructionKind, PaymentStatus, StatusCode, StatusPhase};

use super::Config;
use super::accounts::{ACCOUNTS, Account, Internal};
use super::book::{Book, Line, Overflow, Slot, Voucher};
use super::codes::{
    AMOUNT_OVERFLOW, CREDIT_ACCOUNT_CLOSED, CREDIT_ACCOUNT_FROZEN, CREDIT_ACCOUNT_NOT_FOUND, CURRENCY_MISMATCH,
    IN_SUSPENSE, LEDGER_UNBALANCED,
};
use super::outcomes::{Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};

pub(super) fn process(instruction: &Instruction, config: Config, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let addressed_to = match instruction.kind {
        InstructionKind::Credit => &instruction.credit_account,
        InstructionKind::Return => &instruction.debit_account,
    };
    if instruction.amount_minor <= 0 || instruction.fee_minor < 0 || instruction.account_id != *addressed_to {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("an instruction contradicts itself"));
    }
    match instruction.kind {
        InstructionKind::Credit => credit(instruction, context)?,
        InstructionKind::Return => take_back(instruction, config, context)?,
    }
    Ok(Flow::Done(Outcome::Applied))
}

fn credit(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), Reject> {
    match book_credit(instruction, context)? {
        Ok(book) => book.write(context),
        Err(code) => {
            let back: AnyEvent = Box::new(Instruction {
                meta: Meta::default(),
                kind: InstructionKind::Return,
                account_id: instruction.debit_account.clone(),
                reason: Some(code.code.to_owned()),
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
    context: &mut Context<'_>,
) -> Result<Result<Book<'a>, &'static CodeSpec>, Reject> {
    let payee = ACCOUNTS.get(context.state, instruction.account_id.as_bytes())?;
    let payee = match admit(payee, instruction) {
        Ok(payee) => payee,
        Err(code) => return Ok(Err(code)),
    };
    let mut book = Book::new(voucher(instruction, context));
    let account = book.add(instruction.account_id.clone(), payee);
    let contra = book.add_internal(Internal::InTransit, context.state)?;
    let amount_minor = i128::from(instruction.amount_minor);
    let posted = book.post(Line { account, contra, kind: EntryKind::Credit, amount_minor, leg_no: 2 });
    Ok(posted.map(|()| book).map_err(|Overflow| &AMOUNT_OVERFLOW))
}

/// Whether the account takes credits, by the same rules and in the same order on both sides.
fn admit(account: Option<Account>, instruction: &Instruction) -> Result<Account, &'static CodeSpec> {
    let account = account.filter(|account| !account.is_internal()).ok_or(&CREDIT_ACCOUNT_NOT_FOUND)?;
    if account.currency != instruction.currency {
        return Err(&CURRENCY_MISMATCH);
    }
    if account.closed {
        return Err(&CREDIT_ACCOUNT_CLOSED);
    }
    if account.credits_frozen {
        return Err(&CREDIT_ACCOUNT_FROZEN);
    }
    Ok(account)
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
        to_payer = post_return(&mut book, account, instruction.amount_minor, fee_back_minor, context)?.then_some(book);
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
    context.effects.emit("status", status(instruction, code, &reason, fee_back_minor));
    if let Some(outcome) = outcome {
        PAYMENT_OUTCOMES.put(context.state, &key, &PaymentOutcome { aftermath, ..outcome })?;
    }
    Ok(())
}

fn suspend(
    instruction: &Instruction,
    voucher: Voucher<'_>,
    fee_back_minor: i64,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let mut book = Book::new(voucher);
    let suspense = book.add_internal(Internal::Suspense, context.state)?;
    if !post_return(&mut book, suspense, instruction.amount_minor, fee_back_minor, context)? {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("an internal balance would leave 64 bits"));
    }
    book.write(context)?;
    let alert: AnyEvent = Box::new(Alert {
        meta: Meta::default(),
        subject: instruction.debit_account.clone(),
        code: "money_in_suspense".to_owned(),
        severity: "critical".to_owned(),
        message: format!(
            "Returned money could not be given back to its payer; it stands in {}.",
            Internal::Suspense.id(context.task, &instruction.currency)
        ),
        payment_id: Some(instruction.payment_id.clone()),
        event_time: instruction.event_time,
    });
    context.effects.emit("alerts", alert);
    Ok(())
}

/// Whether amount and fee fit; a book that says no must not be written.
fn post_return(
    book: &mut Book<'_>,
    account: Slot,
    amount_minor: i64,
    fee_back_minor: i64,
    context: &mut Context<'_>,
) -> Result<bool, Reject> {
    let line = |kind, contra, minor: i64| Line { account, contra, kind, amount_minor: i128::from(minor), leg_no: 3 };
    let in_transit = book.add_internal(Internal::InTransit, context.state)?;
    let mut posted = book.post(line(EntryKind::Return, in_transit, amount_minor));
    if fee_back_minor > 0 {
        let fees = book.add_internal(Internal::Fees, context.state)?;
        posted = posted.and_then(|()| book.post(line(EntryKind::Fee, fees, fee_back_minor)));
    }
    Ok(posted.is_ok())
}

fn voucher<'a>(instruction: &'a Instruction, context: &Context<'_>) -> Voucher<'a> {
    Voucher {
        task: context.task,
        payment_id: &instruction.payment_id,
        source: &instruction.source,
        currency: &instruction.currency,
        fee_schedule: None,
        event_time: instruction.event_time,
    }
}

fn status(instruction: &Instruction, code: String, reason: &str, fee_back_minor: i64) -> AnyEvent {
    Box::new(PaymentStatus {
        meta: Meta::default(),
        payment_id: instruction.payment_id.clone(),
        source: instruction.source.clone(),
        debit_account: instruction.debit_account.clone(),
        credit_account: instruction.credit_account.clone(),
        amount_minor: instruction.amount_minor,
        currency: instruction.currency.clone(),
        fee_minor: instruction.fee_minor - fee_back_minor,
        status: StatusCode::RJCT,
        phase: StatusPhase::Update,
        code,
        reason: Some(format!("returned: {reason}")),
        merchant_id: None,
        customer: instruction.customer.clone(),
        channel: String::new(),
        event_time: instruction.event_time,
    })
}
