//! Reads a payment and checks what can be checked without knowing any other.
//!
//! - Input: the record of a payment. Passes on `payment`.
//! - Codes: `invalid`. Nothing is stored for it.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{AnyEvent, Class, CodeSpec, Context, Flow, Outcome, Processor, ProcessorSpec, RawEvent, Reject};

use crate::chain::job::outputs::{REJECTED, Rejected};
use crate::chain::job::payment::Payment;

pub(super) static SPEC: ProcessorSpec = ProcessorSpec {
    name: "validate_payment",
    summary: "Reads a payment strictly and refuses what is invalid by itself.",
    signatures: &[Signature { takes: RawEvent::KIND, gives: Some(Payment::KIND) }],
    stores: &[],
    ports: &[REJECTED],
    references: &[],
    codes: &[INVALID],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(ValidatePayment)),
};

const INVALID: CodeSpec = CodeSpec {
    code: "invalid",
    class: Class::Validation,
    summary: "The value is not a payment, or breaks a rule that every payment keeps.",
    remedy: "Correct it and send it under a new id.",
};

struct ValidatePayment;

impl Processor for ValidatePayment {
    fn process(&self, _event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        match Payment::read(context.record.value.unwrap_or_default()) {
            Ok(payment) => Ok(Flow::Continue(Box::new(payment))),
            Err(invalid) => {
                let rejected = Rejected {
                    payment: invalid.payment,
                    debit_account: invalid.debit_account,
                    code: INVALID.code,
                    time: context.record.event_time,
                };
                context.effects.emit(REJECTED.name, Box::new(rejected) as AnyEvent);
                Ok(Flow::Done(Outcome::Rejected(INVALID.code)))
            }
        }
    }
}
