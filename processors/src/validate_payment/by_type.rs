//! The fields that only some types of payment have a use for.
//!
//! A field that the type has no use for is refused rather than ignored: who sends a reference with a transfer has
//! probably left out the type.

use tidemill_core::{Class, CodeSpec};
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    Absent,
}

/// How each type takes `reference`, `expires_at`, `remainder`, `reason` and `quote`.
fn needs(payment_type: PaymentType) -> [Need; 5] {
    use Need::{Absent, Optional, Required};
    match payment_type {
        PaymentType::Transfer | PaymentType::Deposit | PaymentType::Withdrawal => {
            [Absent, Absent, Absent, Absent, Absent]
        }
        PaymentType::Authorise => [Absent, Optional, Absent, Absent, Absent],
        PaymentType::Increment => [Required, Absent, Absent, Absent, Absent],
        PaymentType::Capture => [Required, Absent, Optional, Absent, Absent],
        PaymentType::Void | PaymentType::Refund | PaymentType::ChargebackReversal => {
            [Required, Absent, Absent, Optional, Absent]
        }
        PaymentType::ForcePost => [Optional, Absent, Absent, Required, Absent],
        PaymentType::Reverse | PaymentType::Chargeback => [Required, Absent, Absent, Required, Absent],
        PaymentType::FxExchange => [Absent, Absent, Absent, Absent, Required],
    }
}

fn given(request: &PaymentRequest) -> [(&'static str, Option<&str>); 5] {
    [
        ("/reference", request.reference.as_deref()),
        ("/expires_at", request.expires_at.as_deref()),
        ("/remainder", request.remainder.as_deref()),
        ("/reason", request.reason.as_deref()),
        ("/quote", request.quote.as_deref()),
    ]
}

/// What to check of these fields as of any other. A type that is not known requires none.
pub(super) fn fields(request: &PaymentRequest, payment_type: Option<PaymentType>) -> impl Iterator<Item = Field<'_>> {
    let needs = payment_type.map_or([Need::Optional; 5], needs);
    given(request).into_iter().zip(needs).map(|((pointer, text), need)| {
        let rule = if need == Need::Required { Rule::Required } else { Rule::Optional };
        Field { pointer, text, rule }
    })
}

/// A void gives up all that is left, so it can do without an amount.
pub(super) fn amount_rule(payment_type: Option<PaymentType>) -> Rule {
    match payment_type {
        Some(PaymentType::Void) => Rule::Optional,
        _ => Rule::Required,
    }
}

/// Checks `field_not_applicable`.
pub(super) fn check_applicable(request: &PaymentRequest, payment_type: PaymentType) -> Result<(), Fault> {
    let unwanted = given(request).into_iter().zip(needs(payment_type));
    let mut unwanted = unwanted.filter(|((_, text), need)| text.is_some() && *need == Need::Absent);
    match unwanted.next() {
        Some(((pointer, _), _)) => Err(Fault(&FIELD_NOT_APPLICABLE, pointer)),
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
