//! `refund`, `reverse`, `chargeback` and `chargeback_reversal`: money goes back the way it came.
//!
//! All of them are payments of the one who received, and decided there: the receipt says how much has been given back.

use tidemill_core::Context;
use tidemill_schemas::PaymentType;

use super::codes::PaymentCode;
use super::exchanges::{self, Swap};
use super::payment_limits::{self, Asked, Enforcement};
use super::payments::{Decided, Funds, Moves, Request, Stop, Take, admit_debit};
use super::receipts::{self, RECEIPTS, Receipt};
use super::{Config, WhenSpent};

pub(super) fn give_back<'a>(request: &Request<'a>, context: &mut Context<'_>) -> Result<Decided<'a>, Stop> {
    let payment = request.payment;
    let payer = request.payer(context)?;
    let reference = payment.reference.as_deref().ok_or(PaymentCode::ReferenceNotFound)?;
    // The payment went the other way: its debit account is who is credited now.
    let key = receipts::key(&payment.debit_account, &payment.source, &payment.credit_account, reference);
    let mut receipt = RECEIPTS.get(context.state, &key)?.ok_or(PaymentCode::ReferenceNotFound)?;
    check(&receipt, payment.payment_type, payment.amount_minor)?;
    admit_debit(&payer)?;
    let mut fee_back = None;
    match payment.payment_type {
        PaymentType::Reverse => receipt.reversed = true,
        PaymentType::Chargeback => receipt.given_back_minor += payment.amount_minor,
        _ => fee_back = receipt.refund(payment.amount_minor),
    }
    let funds = funds(payment.payment_type, request.config);
    let enforcement = match funds {
        Funds::Checked => Enforcement::Refuse,
        Funds::Forced => Enforcement::Count,
    };
    let counts = payment_limits::check(&Asked::of(payment, &payer), enforcement, context)?;
    if let Some(exchange) = receipt.exchange.as_deref() {
        let decided = exchanges::debit(request, payer, exchange, Swap::undoing(exchange), funds, context)?;
        RECEIPTS.put(context.state, &key, &receipt)?;
        return Ok(Decided { counts, ..decided });
    }
    let take = Take { hold_minor: 0, needed_minor: i128::from(payment.amount_minor), funds };
    let (book, payer) = request.debit(payer, take, context)?;
    RECEIPTS.put(context.state, &key, &receipt)?;
    Ok(Decided { fee_back, counts, ..Decided::new(book, payer, Moves::Money) })
}

/// Checks `reference_not_open`, `reference_mismatch`, `refund_exceeds_captured` and `already_reversed`.
fn check(receipt: &Receipt, payment_type: PaymentType, amount_minor: i64) -> Result<(), PaymentCode> {
    let is_open = match payment_type {
        PaymentType::ChargebackReversal => receipt.payment_type == PaymentType::Chargeback,
        // An exchange is only undone whole, and one leg of a journal is not the whole of it.
        PaymentType::Reverse if receipt.payment_type == PaymentType::FxExchange => true,
        PaymentType::Reverse if receipt.payment_type == PaymentType::Journal => false,
        _ => receipt.payment_type.can_be_given_back(),
    };
    if !is_open {
        return Err(PaymentCode::ReferenceNotOpen);
    }
    if payment_type == PaymentType::Reverse && amount_minor != receipt.amount_minor {
        return Err(PaymentCode::ReferenceMismatch);
    }
    if amount_minor > receipt.left_minor() {
        return Err(PaymentCode::RefundExceedsCaptured);
    }
    if receipt.reversed {
        return Err(PaymentCode::AlreadyReversed);
    }
    Ok(())
}

fn funds(payment_type: PaymentType, config: Config) -> Funds {
    match (payment_type, config.reverse_when_spent) {
        // The card scheme has taken the money already; the books can only follow.
        (PaymentType::Chargeback, _) => Funds::Forced,
        (PaymentType::Reverse | PaymentType::ChargebackReversal, WhenSpent::Force) => Funds::Forced,
        _ => Funds::Checked,
    }
}
