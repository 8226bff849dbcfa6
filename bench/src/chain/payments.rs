//! The payments of the chain, one after another, the same for the same seed: how amounts, accounts and mistakes are
//! distributed is part of the job.

use std::collections::VecDeque;
use std::fmt::Write as _;

use jiff::Timestamp;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 20_260_105;
const ZIPF_EXPONENT: f64 = 0.8;
const AMOUNT_MEDIAN_MINOR: f64 = 4_000.0;
const AMOUNT_SIGMA: f64 = 0.8;
/// The largest amount that the form of a payment can say.
const AMOUNT_MINOR_MAX: f64 = 99_999_999_999.0;
/// Repeats are of payments that are not older than this.
const REPEATED_MS_MAX: i64 = 2_000;

const REPEATED: f64 = 0.02;
const CONFLICTING: f64 = 0.002;
const INVALID: f64 = 0.01;

const CURRENCIES: [&str; 5] = ["EUR", "USD", "GBP", "CHF", "SEK"];
const SOURCES: [&str; 4] = ["mobile-app", "web-shop", "branch", "partner-api"];
const CHANNELS: [&str; 3] = ["card", "transfer", "wallet"];
const CATEGORIES: [&str; 8] = ["5411", "5812", "5541", "5999", "4111", "5732", "5912", "7011"];
const COUNTRIES: [&str; 8] = ["DE", "FR", "NL", "SE", "CH", "GB", "US", "IT"];
const WORDS: [&str; 16] = [
    "order", "invoice", "refund", "monthly", "ticket", "grocery", "coffee", "books", "travel", "rent", "parts", "gift",
    "lunch", "fuel", "service", "number",
];
const DESCRIPTION_BYTES_MIN: usize = 96;

/// One record of the input.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) debit_account: String,
    pub(crate) value: String,
    pub(crate) created_at_ms: i64,
}

/// What makes a payment invalid.
#[derive(Clone, Copy, Debug)]
enum Mistake {
    CutOff,
    Amount(&'static str),
    UnknownCurrency,
    SameAccountTwice,
    /// The name of the field that is missing.
    Missing(&'static str),
}

const MISTAKES: [Mistake; 7] = [
    Mistake::CutOff,
    Mistake::Amount("0"),
    Mistake::Amount("-5.00"),
    Mistake::Amount("1.234"),
    Mistake::UnknownCurrency,
    Mistake::SameAccountTwice,
    Mistake::Missing("channel"),
];

#[derive(Clone, Debug)]
struct Payment {
    id: String,
    debit_account: u64,
    credit_account: u64,
    amount_minor: u64,
    created_at_ms: i64,
    mistake: Option<Mistake>,
}

pub(crate) struct Payments {
    random: ChaCha8Rng,
    /// Sums of the weights of all accounts up to and with this one.
    debit_weights: Vec<f64>,
    /// First payments of valid ids that may still be repeated, oldest first.
    recent: VecDeque<(Payment, Record)>,
}

/// `a-000000`, `a-000001`, …
pub(crate) fn account_name(number: u64) -> String {
    format!("a-{number:06}")
}

impl Payments {
    pub(crate) fn new(accounts: u64) -> Self {
        let weights = (1..=accounts.max(2)).scan(0.0, |sum, rank| {
            *sum += (rank as f64).powf(-ZIPF_EXPONENT);
            Some(*sum)
        });
        Self { random: ChaCha8Rng::seed_from_u64(SEED), debit_weights: weights.collect(), recent: VecDeque::new() }
    }

    /// The next record: a payment that is created at this time, or one that was created not long before.
    pub(crate) fn next(&mut self, now_ms: i64) -> Record {
        while self.recent.front().is_some_and(|(payment, _)| payment.created_at_ms < now_ms - REPEATED_MS_MAX) {
            self.recent.pop_front();
        }
        let dice: f64 = self.random.random();
        if dice < REPEATED + CONFLICTING && !self.recent.is_empty() {
            let (payment, record) = &self.recent[self.random.random_range(0..self.recent.len())];
            if dice < REPEATED {
                return record.clone();
            }
            let (first, id) = (payment.clone(), payment.id.clone());
            return self.conflict(&first, id, now_ms);
        }
        let mistake = (dice >= 1.0 - INVALID).then(|| MISTAKES[self.random.random_range(0..MISTAKES.len())]);
        let payment = self.draw(now_ms, mistake);
        let record = self.record(&payment);
        if mistake.is_none() {
            self.recent.push_back((payment, record.clone()));
        }
        record
    }

    /// A valid payment that repeats none.
    pub(crate) fn next_valid(&mut self, now_ms: i64) -> Record {
        let payment = self.draw(now_ms, None);
        self.record(&payment)
    }

    /// Another payment under the same id.
    fn conflict(&mut self, first: &Payment, id: String, now_ms: i64) -> Record {
        let mut payment = self.draw(now_ms, None);
        payment.id = id;
        payment.debit_account = first.debit_account;
        while [first.debit_account, first.credit_account].contains(&payment.credit_account) {
            payment.credit_account = self.credit_account();
        }
        if payment.amount_minor == first.amount_minor {
            payment.amount_minor += 1;
        }
        self.record(&payment)
    }

    fn draw(&mut self, now_ms: i64, mistake: Option<Mistake>) -> Payment {
        let debit_account = self.debit_account();
        let mut credit_account = self.credit_account();
        while credit_account == debit_account {
            credit_account = self.credit_account();
        }
        if let Some(Mistake::SameAccountTwice) = mistake {
            credit_account = debit_account;
        }
        let (id, amount_minor) = (self.id(now_ms), self.amount_minor());
        Payment { id, debit_account, credit_account, amount_minor, created_at_ms: now_ms, mistake }
    }

    fn debit_account(&mut self) -> u64 {
        let total = self.debit_weights.last().copied().unwrap_or(0.0);
        let at = self.random.random::<f64>() * total;
        let number = self.debit_weights.partition_point(|sum| *sum <= at);
        number.min(self.debit_weights.len() - 1) as u64
    }

    fn credit_account(&mut self) -> u64 {
        self.random.random_range(0..self.debit_weights.len() as u64)
    }

    /// Log-normal, by Box and Muller.
    fn amount_minor(&mut self) -> u64 {
        let (radius, angle) = (1.0 - self.random.random::<f64>(), self.random.random::<f64>());
        let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        (AMOUNT_MEDIAN_MINOR * (AMOUNT_SIGMA * normal).exp()).round().clamp(1.0, AMOUNT_MINOR_MAX) as u64
    }

    /// UUIDv7.
    fn id(&mut self, now_ms: i64) -> String {
        let (high, low): (u16, u64) = (self.random.random(), self.random.random());
        let time = now_ms as u64 & 0xffff_ffff_ffff;
        let version = 0x7000 | (high & 0x0fff);
        let variant = 0x8000 | ((low >> 48) as u16 & 0x3fff);
        let node = low & 0xffff_ffff_ffff;
        format!("{:08x}-{:04x}-{version:04x}-{variant:04x}-{node:012x}", time >> 16, time & 0xffff)
    }

    fn record(&mut self, payment: &Payment) -> Record {
        let value = self.value(payment);
        let debit_account = account_name(payment.debit_account);
        Record { debit_account, value, created_at_ms: payment.created_at_ms }
    }

    fn value(&mut self, payment: &Payment) -> String {
        let amount = match payment.mistake {
            Some(Mistake::Amount(amount)) => amount.to_owned(),
            _ => format!("{}.{:02}", payment.amount_minor / 100, payment.amount_minor % 100),
        };
        let currency = self.choose(&CURRENCIES);
        let currency = if let Some(Mistake::UnknownCurrency) = payment.mistake { "XXX" } else { currency };
        let mut value = String::with_capacity(512);
        let mut field = |name: &str, text: &str| {
            if !matches!(payment.mistake, Some(Mistake::Missing(missing)) if missing == name) {
                let _infallible = write!(value, "{}\"{name}\":\"{text}\"", if name == "id" { "{" } else { "," });
            }
        };
        field("id", &payment.id);
        field("source", self.choose(&SOURCES));
        field("debit_account", &account_name(payment.debit_account));
        field("credit_account", &account_name(payment.credit_account));
        field("amount", &amount);
        field("currency", currency);
        field("created_at", &created_at(payment.created_at_ms));
        field("channel", self.choose(&CHANNELS));
        let merchant: u32 = self.random.random_range(0..20_000);
        let (category, country) = (self.choose(&CATEGORIES), self.choose(&COUNTRIES));
        let description = self.description();
        let _infallible = write!(
            value,
            ",\"merchant\":{{\"id\":\"m-{merchant:05}\",\"category\":\"{category}\",\"country\":\"{country}\"}},\
             \"description\":\"{description}\"}}"
        );
        if let Some(Mistake::CutOff) = payment.mistake {
            value.truncate(self.random.random_range(1..value.len()));
        }
        value
    }

    fn description(&mut self) -> String {
        let mut description = String::with_capacity(DESCRIPTION_BYTES_MIN + 16);
        while description.len() < DESCRIPTION_BYTES_MIN {
            let word = self.choose(&WORDS);
            let _infallible = write!(description, "{word} {} ", self.random.random_range(0..10_000));
        }
        description.truncate(description.trim_end().len());
        description
    }

    fn choose(&mut self, from: &[&'static str]) -> &'static str {
        from.choose(&mut self.random).copied().unwrap_or_default()
    }
}

fn created_at(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: usize = 100_000;

    fn records() -> Vec<Record> {
        let mut payments = Payments::new(100_000);
        (0..RECORDS as i64).map(|number| payments.next(1_767_600_000_000 + number)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_payments_of_the_right_size_and_in_order() {
        let (records, again) = (records(), records());
        assert!(records.iter().zip(&again).all(|(one, other)| one.value == other.value));
        let bytes: usize = records.iter().map(|record| record.value.len()).sum();
        assert!((380..420).contains(&(bytes / RECORDS)), "{} bytes", bytes / RECORDS);
        for (number, record) in records.iter().enumerate() {
            let late_ms = 1_767_600_000_000 + number as i64 - record.created_at_ms;
            assert!((0..=REPEATED_MS_MAX).contains(&late_ms), "{late_ms}");
        }
    }

    #[test]
    fn shares_are_those_of_the_job() {
        let records = records();
        let mut ids = std::collections::HashMap::new();
        let (mut repeats, mut conflicts) = (0, 0);
        let mut to_the_first_ten = 0;
        for record in &records {
            to_the_first_ten += u32::from(record.debit_account < account_name(10));
            let id = record.value.get(7..43).unwrap_or_default();
            match ids.insert(id, &record.value) {
                Some(before) if *before == record.value => repeats += 1,
                Some(_) if id.len() == 36 => conflicts += 1,
                _ => {}
            }
        }
        let unreadable = records.iter().filter(|record| !record.value.ends_with("\"}")).count();
        assert!((1_800..2_200).contains(&repeats), "{repeats} repeats");
        assert!((150..260).contains(&conflicts), "{conflicts} conflicts");
        assert!((100..200).contains(&unreadable), "{unreadable} are cut off");
        // 1 + 2^-0.8 + … + 10^-0.8 of the sum over 100,000 accounts.
        let expected = 3.57 / 45.6 * RECORDS as f64;
        assert!((f64::from(to_the_first_ten) / expected - 1.0).abs() < 0.1, "{to_the_first_ten}, not {expected}");
    }
}
