//! `authorise`, `increment` and `void`: money is set aside, more of it, or given free again. None of it moves.

use tidemill_core::Context;
use tidemill_schemas::StatusCode;

use super::accounts::Account;
use super::answers::Update;
use super::codes::{OK, PaymentCode};
use super::holds::{self, Hold, HoldState};
use super::outcomes::PaymentOutcome;
use super::payment_limits::{self, Asked, Enforcement};
use super::payments::{Authorisation, Decided, Moves, Request, Stop, admit_debit, default_expiry};

pub(super) fn authorise<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let mut payer = request.payer(context)?;
    let expires_at = payment.expires_at.unwrap_or_else(|| default_expiry(payment.created_at, request.config));
    if expires_at <= payer.now(payment.created_at) {
        return Err(PaymentCode::HoldExpired.into());
    }
    admit_debit(&payer)?;
    let counts = payment_limits::check(&Asked::of(payment, &payer), Enforcement::Refuse, context)?;
    if payer.open_holds >= request.config.holds_per_account_max {
        return Err(PaymentCode::LimitExceeded.into());
    }
    payer.holds_opened += 1;
    let hold = Hold {
        number: payer.holds_opened,
        authorised_minor: payment.amount_minor,
        captured_minor: 0,
        held_minor: payment.amount_minor,
        expires_at,
        state: HoldState::Open,
    };
    let mut decided = set_aside(request, payer, payment.amount_minor, context)?;
    decided.hold = Some(hold);
    decided.counts = counts;
    Ok(decided)
}

/// The amount is the new total, so that a lost and repeated increment under another id cannot raise a hold twice.
pub(super) fn increment<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payer = request.payer(context)?;
    let (identity, outcome, mut hold) = hold_of(request, context)?;
    let more_minor = request.payment.amount_minor - hold.authorised_minor;
    if more_minor <= 0 {
        return Err(PaymentCode::IncrementNotHigher.into());
    }
    check_open(&hold)?;
    admit_debit(&payer)?;
    let means = payment_limits::means(&identity, context.state)?;
    let asked = Asked::beyond_hold(request.payment, &payer, more_minor, means.as_ref());
    let counts = payment_limits::check(&asked, Enforcement::Refuse, context)?;
    hold.authorised_minor = request.payment.amount_minor;
    hold.held_minor += more_minor;
    let mut decided = set_aside(request, payer, more_minor, context)?;
    // It is the authorisation that uses more, and gives it back with the hold.
    counts.write(&identity, context.state)?;
    decided.authorisation = Some(Authorisation { identity, outcome, hold, update: None });
    Ok(decided)
}

/// Allowed on accounts that are frozen, since it takes nothing from them.
pub(super) fn void<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let mut payer = request.payer(context)?;
    let (identity, outcome, mut hold) = hold_of(request, context)?;
    // What was given free is compared as well, so that a second void of the same amount is told what it is.
    let left_minor = hold.authorised_minor - hold.captured_minor;
    if payment.amount_minor != 0 && payment.amount_minor != left_minor {
        return Err(PaymentCode::ReferenceMismatch.into());
    }
    check_open(&hold)?;
    let held_minor = hold.end(HoldState::Voided);
    payment_limits::release(&identity, context.state)?;
    holds::unlist(&payment.debit_account, &mut payer, &hold, context.state)?;
    let mut book = request.book(context);
    let payer = book.add(payment.debit_account.clone(), payer);
    book.set_aside(payer, -held_minor, &payment.credit_account)?;
    let update = Update { status: StatusCode::CANC, code: OK, reason: "voided", at: payment.created_at };
    let authorisation = Some(Authorisation { identity, outcome, hold, update: Some(update) });
    Ok(Decided { authorisation, ..Decided::new(book, payer, Moves::Nothing) })
}

/// Checks `amount_overflow` and `insufficient_funds`.
fn set_aside<'a>(
    request: &Request<'a>,
    payer: Account,
    amount_minor: i64,
    context: &Context<'_>,
) -> Result<Decided<'a>, Stop> {
    let is_covered = !payer.kind.is_funds_checked() || payer.available_minor() >= i128::from(amount_minor);
    let mut book = request.book(context);
    let payer = book.add(request.payment.debit_account.clone(), payer);
    book.set_aside(payer, amount_minor, &request.payment.credit_account)?;
    if !is_covered {
        return Err(PaymentCode::InsufficientFunds.into());
    }
    Ok(Decided::new(book, payer, Moves::Hold))
}

/// The hold that is referred to; one that was refused is not open.
pub(super) fn hold_of(
    request: &Request<'_>,
    context: &mut Context<'_>,
) -> Result<(Vec<u8>, PaymentOutcome, Hold), Stop> {
    let reference = request.payment.reference.as_deref().ok_or(PaymentCode::ReferenceNotFound)?;
    let (identity, outcome) = request.authorisation(reference, context)?;
    let hold = outcome.hold.ok_or(PaymentCode::ReferenceNotOpen)?;
    Ok((identity, outcome, hold))
}

/// Checks `already_captured`, `already_voided` and `hold_expired`, of which only one can be the case.
pub(super) fn check_open(hold: &Hold) -> Result<(), Stop> {
    match hold.state {
        HoldState::Open => Ok(()),
        HoldState::Captured => Err(PaymentCode::AlreadyCaptured.into()),
        HoldState::Voided => Err(PaymentCode::AlreadyVoided.into()),
        HoldState::Expired => Err(PaymentCode::HoldExpired.into()),
    }
}
