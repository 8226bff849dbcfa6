//! Refuses payments of an account that pays too much or too often.
//!
//! - Input: `payment`; passes it on unchanged.
//! - Score: 10 for each accepted payment of the last 60 whole minutes, the current one included, and 1 for each 100.00 of
//!   their sum, this payment counted among them.
//! - Store: `paid_minutes`, count and sum of each minute in which the account paid, newest first. One minute more than the
//!   window is kept, because payments of a partition come in order but for two seconds.
//! - Codes: `fraud_declined`, from a score of 2,000 on. A declined payment leaves no trace.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, Flow, Outcome, Processor, ProcessorSpec, Reject, StateError, StoreSpec,
};

use crate::chain::job::event::BY_ACCOUNT;
use crate::chain::job::outputs::{REJECTED, Rejected};
use crate::chain::job::payment::Payment;

pub(super) static SPEC: ProcessorSpec = ProcessorSpec {
    name: "score_payment",
    summary: "Refuses payments of an account that pays too much or too often in an hour.",
    signatures: &[Signature { takes: Payment::KIND, gives: Some(Payment::KIND) }],
    stores: &[StoreSpec {
        name: STORE,
        keyed_by: BY_ACCOUNT,
        summary: "Count and sum of an account's payments, by minute, for an hour.",
    }],
    ports: &[REJECTED],
    references: &[],
    codes: &[FRAUD_DECLINED],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(ScorePayment)),
};

const FRAUD_DECLINED: CodeSpec = CodeSpec {
    code: "fraud_declined",
    class: Class::Business,
    summary: "The account has paid too much or too often in the last hour.",
    remedy: "Try again later, under a new id.",
};

const STORE: &str = "paid_minutes";
const MINUTE_MS: i64 = 60_000;
const WINDOW_MINUTES: i64 = 60;
const SCORE_PER_PAYMENT: i64 = 10;
const MINOR_PER_SCORE: i64 = 10_000;
const DECLINED_FROM: i64 = 2_000;

struct ScorePayment;

impl Processor for ScorePayment {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let Some(payment) = event.downcast_ref::<Payment>() else { return Err(Reject::unexpected(&event)) };
        let minute = payment.created_at_ms.div_euclid(MINUTE_MS);
        let minutes = Minutes::of_bytes(context.state.get(STORE, payment.debit_account.bytes())?, minute)?;
        let (count, sum_minor) = minutes.paid_in_window(minute);
        let score = (count + 1) * SCORE_PER_PAYMENT + (sum_minor + payment.amount_minor) / MINOR_PER_SCORE;
        if score >= DECLINED_FROM {
            let rejected = Rejected {
                payment: payment.id.clone(),
                debit_account: payment.debit_account.clone(),
                code: FRAUD_DECLINED.code,
                time: context.record.event_time,
            };
            context.effects.emit(REJECTED.name, Box::new(rejected) as AnyEvent);
            return Ok(Flow::Done(Outcome::Rejected(FRAUD_DECLINED.code)));
        }
        let bytes = minutes.bytes_with(minute, payment.amount_minor);
        context.state.put(STORE, payment.debit_account.bytes(), bytes)?;
        Ok(Flow::Continue(event))
    }
}

const NEWEST_BYTES: usize = 8;
const BUCKET_BYTES: usize = 6;

/// The buckets of one account as they lie in the store: the newest minute, then for each minute with payments how long
/// before the newest it was, count and sum. One byte holds the count and four the sum, because all that was accepted in
/// one minute scored less than [`DECLINED_FROM`] together.
#[derive(Clone, Copy)]
struct Minutes<'a> {
    newest: i64,
    buckets: &'a [[u8; BUCKET_BYTES]],
}

impl<'a> Minutes<'a> {
    /// Without bytes, the account has not paid yet, and `minute` is its newest.
    fn of_bytes(bytes: Option<&'a [u8]>, minute: i64) -> Result<Self, StateError> {
        let Some(bytes) = bytes else { return Ok(Self { newest: minute, buckets: &[] }) };
        let parts = bytes.split_first_chunk::<NEWEST_BYTES>().map(|(newest, rest)| (newest, rest.as_chunks()));
        match parts {
            Some((newest, (buckets, []))) => Ok(Self { newest: i64::from_le_bytes(*newest), buckets }),
            _ => Err(StateError::Corrupt { store: STORE, message: format!("{} bytes are no minutes", bytes.len()) }),
        }
    }

    /// Minutes with their count and sum, newest first.
    fn paid(self) -> impl Iterator<Item = (i64, u8, u32)> + use<'a> {
        self.buckets
            .iter()
            .map(move |[age, count, sum @ ..]| (self.newest - i64::from(*age), *count, u32::from_le_bytes(*sum)))
    }

    fn paid_in_window(self, minute: i64) -> (i64, i64) {
        let window = minute - WINDOW_MINUTES + 1..=minute;
        let counted = self.paid().filter(|(paid, _, _)| window.contains(paid));
        counted.fold((0, 0), |(count, sum), (_, more, amount)| (count + i64::from(more), sum + i64::from(amount)))
    }

    /// With one more payment in `minute`, and without what no window can hold any more.
    fn bytes_with(self, minute: i64, amount_minor: i64) -> Vec<u8> {
        let newest = self.newest.max(minute);
        let mut bytes = Vec::with_capacity(NEWEST_BYTES + (self.buckets.len() + 1) * BUCKET_BYTES);
        bytes.extend_from_slice(&newest.to_le_bytes());
        let mut push = |paid: i64, count: u8, sum: u32| {
            if newest - paid <= WINDOW_MINUTES {
                bytes.extend_from_slice(&[(newest - paid) as u8, count]);
                bytes.extend_from_slice(&sum.to_le_bytes());
            }
        };
        // The bounds are those of the type's description.
        let amount = amount_minor as u32;
        let mut is_counted = false;
        for (paid, count, sum) in self.paid() {
            if !is_counted && paid <= minute {
                is_counted = true;
                if paid == minute {
                    push(paid, count + 1, sum + amount);
                    continue;
                }
                push(minute, 1, amount);
            }
            push(paid, count, sum);
        }
        if !is_counted {
            push(minute, 1, amount);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Payments of minutes that go back by one at most, against a map that forgets nothing.
        #[test]
        fn windows_agree_with_a_map(steps in proptest::collection::vec((-1_i64..70, 1_i64..9_999), 1..200)) {
            let mut model: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
            let mut stored: Option<Vec<u8>> = None;
            let mut newest = 1_000;
            for (step, amount) in steps {
                // Mostly small steps, so that windows fill.
                let minute = newest + if step > 10 { 0 } else { step };
                newest = newest.max(minute);
                let minutes = Minutes::of_bytes(stored.as_deref(), minute).expect("our own bytes");
                let window = model.range(minute - WINDOW_MINUTES + 1..=minute);
                let expected = window.fold((0, 0), |all, (_, one)| (all.0 + one.0, all.1 + one.1));
                prop_assert_eq!(minutes.paid_in_window(minute), expected);
                if expected.0 < 199 {
                    stored = Some(minutes.bytes_with(minute, amount));
                    let bucket = model.entry(minute).or_default();
                    *bucket = (bucket.0 + 1, bucket.1 + amount);
                }
            }
            let length = stored.map_or(0, |bytes| bytes.len());
            prop_assert!(length <= NEWEST_BYTES + (WINDOW_MINUTES as usize + 1) * BUCKET_BYTES);
        }
    }
}
