//! Payments that wait for their time, and `cancel`, which calls one off.
//!
//! A payment with an `execute_at` ahead of its account's clock is kept as it is, priced and all, and takes nothing. Its
//! time has come when two payments in a row that its task has recorded were made `scheduled_grace_minutes` after it, or
//! later, so that one sender whose clock is fast makes nothing happen early. The task then sends itself an instruction, and the payment is carried out like any other in its place among the records of its account, by the
//! books as they are then. For lack of funds it is tried again every `retry_minutes` until `retry_until`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tidemill_core::{AnyEvent, Context, EventTime, Meta, Reject, StateError, StateValue, Store};
use tidemill_schemas::payment::{identity, identity_parts};
use tidemill_schemas::{FeeRefund, Instruction, InstructionKind, PostingDates, PricedPayment, StatusCode, StatusPhase};

use super::Config;
use super::accounts::{ACCOUNTS, Account};
use super::answers::Answered;
use super::book;
use super::codes::{LEDGER_UNBALANCED, OK, PaymentCode};
use super::outcomes::{self, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};
use super::payment_limits::Broken;
use super::payments::{self, Decided, Moves, Request, Stop};

/// Keyed by the payment's identity.
pub const SCHEDULED_PAYMENTS: Store<Scheduled> = Store::new("scheduled_payments");
/// Keyed by when they are due and the identity, so that the first is due first.
pub const DUE_PAYMENTS: Store<Due> = Store::new("due_payments");

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    pub priced: PricedPayment,
    /// When it is carried out, or tried again.
    pub due_at: EventTime,
}

impl StateValue for Scheduled {
    const VERSION: u8 = 1;
}

/// Its key says everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {}

impl StateValue for Due {
    const VERSION: u8 = 1;
}

const RELEASED_PER_RECORD_MAX: usize = 32;
const MINUTE_MICROS: i64 = 60_000_000;

/// What a payment does now whose time has not come, `None` for any other. Checks `limit_exceeded`.
pub(super) fn wait<'a>(
    request: &Request<'a>,
    payer: &Account,
    context: &Context<'_>,
) -> Result<Option<Decided<'a>>, PaymentCode> {
    let now = payer.now(request.payment.created_at);
    if request.payment.execute_at.is_none_or(|execute_at| execute_at <= now) {
        return Ok(None);
    }
    if payer.waiting >= request.config.scheduled_per_account_max {
        return Err(PaymentCode::LimitExceeded);
    }
    let mut book = request.book(context);
    let payer = Account { waiting: payer.waiting + 1, last_event_time: now, ..payer.clone() };
    let payer = book.add(request.payment.debit_account.clone(), payer);
    Ok(Some(Decided::new(book, payer, Moves::Later)))
}

/// Keeps a payment until it is due.
pub(super) fn keep(
    identity: &[u8],
    priced: &PricedPayment,
    due_at: EventTime,
    context: &mut Context<'_>,
) -> Result<(), StateError> {
    SCHEDULED_PAYMENTS.put(context.state, identity, &Scheduled { priced: priced.clone(), due_at })?;
    DUE_PAYMENTS.put(context.state, &due_key(due_at, identity), &Due {})?;
    outcomes::expect_due(due_at, context.state)
}

/// Sends what is due by `now` on its way. Returns when the next is due.
pub(super) fn release(
    now: EventTime,
    config: Config,
    context: &mut Context<'_>,
) -> Result<Option<EventTime>, StateError> {
    let due_by = EventTime(now.0.saturating_sub(i64::from(config.scheduled_grace_minutes) * MINUTE_MICROS));
    let first = DUE_PAYMENTS.scan(context.state, &[], RELEASED_PER_RECORD_MAX)?;
    let is_all = first.len() < RELEASED_PER_RECORD_MAX;
    let mut last = None;
    for (key, Due {}) in first {
        let Some((due_at, identity)) = due_parts(&key) else { continue };
        if due_at > due_by {
            return Ok(Some(due_at));
        }
        DUE_PAYMENTS.delete(context.state, &key)?;
        last = Some(due_at);
        if let Some(scheduled) = SCHEDULED_PAYMENTS.get(context.state, identity)? {
            context.effects.emit("instructions", execution(&scheduled));
        }
    }
    Ok(last.filter(|_| !is_all))
}

fn execution(scheduled: &Scheduled) -> AnyEvent {
    let payment = &scheduled.priced.payment;
    Box::new(Instruction {
        meta: Meta::default(),
        kind: InstructionKind::Execute,
        payment_id: payment.payment_id.clone(),
        source: payment.source.clone(),
        account_id: payment.debit_account.clone(),
        debit_account: payment.debit_account.clone(),
        credit_account: payment.credit_account.clone(),
        amount_minor: 0,
        fee_minor: 0,
        currency: payment.currency.clone(),
        reason: None,
        leg_no: 0,
        event_time: scheduled.due_at,
        customer: None,
        payment_type: payment.payment_type,
        reference: None,
        exchange: None,
        booking_date: None,
        value_date: None,
        fee_refund: FeeRefund::Kept,
        fee_back_minor: 0,
        fee_schedule: None,
        channel: Some(payment.channel.clone()),
    })
}

/// The time of a payment has come. One that was called off meanwhile is not there any longer.
pub(super) fn execute(instruction: &Instruction, config: Config, context: &mut Context<'_>) -> Result<(), Reject> {
    let identity = identity(&instruction.source, &instruction.debit_account, &instruction.payment_id);
    let Some(Scheduled { mut priced, due_at }) = SCHEDULED_PAYMENTS.get(context.state, &identity)? else {
        return Ok(());
    };
    let Some(outcome) = PAYMENT_OUTCOMES.get(context.state, &identity)? else {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("a payment that waits has no outcome"));
    };
    let retry_at = EventTime(due_at.0.saturating_add(i64::from(config.retry_minutes) * MINUTE_MICROS));
    let retries = priced.payment.retry_until.is_some_and(|until| retry_at <= until);
    // It is made now, as far as the books are concerned.
    priced.payment.created_at = due_at;
    if let Some((booking_date, value_date)) = instruction.booking_date.zip(instruction.value_date) {
        priced.dates = Some(PostingDates { booking_date, value_date });
    }
    let told = match post(&priced, &identity, &outcome, config, context) {
        Ok(()) => Told::new(StatusCode::ACSC, OK, "executed", Aftermath::Executed),
        Err(Stop::Broken(reject)) => return Err(reject),
        Err(Stop::Refused(PaymentCode::InsufficientFunds)) if retries => {
            keep(&identity, &priced, retry_at, context)?;
            let code = PaymentCode::InsufficientFunds.spec().code;
            Told::new(StatusCode::PDNG, code, "tried again later", Aftermath::Waiting)
        }
        Err(Stop::Refused(code)) => refused(code, code.spec().summary, &priced, context)?,
        Err(Stop::Limited(Broken { code, detail })) => refused(code, detail, &priced, context)?,
    };
    if told.aftermath != Aftermath::Waiting {
        SCHEDULED_PAYMENTS.delete(context.state, &identity)?;
    }
    tell(&priced, told, &identity, outcome, context)
}

struct Told {
    status: StatusCode,
    code: &'static str,
    reason: Cow<'static, str>,
    aftermath: Aftermath,
}

impl Told {
    fn new(status: StatusCode, code: &'static str, reason: impl Into<Cow<'static, str>>, aftermath: Aftermath) -> Self {
        Self { status, code, reason: reason.into(), aftermath }
    }
}

/// For good.
fn refused(
    code: PaymentCode,
    reason: impl Into<Cow<'static, str>>,
    priced: &PricedPayment,
    context: &mut Context<'_>,
) -> Result<Told, Reject> {
    let code = code.spec().code;
    stop_waiting(priced, context)?;
    Ok(Told::new(StatusCode::RJCT, code, reason, Aftermath::Refused(code.to_owned())))
}

fn tell(
    priced: &PricedPayment,
    told: Told,
    identity: &[u8],
    outcome: PaymentOutcome,
    context: &mut Context<'_>,
) -> Result<(), Reject> {
    let account = ACCOUNTS.get(context.state, priced.payment.debit_account.as_bytes())?;
    let customer = priced.payment.customer.clone().or_else(|| account.and_then(|account| account.customer));
    let answered = Answered {
        status: told.status,
        phase: StatusPhase::Update,
        code: told.code,
        reason: Some(told.reason.into_owned()),
        fee_minor: if told.status == StatusCode::ACSC { priced.fee_minor } else { 0 },
        exchange: None,
    };
    context.effects.emit("status", answered.status(&priced.payment, customer));
    let outcome = PaymentOutcome { aftermath: told.aftermath, ..outcome };
    Ok(PAYMENT_OUTCOMES.put(context.state, identity, &outcome)?)
}

fn post(
    priced: &PricedPayment,
    identity: &[u8],
    outcome: &PaymentOutcome,
    config: Config,
    context: &mut Context<'_>,
) -> Result<(), Stop> {
    let request = Request::of(priced, config);
    let Decided { mut book, payer, counts, .. } = payments::judge(&request, context)?;
    let account = book.account_mut(payer);
    account.waiting = account.waiting.saturating_sub(1);
    let customer = priced.payment.customer.clone().or_else(|| account.customer.clone());
    book.write(context)?;
    counts.write(identity, context.state)?;
    payments::send(priced, outcome, None, customer, context);
    Ok(())
}

fn stop_waiting(priced: &PricedPayment, context: &mut Context<'_>) -> Result<(), Reject> {
    let id = &priced.payment.debit_account;
    if let Some(mut account) = ACCOUNTS.get(context.state, id.as_bytes())? {
        account.waiting = account.waiting.saturating_sub(1);
        book::write_account(id, &account, context)?;
    }
    Ok(())
}

/// Checks `reference_not_found`, `reference_not_open`, `reference_mismatch`, `already_executed`, `already_cancelled`.
pub(super) fn cancel<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let mut payer = request.payer(context)?;
    let reference = payment.reference.as_deref().ok_or(PaymentCode::ReferenceNotFound)?;
    let identity = identity(&payment.source, &payment.debit_account, reference);
    let outcome = PAYMENT_OUTCOMES.get(context.state, &identity)?.ok_or(PaymentCode::ReferenceNotFound)?;
    let has_waited = outcome.status == StatusCode::PDNG && outcome.payment_type.can_be_scheduled();
    if !has_waited || matches!(outcome.aftermath, Aftermath::Refused(_)) {
        return Err(PaymentCode::ReferenceNotOpen.into());
    }
    let is_same_amount = payment.amount_minor == 0 || payment.amount_minor == outcome.amount_minor;
    if outcome.credit_account != payment.credit_account || !is_same_amount {
        return Err(PaymentCode::ReferenceMismatch.into());
    }
    match outcome.aftermath {
        Aftermath::Waiting => {}
        Aftermath::Cancelled => return Err(PaymentCode::AlreadyCancelled.into()),
        _ => return Err(PaymentCode::AlreadyExecuted.into()),
    }
    let Some(Scheduled { priced, due_at }) = SCHEDULED_PAYMENTS.get(context.state, &identity)? else {
        return Err(Reject::new(&LEDGER_UNBALANCED).because("a payment that waits is not kept").into());
    };
    SCHEDULED_PAYMENTS.delete(context.state, &identity)?;
    DUE_PAYMENTS.delete(context.state, &due_key(due_at, &identity))?;
    payer.last_event_time = payer.now(payment.created_at);
    payer.waiting = payer.waiting.saturating_sub(1);
    let told = Told::new(StatusCode::CANC, OK, "cancelled", Aftermath::Cancelled);
    tell(&priced, told, &identity, outcome, context)?;
    let mut book = request.book(context);
    let payer = book.add(payment.debit_account.clone(), payer);
    Ok(Decided::new(book, payer, Moves::Nothing))
}

fn due_key(due_at: EventTime, identity: &[u8]) -> Vec<u8> {
    [&due_at.0.to_be_bytes(), identity].concat()
}

fn due_parts(key: &[u8]) -> Option<(EventTime, &[u8])> {
    let (due_at, identity) = key.split_first_chunk::<8>()?;
    identity_parts(identity)?;
    Some((EventTime(i64::from_be_bytes(*due_at)), identity))
}
