//! The fields that only some types of payment have a use for.
//!
//! A field that the type has no use for is refused rather than ignored: who sends a reference with a transfer has
//! probably left out the type.

use std::collections::BTreeMap;

use tidemill_core::{Class, CodeSpec};
use tidemill_schemas::PaymentType::{
    Authorise, Cancel, Capture, Chargeback, ChargebackReversal, Deposit, ForcePost, FxExchange, Increment, Journal,
    Refund, Reverse, Transfer, Void, Withdrawal,
};
use tidemill_schemas::{PaymentRequest, PaymentType, Remainder};

use crate::fields::{Fault, Field, Rule};

pub(super) const FIELD_NOT_APPLICABLE: CodeSpec = CodeSpec {
    code: "field_not_applicable",
    class: Class::Validation,
    summary: "A field is given that the type of the payment has no use for.",
    remedy: "Leave the field out, or send the type that it belongs to; the reference says which fields go with a type.",
};

pub(super) const REMAINDER_UNKNOWN: CodeSpec = CodeSpec {
    code: "remainder_unknown",
    class: Class::Validation,
    summary: "What should become of the rest of the hold is neither release nor keep.",
    remedy: "Send `remainder` as release or keep, or leave it out for a final capture.",
};

/// A field and the types that need it or may have it; all others may not.
struct ByType {
    pointer: &'static str,
    /// Of several texts any; absent where there are none.
    text: fn(&PaymentRequest) -> Option<&str>,
    required: &'static [PaymentType],
    optional: &'static [PaymentType],
}

const FIELDS: &[ByType] = &[
    ByType {
        pointer: "/reference",
        text: |request| request.reference.as_deref(),
        required: &[Increment, Capture, Void, Reverse, Refund, Chargeback, ChargebackReversal, Cancel],
        optional: &[ForcePost],
    },
    ByType {
        pointer: "/expires_at",
        text: |request| request.expires_at.as_deref(),
        required: &[],
        optional: &[Authorise],
    },
    ByType { pointer: "/remainder", text: |request| request.remainder.as_deref(), required: &[], optional: &[Capture] },
    ByType {
        pointer: "/reason",
        text: |request| request.reason.as_deref(),
        required: &[ForcePost, Reverse, Chargeback],
        optional: &[Void, Refund, ChargebackReversal, Cancel],
    },
    ByType { pointer: "/quote", text: |request| request.quote.as_deref(), required: &[FxExchange], optional: &[] },
    ByType {
        pointer: "/execute_at",
        text: |request| request.execute_at.as_deref(),
        required: &[],
        optional: &[Transfer, Deposit, Withdrawal],
    },
    ByType {
        pointer: "/retry_until",
        text: |request| request.retry_until.as_deref(),
        required: &[],
        optional: &[Transfer, Deposit, Withdrawal],
    },
    ByType { pointer: "/debits", text: |request| first(&request.debits), required: &[], optional: &[Journal] },
    ByType { pointer: "/credits", text: |request| first(&request.credits), required: &[Journal], optional: &[] },
];

fn first(legs: &BTreeMap<String, String>) -> Option<&str> {
    legs.keys().next().map(String::as_str)
}

/// What to check of these fields as of any other. A type that is not known requires none.
pub(super) fn fields(request: &PaymentRequest, payment_type: Option<PaymentType>) -> impl Iterator<Item = Field<'_>> {
    FIELDS.iter().map(move |field| {
        let is_required = payment_type.is_some_and(|payment_type| field.required.contains(&payment_type));
        let rule = if is_required { Rule::Required } else { Rule::Optional };
        Field { pointer: field.pointer, text: (field.text)(request), rule }
    })
}

/// A void or a cancel gives up all that is left, so it can do without an amount.
pub(super) fn amount_rule(payment_type: Option<PaymentType>) -> Rule {
    match payment_type {
        Some(Void | Cancel) => Rule::Optional,
        _ => Rule::Required,
    }
}

/// A journal says in `credits` who is paid.
pub(super) fn credit_account_rule(payment_type: Option<PaymentType>) -> Rule {
    match payment_type {
        Some(Journal) => Rule::Optional,
        _ => Rule::Account,
    }
}

/// Checks `field_not_applicable`.
pub(super) fn check_applicable(request: &PaymentRequest, payment_type: PaymentType) -> Result<(), Fault> {
    let is_unwanted = |field: &&ByType| {
        let is_wanted = field.required.contains(&payment_type) || field.optional.contains(&payment_type);
        !is_wanted && (field.text)(request).is_some()
    };
    let unwanted = FIELDS.iter().find(is_unwanted).map(|field| field.pointer);
    let credit_account = (payment_type == Journal && request.credit_account.is_some()).then_some("/credit_account");
    let retry_until = (request.retry_until.is_some() && request.execute_at.is_none()).then_some("/retry_until");
    match credit_account.or(unwanted).or(retry_until) {
        Some(pointer) => Err(Fault(&FIELD_NOT_APPLICABLE, pointer)),
        None => Ok(()),
    }
}

pub(super) fn remainder(request: &PaymentRequest) -> Result<Remainder, Fault> {
    match request.remainder.as_deref() {
        None | Some("release") => Ok(Remainder::Release),
        Some("keep") => Ok(Remainder::Keep),
        Some(_) => Err(Fault(&REMAINDER_UNKNOWN, "/remainder")),
    }
}
