//! The payer's side of a transfer: the decision, the debit, the fee, and the instruction to the payee's side.

use tidemill_core::{Answer, AnyEvent, CodeSpec, Context, EventTime, Flow, Meta, Outcome, Reject, StateError};
use tidemill_schemas::payment::PaymentBody;
use tidemill_schemas::{
    EntryKind, Instruction, InstructionKind, PaymentStatus, PricedPayment, StatusCode, StatusPhase,
};

use super::Config;
use super::accounts::{ACCOUNTS, Account, Internal};
use super::book::{Book, Line, Overflow, Voucher};
use super::codes::{
    AMOUNT_OVERFLOW, CURRENCY_MISMATCH, DEBIT_ACCOUNT_CLOSED, DEBIT_ACCOUNT_FROZEN, DEBIT_ACCOUNT_NOT_FOUND,
    IDEMPOTENCY_CONFLICT, INSUFFICIENT_FUNDS, OK,
};
use super::outcomes::{self, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};

pub(super) fn process(priced: PricedPayment, config: Config, context: &mut Context<'_>) -> Result<Flow, Reject> {
    let identity = priced.payment.identity();
    if let Some(first) = PAYMENT_OUTCOMES.get(context.state, &identity)? {
        if first.body_hash != priced.payment.body_hash {
            return Err(Reject::new(&IDEMPOTENCY_CONFLICT).about(Box::new(priced)));
        }
        answer_repeat(&first, &priced.payment, context)?;
        return Ok(Flow::Done(Outcome::Duplicate));
    }
    let payer = ACCOUNTS.get(context.state, priced.payment.debit_account.as_bytes())?;
    let payer = match admit(payer, &priced.payment) {
        Ok(payer) => payer,
        Err(code) => return Err(Reject::new(code).about(Box::new(priced))),
    };
    let customer = priced.payment.customer.clone().or_else(|| payer.customer.clone());
    let book = match debit(payer, &priced, context)? {
        Ok(book) => book,
        Err(code) => return Err(Reject::new(code).about(Box::new(priced))),
    };
    book.write(context)?;
    let PricedPayment { payment, fee_minor, fee_schedule, .. } = priced;
    context.effects.emit("instructions", instruction(&payment, fee_minor, customer.clone()));
    context
        .effects
        .emit("status", Answered { fee_minor, ..Answered::outcome(OK, StatusCode::ACSC) }.status(&payment, customer));
    let outcome = PaymentOutcome {
        body_hash: payment.body_hash,
        status: StatusCode::ACSC,
        code: OK.to_owned(),
        fee_minor,
        fee_schedule,
        at: EventTime::default(),
        aftermath: Aftermath::None,
    };
    outcomes::remember(context.state, &identity, outcome, payment.created_at, config.outcome_retention_days)?;
    Ok(Flow::Done(Outcome::Posted))
}

/// The rules that can be judged on the account alone, in order of precedence.
fn admit(payer: Option<Account>, payment: &PaymentBody) -> Result<Account, &'static CodeSpec> {
    let payer = payer.filter(|account| !account.is_internal()).ok_or(&DEBIT_ACCOUNT_NOT_FOUND)?;
    if payer.currency != payment.currency {
        return Err(&CURRENCY_MISMATCH);
    }
    if payer.closed {
        return Err(&DEBIT_ACCOUNT_CLOSED);
    }
    if payer.debits_frozen {
        return Err(&DEBIT_ACCOUNT_FROZEN);
    }
    Ok(payer)
}

/// Posts amount and fee in a book of their own and judges the balance that is left. Nothing is written yet.
fn debit<'a>(
    payer: Account,
    priced: &'a PricedPayment,
    context: &mut Context<'_>,
) -> Result<Result<Book<'a>, &'static CodeSpec>, StateError> {
    let payment = &priced.payment;
    let mut book = Book::new(Voucher {
        task: context.task,
        payment_id: &payment.payment_id,
        source: &payment.source,
        currency: &payment.currency,
        fee_schedule: Some(&priced.fee_schedule),
        event_time: payment.created_at,
    });
    let payer = book.add(payment.debit_account.clone(), payer);
    let in_transit = book.add_internal(Internal::InTransit, context.state)?;
    let line =
        |kind, contra, minor: i64| Line { account: payer, contra, kind, amount_minor: -i128::from(minor), leg_no: 1 };
    let mut posted = book.post(line(EntryKind::Debit, in_transit, payment.amount_minor));
    if priced.fee_minor > 0 {
        let fees = book.add_internal(Internal::Fees, context.state)?;
        posted = posted.and_then(|()| book.post(line(EntryKind::Fee, fees, priced.fee_minor)));
    }
    Ok(match posted {
        Err(Overflow) => Err(&AMOUNT_OVERFLOW),
        Ok(()) if book.account(payer).available_minor() < 0 => Err(&INSUFFICIENT_FUNDS),
        Ok(()) => Ok(book),
    })
}

fn instruction(payment: &PaymentBody, fee_minor: i64, customer: Option<String>) -> AnyEvent {
    Box::new(Instruction {
        meta: Meta::default(),
        kind: InstructionKind::Credit,
        payment_id: payment.payment_id.clone(),
        source: payment.source.clone(),
        account_id: payment.credit_account.clone(),
        debit_account: payment.debit_account.clone(),
        credit_account: payment.credit_account.clone(),
        amount_minor: payment.amount_minor,
        fee_minor,
        currency: payment.currency.clone(),
        reason: None,
        leg_no: 2,
        event_time: payment.created_at,
        customer,
    })
}

/// Answers a reject of any processor of the chain. What was answered before keeps its first answer, also when the
/// chain would judge it otherwise today, and counts as a repeat.
pub(super) fn answer_reject(
    reject: &Reject,
    payment: &PaymentBody,
    config: Config,
    context: &mut Context<'_>,
) -> Result<Answer, StateError> {
    let identity = payment.identity();
    match PAYMENT_OUTCOMES.get(context.state, &identity)? {
        Some(first) if first.body_hash == payment.body_hash => {
            answer_repeat(&first, payment, context)?;
            return Ok(Answer::Repeat);
        }
        Some(_) => {
            let reason = Some(IDEMPOTENCY_CONFLICT.summary.to_owned());
            let phase = StatusPhase::Repeat;
            let answered = Answered { phase, reason, ..Answered::outcome(IDEMPOTENCY_CONFLICT.code, StatusCode::RJCT) };
            answer(answered, payment, context)?;
        }
        None => {
            let code = reject.code().code;
            let reason = Some(reject.message().to_owned());
            answer(Answered { reason, ..Answered::outcome(code, StatusCode::RJCT) }, payment, context)?;
            let outcome = PaymentOutcome {
                body_hash: payment.body_hash.clone(),
                status: StatusCode::RJCT,
                code: code.to_owned(),
                fee_minor: 0,
                fee_schedule: String::new(),
                at: EventTime::default(),
                aftermath: Aftermath::None,
            };
            outcomes::remember(context.state, &identity, outcome, payment.created_at, config.outcome_retention_days)?;
        }
    }
    Ok(Answer::Given)
}

fn answer_repeat(first: &PaymentOutcome, payment: &PaymentBody, context: &mut Context<'_>) -> Result<(), StateError> {
    let reason = match &first.aftermath {
        Aftermath::None => None,
        Aftermath::Returned(code) => Some(format!("returned: {code}")),
        Aftermath::InSuspense(code) => Some(format!("in suspense: {code}")),
    };
    let repeated = Answered {
        status: first.status,
        phase: StatusPhase::Repeat,
        code: &first.code,
        reason,
        fee_minor: first.fee_minor,
    };
    answer(repeated, payment, context)
}

fn answer(answered: Answered<'_>, payment: &PaymentBody, context: &mut Context<'_>) -> Result<(), StateError> {
    let payer = ACCOUNTS.get(context.state, payment.debit_account.as_bytes())?;
    let customer = payment.customer.clone().or_else(|| payer.and_then(|account| account.customer));
    context.effects.emit("status", answered.status(payment, customer));
    Ok(())
}

/// The part of a status that does not come from the payment.
struct Answered<'a> {
    status: StatusCode,
    phase: StatusPhase,
    code: &'a str,
    reason: Option<String>,
    fee_minor: i64,
}

impl<'a> Answered<'a> {
    fn outcome(code: &'a str, status: StatusCode) -> Self {
        Self { status, phase: StatusPhase::Outcome, code, reason: None, fee_minor: 0 }
    }

    fn status(self, payment: &PaymentBody, customer: Option<String>) -> AnyEvent {
        Box::new(PaymentStatus {
            meta: Meta::default(),
            payment_id: payment.payment_id.clone(),
            source: payment.source.clone(),
            debit_account: payment.debit_account.clone(),
            credit_account: payment.credit_account.clone(),
            amount_minor: payment.amount_minor,
            currency: payment.currency.clone(),
            fee_minor: self.fee_minor,
            status: self.status,
            phase: self.phase,
            code: self.code.to_owned(),
            reason: self.reason,
            merchant_id: payment.merchant.as_ref().map(|merchant| merchant.id.clone()),
            customer,
            channel: payment.channel.clone(),
            event_time: payment.created_at,
        })
    }
}
