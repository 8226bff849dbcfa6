//! What should come of the payments, partition by partition in the order of their offsets.

use std::collections::{BTreeMap, HashMap};

use tidemill_core::RecordView;

use crate::chain::verify::Differences;
use crate::chain::verify::ids::{AccountNames, PaymentIds};
use crate::chain::verify::rules::{self, Payment};

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// By how much payments of a partition may go back in time: part of the job.
const LATENESS_MS_MAX: i64 = 2_000;
/// Minutes of an account that are kept; a window has 60.
const MINUTES_KEPT: i64 = 62;

pub(super) const KINDS: [&str; 3] = ["debit", "fee", "credit"];
pub(super) const CODES: [&str; 5] =
    ["invalid", "duplicate", "idempotency_conflict", "fraud_declined", "insufficient_funds"];

#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) payments: PaymentIds,
    pub(super) accounts: AccountNames,
    /// By payment: the sums of its entries, in the order of [`KINDS`].
    pub(super) entries: HashMap<u128, [i64; 3]>,
    /// How often each payment is rejected with each code, which is an index of [`CODES`].
    pub(super) rejected: HashMap<(u128, usize), i64>,
    /// What all entries of an account add up to, by its number.
    pub(super) changes: Vec<i64>,
    pub(super) fees_minor: i64,
    read: u64,
    posted: u64,
    codes: [u64; CODES.len()],
    /// Hash and `created_at` by debit account and id.
    seen: HashMap<(usize, u128), (u64, i64)>,
    /// Count and sum of accepted payments by minute, by debit account.
    paid: HashMap<usize, BTreeMap<i64, (i64, i64)>>,
    newest_ms: HashMap<u32, i64>,
}

impl Expected {
    /// What the payments come to, for people.
    pub(super) fn summary(&self) -> String {
        let codes: Vec<String> = CODES.iter().zip(self.codes).map(|(code, count)| format!("{code}={count}")).collect();
        format!(
            "payments={} posted={} {} accounts={} fees_minor={}",
            self.read,
            self.posted,
            codes.join(" "),
            self.changes.len(),
            self.fees_minor
        )
    }

    pub(super) fn payment(&mut self, record: &RecordView<'_>, differences: &mut Differences) {
        self.read += 1;
        let value = record.value.unwrap_or_default();
        let payment = match rules::read(value) {
            Ok(payment) => payment,
            Err(id) => {
                let number = self.payments.number(&id);
                return self.reject(number, "invalid");
            }
        };
        self.check_order(record, &payment, differences);
        let number = self.payments.number(&payment.id);
        let debit = self.account(&payment.debit_account);
        let hash = rules::hash(value);
        if let Some((seen_hash, seen_at)) = self.seen.get(&(debit, number))
            && (payment.created_at_ms - seen_at).abs() < DAY_MS
        {
            let code = if *seen_hash == hash { "duplicate" } else { "idempotency_conflict" };
            return self.reject(number, code);
        }
        self.seen.insert((debit, number), (hash, payment.created_at_ms));
        if !self.is_accepted(debit, &payment) {
            return self.reject(number, "fraud_declined");
        }
        self.post(number, debit, &payment);
    }

    pub(super) fn account(&mut self, name: &str) -> usize {
        let number = self.accounts.number(name);
        if self.changes.len() <= number {
            self.changes.resize(number + 1, 0);
        }
        number
    }

    fn check_order(&mut self, record: &RecordView<'_>, payment: &Payment, differences: &mut Differences) {
        let newest = self.newest_ms.entry(record.origin.partition).or_insert(i64::MIN);
        if payment.created_at_ms < newest.saturating_sub(LATENESS_MS_MAX) {
            differences.add("the input is not in order", || format!("{}: {}", record.origin, payment.id));
        }
        *newest = payment.created_at_ms.max(*newest);
        if record.event_time.millis() != payment.created_at_ms || record.key != Some(payment.debit_account.as_bytes()) {
            differences.add("the input has another time or key", || format!("{}: {}", record.origin, payment.id));
        }
    }

    fn is_accepted(&mut self, debit: usize, payment: &Payment) -> bool {
        let minute = payment.created_at_ms.div_euclid(MINUTE_MS);
        let paid = self.paid.entry(debit).or_default();
        let window = paid.range(minute - 59..=minute);
        let (count, sum) = window.fold((1, payment.amount_minor), |all, (_, one)| (all.0 + one.0, all.1 + one.1));
        if 10 * count + sum / 10_000 >= 2_000 {
            return false;
        }
        let of_minute = paid.entry(minute).or_default();
        *of_minute = (of_minute.0 + 1, of_minute.1 + payment.amount_minor);
        while paid.first_key_value().is_some_and(|(oldest, _)| *oldest < minute - MINUTES_KEPT) {
            paid.pop_first();
        }
        true
    }

    fn post(&mut self, number: u128, debit: usize, payment: &Payment) {
        let credit = self.account(&payment.credit_account);
        let (amount, fee) = (payment.amount_minor, rules::fee_minor(payment.amount_minor));
        self.posted += 1;
        self.fees_minor += fee;
        self.changes[debit] -= amount + fee;
        self.changes[credit] += amount;
        let sums = self.entries.entry(number).or_default();
        *sums = [sums[0] - amount, sums[1] - fee, sums[2] + amount];
    }

    fn reject(&mut self, number: u128, code: &str) {
        let Some(index) = CODES.iter().position(|known| *known == code) else { return };
        self.codes[index] += 1;
        *self.rejected.entry((number, index)).or_default() += 1;
    }
}
