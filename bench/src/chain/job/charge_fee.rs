//! Works out the fee.
//!
//! - Input: `payment`; passes on `priced_payment`.
//! - Fee: 1 % of the part of the amount to 100.00, 0.5 % of the part to 1,000.00, 0.1 % of the rest. The sum is rounded
//!   half-even to a minor unit; it is at least 0.10 and at most 25.00.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{AnyEvent, Context, Flow, Processor, ProcessorSpec, Reject};

use crate::chain::job::event::memory_event;
use crate::chain::job::payment::Payment;

pub(super) static SPEC: ProcessorSpec = ProcessorSpec {
    name: "charge_fee",
    summary: "Works out the graduated fee of a payment.",
    signatures: &[Signature { takes: Payment::KIND, gives: Some(PricedPayment::KIND) }],
    stores: &[],
    ports: &[],
    references: &[],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(ChargeFee)),
};

const FIRST_PART_MINOR: i64 = 10_000;
const SECOND_PART_MINOR: i64 = 100_000;
const FEE_MINOR_MIN: i64 = 10;
const FEE_MINOR_MAX: i64 = 2_500;

#[derive(Debug)]
pub(super) struct PricedPayment {
    pub(super) payment: Box<Payment>,
    pub(super) fee_minor: i64,
}

memory_event!(
    PricedPayment: "priced_payment",
    key: |priced| &priced.payment.debit_account,
    time: |priced| priced.payment.time()
);

struct ChargeFee;

impl Processor for ChargeFee {
    fn process(&self, event: AnyEvent, _context: &mut Context<'_>) -> Result<Flow, Reject> {
        if !event.is::<Payment>() {
            return Err(Reject::unexpected(&event));
        }
        let Ok(payment) = event.into_any().downcast::<Payment>() else {
            unreachable!("the type was compared three lines above")
        };
        let fee_minor = fee_minor(payment.amount_minor);
        Ok(Flow::Continue(Box::new(PricedPayment { payment, fee_minor })))
    }
}

/// For a positive amount.
fn fee_minor(amount_minor: i64) -> i64 {
    let first = amount_minor.min(FIRST_PART_MINOR);
    let second = amount_minor.min(SECOND_PART_MINOR) - first;
    let rest = amount_minor - first - second;
    let thousandths = first * 10 + second * 5 + rest;
    half_even(thousandths, 1_000).clamp(FEE_MINOR_MIN, FEE_MINOR_MAX)
}

/// Divides what is not negative, half to even.
fn half_even(dividend: i64, divisor: i64) -> i64 {
    let (quotient, twice) = (dividend / divisor, dividend % divisor * 2);
    let is_up = twice > divisor || (twice == divisor && quotient % 2 == 1);
    quotient + i64::from(is_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees() {
        let cases = [
            (1, 10),
            (1_000, 10),
            (1_050, 10),
            (1_051, 11),
            (1_150, 12),
            (1_250, 12),
            (1_251, 13),
            (10_000, 100),
            (10_100, 100),
            (10_300, 102),
            (100_000, 550),
            (200_000, 650),
            (2_050_000, 2_500),
            (99_999_999_999, 2_500),
        ];
        for (amount, expected) in cases {
            assert_eq!(fee_minor(amount), expected, "{amount}");
        }
    }
}
