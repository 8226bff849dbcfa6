//! Which of several answers to a payment its row shows.
//!
//! A payment has one final outcome, but its sender may first have got it wrong: a request that fails validation is not
//! remembered, and a corrected one under the same id may post. The answers can reach the status topic in either order,
//! and a broken resend of a posted payment is answered with a reject long after. So the row shows the answer of the
//! highest precedence, and among equals the one with the later offset:
//!
//! | precedence | answer |
//! |---|---|
//! | 2 | the payment was carried out (`ACSC`, `PDNG`, `CANC`), or something happened to it afterwards (phase `update`) |
//! | 1 | the ledger refused it, finally |
//! | 0 | validation refused the request; see [`VALIDATION_CODES`] |
//!
//! Phase `repeat` answers a resend and says nothing new of the payment; it is history only. A code that is missing from
//! the list does the least harm this way: it can hide another reject, never a posted payment.

use tidemill_schemas::{PaymentStatus, StatusCode, StatusPhase};

/// Codes of requests that were refused before the ledger saw them. Codes are never reused, so the list only grows.
pub const VALIDATION_CODES: &[&str] = &[
    "accounts_identical",
    "amount_malformed",
    "amount_not_positive",
    "amount_too_large",
    "amount_too_precise",
    "currency_unknown",
    "field_empty",
    "field_malformed",
    "field_missing",
    "field_not_applicable",
    "field_too_long",
    "legs_too_many",
    "legs_unbalanced",
    "remainder_unknown",
    "time_malformed",
    "time_out_of_range",
    "type_unknown",
];

/// `None` when the record does not change the payment's row: a resend, or a request that names no payment.
pub(crate) fn of(status: &PaymentStatus) -> Option<i64> {
    if status.payment_id.is_empty() {
        return None;
    }
    match (status.phase, status.status) {
        (StatusPhase::Repeat, _) => None,
        (StatusPhase::Outcome, StatusCode::RJCT) => Some(i64::from(!VALIDATION_CODES.contains(&status.code.as_str()))),
        (StatusPhase::Update | StatusPhase::Outcome, _) => Some(2),
    }
}
