//! What a payment says, read for the reference.

use super::*;

pub(super) fn can_go_back(how: Type, what: Type) -> bool {
    match how {
        Type::ChargebackReversal => what == Type::Chargeback,
        Type::Reverse if what == Type::FxExchange => true,
        Type::Reverse if what == Type::Journal => false,
        _ => matches!(
            what,
            Type::Transfer | Type::Deposit | Type::Withdrawal | Type::Capture | Type::ForcePost | Type::Journal
        ),
    }
}

/// What the payer gives beside the amount.
pub(super) fn on_top(pay: &Pay) -> i128 {
    match pay.fee_terms.charge {
        FeeCharge::OnTop => i128::from(pay.fee_minor),
        FeeCharge::Deducted => 0,
    }
}

/// Amount and currency that the credit account is offered.
pub(super) fn arriving(pay: &Pay) -> (i128, &str) {
    match &pay.exchange {
        None => (i128::from(pay.amount_minor) + on_top(pay) - i128::from(pay.fee_minor), &pay.currency),
        Some(exchange) if pay.payment_type == Type::Reverse => {
            (i128::from(exchange.sold_minor), &exchange.sold_currency)
        }
        Some(exchange) => (i128::from(exchange.bought_minor), &exchange.bought_currency),
    }
}

/// Whether the time of a payment is still to come.
pub(super) fn waits(pay: &Pay, at: i64, now: i64) -> bool {
    pay.waits_micros.is_some_and(|micros| at + micros > now)
}

pub(super) fn lasts(pay: &Pay) -> i64 {
    pay.lasts_micros.unwrap_or(HOLD_MICROS)
}

pub(super) fn same_body(one: &Pay, other: &Pay) -> bool {
    (one.payment_type, &one.to, one.amount_minor, &one.currency)
        == (other.payment_type, &other.to, other.amount_minor, &other.currency)
        && one.exchange.as_ref().map(|exchange| &exchange.quote)
            == other.exchange.as_ref().map(|exchange| &exchange.quote)
        && (one.waits_micros, one.retries_micros) == (other.waits_micros, other.retries_micros)
        && (&one.debits, &one.credits) == (&other.debits, &other.credits)
        && (&one.reference, one.lasts_micros, one.remainder) == (&other.reference, other.lasts_micros, other.remainder)
}
