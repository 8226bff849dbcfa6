//! What the arrival of one payment's money, or its return, changes in the records of the payment it is linked to.

use tidemill_core::{Context, Reject, State, StateError};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{FeeRefund, Instruction, PaymentType};

use super::Config;
use super::outcomes::{self, Aftermath, PAYMENT_OUTCOMES, PaymentOutcome};
use super::payment_limits;
use super::receipts::{self, RECEIPTS, Receipt, RefundableFee};

/// The payment that an arriving reversal undoes, if its outcome is still known.
pub(super) fn undone(instruction: &Instruction, state: &mut dyn State) -> Result<Option<PaymentOutcome>, StateError> {
    match undone_identity(instruction) {
        Some(identity) => PAYMENT_OUTCOMES.get(state, &identity),
        None => Ok(None),
    }
}

/// It was paid by the account that is credited now.
fn undone_identity(instruction: &Instruction) -> Option<Vec<u8>> {
    let reference = instruction.reference.as_deref().filter(|_| instruction.payment_type == PaymentType::Reverse)?;
    Some(identity(&instruction.source, &instruction.credit_account, reference))
}

/// Money has arrived: notes that it can be given back, and settles what it was for.
pub(super) fn credited(instruction: &Instruction, config: Config, context: &mut Context<'_>) -> Result<(), Reject> {
    let Instruction { payment_type, payment_id, source, debit_account, credit_account, .. } = instruction;
    let can_be_undone = matches!(payment_type, PaymentType::Chargeback | PaymentType::FxExchange);
    if payment_type.can_be_given_back() || can_be_undone {
        let receipt = Receipt {
            payment_type: *payment_type,
            amount_minor: instruction.amount_minor,
            given_back_minor: 0,
            reversed: false,
            at: instruction.event_time,
            exchange: instruction.exchange.clone(),
            fee: refundable_fee(instruction).map(Box::new),
        };
        let key = receipts::key(credit_account, source, debit_account, payment_id);
        outcomes::remember_receipt(context, &key, receipt, config)?;
    }
    payment_limits::credited(instruction, context.state)?;
    if let Some(identity) = undone_identity(instruction)
        && let Some(undone) = PAYMENT_OUTCOMES.get(context.state, &identity)?
    {
        let aftermath = Aftermath::Reversed(payment_id.clone());
        PAYMENT_OUTCOMES.put(context.state, &identity, &PaymentOutcome { aftermath, ..undone })?;
    }
    if *payment_type == PaymentType::ChargebackReversal {
        let reference = instruction.reference.as_deref().unwrap_or_default();
        let chargeback = identity(source, credit_account, reference);
        let chargeback = PAYMENT_OUTCOMES.get(context.state, &chargeback)?;
        // Once the chargeback is forgotten, what it took counts as given back for good.
        if let Some(original) = chargeback.and_then(|chargeback| chargeback.reference) {
            let key = receipts::key(credit_account, source, debit_account, &original);
            if let Some(mut receipt) = RECEIPTS.get(context.state, &key)? {
                receipt.given_back_minor = receipt.given_back_minor.saturating_sub(instruction.amount_minor).max(0);
                RECEIPTS.put(context.state, &key, &receipt)?;
            }
        }
    }
    Ok(())
}

fn refundable_fee(instruction: &Instruction) -> Option<RefundableFee> {
    let is_refundable = instruction.fee_refund != FeeRefund::Kept && instruction.fee_minor > 0;
    is_refundable.then(|| RefundableFee {
        schedule: instruction.fee_schedule.clone().unwrap_or_default(),
        refund: instruction.fee_refund,
        fee_minor: instruction.fee_minor,
        refunded_minor: 0,
        back_minor: 0,
    })
}

/// Money that was given back has come back: the payment is as if it had not been.
pub(super) fn returned(instruction: &Instruction, context: &mut Context<'_>) -> Result<(), Reject> {
    let Instruction { payment_type, source, debit_account, credit_account, .. } = instruction;
    let Some(reference) = instruction.reference.as_deref() else { return Ok(()) };
    let key = receipts::key(debit_account, source, credit_account, reference);
    let Some(mut receipt) = RECEIPTS.get(context.state, &key)? else { return Ok(()) };
    match payment_type {
        PaymentType::Reverse => receipt.reversed = false,
        PaymentType::Chargeback => {
            receipt.given_back_minor = receipt.given_back_minor.saturating_sub(instruction.amount_minor).max(0);
        }
        PaymentType::Refund | PaymentType::ChargebackReversal => {
            receipt.undo_refund(instruction.amount_minor, instruction.fee_back_minor);
        }
        _ => return Ok(()),
    }
    Ok(RECEIPTS.put(context.state, &key, &receipt)?)
}
