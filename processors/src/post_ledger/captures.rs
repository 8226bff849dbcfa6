//! `capture` and `force_post`: money that was set aside is taken, or money is taken without asking.

use tidemill_core::Context;
use tidemill_schemas::{Remainder, StatusCode};

use super::accounts::Account;
use super::answers::Update;
use super::authorisations::{check_open, hold_of};
use super::codes::{OK, PaymentCode};
use super::holds::{self, Hold, HoldState};
use super::payment_limits::{self, Asked, Counts, Enforcement};
use super::payments::{Authorisation, Decided, Funds, Moves, Request, Stop, Take, admit_debit};

/// What is held is paid for, whatever else has happened since: only what a capture takes beyond it asks for funds. Its
/// fee was never held and is taken without asking.
pub(super) fn capture<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let mut payer = request.payer(context)?;
    let (identity, outcome, mut hold) = hold_of(request, context)?;
    let captured_minor = i128::from(hold.captured_minor) + i128::from(payment.amount_minor);
    if captured_minor > capture_minor_max(&hold, request.config.over_capture_percent) {
        return Err(PaymentCode::CaptureExceedsHold.into());
    }
    check_open(&hold)?;
    admit_debit(&payer)?;
    let beyond_minor = payment.amount_minor - payment.amount_minor.min(hold.held_minor);
    let held_before_minor = hold.held_minor;
    hold.captured_minor += payment.amount_minor;
    hold.held_minor -= payment.amount_minor.min(hold.held_minor);
    let is_final = payment.remainder == Remainder::Release || hold.held_minor == 0;
    if is_final {
        hold.end(HoldState::Captured);
        holds::unlist(&payment.debit_account, &mut payer, &hold, context.state)?;
    }
    let hold_minor = hold.held_minor - held_before_minor;
    let rest = if is_final { Rest::Released } else { Rest::Kept };
    count(beyond_minor, request, &payer, &identity, rest, context)?;
    let take = Take { hold_minor, needed_minor: i128::from(beyond_minor), funds: Funds::Checked };
    let (book, payer) = request.debit(payer, take, context)?;
    let update = Update { status: StatusCode::ACSC, code: OK, reason: "captured", at: payment.created_at };
    let authorisation = Authorisation { identity, outcome, hold, update: is_final.then_some(update) };
    Ok(Decided { authorisation: Some(authorisation), ..Decided::new(book, payer, Moves::Money) })
}

/// What becomes of what was counted with a hold and is not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Kept,
    Released,
}

/// The payment uses from now on what its authorisation has used, and beside it what was not held.
fn count(
    beyond_minor: i64,
    request: &Request<'_>,
    payer: &Account,
    authorisation: &[u8],
    rest: Rest,
    context: &mut Context<'_>,
) -> Result<(), Stop> {
    let own = request.payment.identity();
    let held_minor = request.payment.amount_minor - beyond_minor;
    payment_limits::capture(authorisation, &own, held_minor, context.state)?;
    if beyond_minor > 0 {
        let means = payment_limits::means(authorisation, context.state)?;
        let asked = Asked::beyond_hold(request.payment, payer, beyond_minor, means.as_ref());
        payment_limits::check(&asked, Enforcement::Count, context)?.write(&own, context.state)?;
    }
    if rest == Rest::Released {
        payment_limits::release(authorisation, context.state)?;
    }
    Ok(())
}

/// The percentage is of what is authorised; a fraction of a minor unit is not allowed beyond it.
fn capture_minor_max(hold: &Hold, over_capture_percent: u32) -> i128 {
    let authorised_minor = i128::from(hold.authorised_minor);
    authorised_minor + authorised_minor * i128::from(over_capture_percent) / 100
}

/// With a reference it takes the place of every capture still to come; without, it stands alone.
pub(super) fn force_post<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let mut payer = request.payer(context)?;
    let reference = payment.reference.as_deref();
    let authorised = reference.map(|reference| request.authorisation(reference, context)).transpose()?;
    // A hold that was refused is no obstacle: that the money is owed all the same is what the type says.
    let authorised = authorised.and_then(|(identity, outcome)| Some((identity, outcome.hold?, outcome)));
    if authorised.as_ref().is_some_and(|(_, hold, _)| hold.state == HoldState::Captured) {
        return Err(PaymentCode::AlreadyCaptured.into());
    }
    admit_debit(&payer)?;
    let mut authorisation = None;
    let mut hold_minor = 0;
    let mut counts = Counts::default();
    match &authorised {
        Some((identity, hold, _)) if hold.state == HoldState::Open => {
            let beyond_minor = payment.amount_minor - payment.amount_minor.min(hold.held_minor);
            count(beyond_minor, request, &payer, identity, Rest::Released, context)?;
        }
        _ => counts = payment_limits::check(&Asked::of(payment, &payer), Enforcement::Count, context)?,
    }
    if let Some((identity, mut hold, outcome)) = authorised {
        hold_minor = -take_all(&mut hold, request, &mut payer, context)?;
        let update = Update { status: StatusCode::ACSC, code: OK, reason: "captured", at: payment.created_at };
        authorisation = Some(Authorisation { identity, outcome, hold, update: Some(update) });
    }
    let take = Take { hold_minor, needed_minor: 0, funds: Funds::Forced };
    let (book, payer) = request.debit(payer, take, context)?;
    Ok(Decided { authorisation, counts, ..Decided::new(book, payer, Moves::Money) })
}

/// Ends the hold as captured, however it stands, and returns what was set aside until now.
fn take_all(
    hold: &mut Hold,
    request: &Request<'_>,
    payer: &mut Account,
    context: &mut Context<'_>,
) -> Result<i64, Stop> {
    let state = hold.state;
    let captured_minor = hold.captured_minor.checked_add(request.payment.amount_minor);
    hold.captured_minor = captured_minor.ok_or(PaymentCode::AmountOverflow)?;
    let held_minor = hold.end(HoldState::Captured);
    if state == HoldState::Open {
        holds::unlist(&request.payment.debit_account, payer, hold, context.state)?;
    }
    Ok(held_minor)
}
