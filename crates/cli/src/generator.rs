//! Generated payments and accounts: seeded, so that the same numbers give the same bytes.
//!
//! Of the payments about 2 % repeat an earlier one byte for byte, 0.2 % reuse an id with another body, 1 % are broken in
//! one of many ways, some ask for more than the payer has, and some look like fraud.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tidemill_core::EventTime;

/// 2026-01-05T08:00:00Z.
const START_MS: i64 = 1_767_600_000_000;
/// Event time between two payments.
const STEP_MS: i64 = 700;
/// Earlier payments that a repeat is chosen from.
const RECENT_MAX: usize = 500;
const MERCHANT_CATEGORIES: [&str; 8] =
    ["groceries", "restaurants", "transport", "electronics", "clothing", "travel", "health", "utilities"];
const COUNTRIES: [&str; 6] = ["DE", "FR", "NL", "ES", "IT", "AT"];
const CHANNELS: [&str; 4] = ["card", "online", "mobile", "terminal"];

/// One record for an ingest topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GeneratedRecord {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp_ms: i64,
}

/// Opens `customers` customer accounts and the merchants' accounts.
pub(crate) fn accounts(customers: u32) -> impl Iterator<Item = GeneratedRecord> {
    let created_at = EventTime::from_millis(START_MS - 3_600_000);
    let open = move |account: String, customer: Option<String>, kind: &str, limit: &str| GeneratedRecord {
        value: json!({
            "id": format!("open-{account}"), "source": "generator", "type": "open", "account": account,
            "customer": customer, "currency": "EUR", "kind": kind, "limit": limit, "created_at": created_at.to_string(),
        })
        .to_string()
        .into_bytes(),
        key: account,
        timestamp_ms: created_at.millis(),
    };
    let of_customers = (0..customers).map(move |number| {
        // Every fiftieth customer has so little that payments beyond their funds occur.
        let limit = if number % 50 == 0 { "150.00" } else { "20000.00" };
        open(customer_account(number), Some(format!("cust-{number:06}")), "customer", limit)
    });
    let of_merchants =
        (0..merchants(customers)).map(move |number| open(merchant_account(number), None, "merchant", "0"));
    of_customers.chain(of_merchants)
}

/// An endless stream of payments between the accounts of [`accounts`].
pub(crate) struct Payments {
    random: ChaCha8Rng,
    customers: u32,
    next: u64,
    recent: Vec<GeneratedRecord>,
    /// Customers whose card is being abused: number and payments to come.
    abused: Option<(u32, u32)>,
}

impl Payments {
    pub(crate) fn new(seed: u64, customers: u32) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            customers: customers.max(1),
            next: 0,
            recent: Vec::new(),
            abused: None,
        }
    }

    fn payment(&mut self) -> GeneratedRecord {
        let number = self.next;
        let (customer, amount_minor) = self.payer_and_amount();
        let merchant = self.random.random_range(0..merchants(self.customers));
        let timestamp_ms = START_MS + i64::try_from(number).unwrap_or_default() * STEP_MS;
        let category = MERCHANT_CATEGORIES[merchant as usize % MERCHANT_CATEGORIES.len()];
        let country = COUNTRIES[merchant as usize % COUNTRIES.len()];
        let channel = CHANNELS.choose(&mut self.random).copied().unwrap_or("card");
        let debit_account = customer_account(customer);
        let value = json!({
            "id": format!("p-{number:09}"),
            "source": "generator",
            "type": "transfer",
            "debit_account": debit_account,
            "credit_account": merchant_account(merchant),
            "amount": tidemill_core::money::decimal(i128::from(amount_minor), 2),
            "currency": "EUR",
            "created_at": EventTime::from_millis(timestamp_ms).to_string(),
            "channel": channel,
            "merchant": {"id": format!("m-{merchant:05}"), "category": category, "country": country},
            "customer": format!("cust-{customer:06}"),
            "description": format!("Order {number}"),
        });
        GeneratedRecord { key: debit_account, value: value.to_string().into_bytes(), timestamp_ms }
    }

    /// Mostly a random customer and a moderate amount; now and then a burst of large ones on one account.
    fn payer_and_amount(&mut self) -> (u32, i64) {
        if let Some((customer, left)) = self.abused {
            self.abused = (left > 1).then(|| (customer, left - 1));
            return (customer, self.random.random_range(60_000..250_000));
        }
        let customer = self.random.random_range(0..self.customers);
        if self.random.random_ratio(1, 2_000) {
            self.abused = Some((customer, self.random.random_range(5..15)));
        }
        // Skewed to small amounts, as card payments are.
        let amount = [self.random.random_range(100..4_000), self.random.random_range(100..20_000)];
        (customer, amount[usize::from(self.random.random_ratio(1, 4))])
    }

    fn another_body(&mut self, mut record: GeneratedRecord) -> GeneratedRecord {
        let text = String::from_utf8_lossy(&record.value).replace("\"Order ", "\"Changed order ");
        record.value = text.into_bytes();
        record
    }

    fn broken(&mut self, record: GeneratedRecord) -> GeneratedRecord {
        let GeneratedRecord { key, value, timestamp_ms } = record;
        let text = String::from_utf8_lossy(&value).into_owned();
        let id = format!("p-{:09}", self.next);
        let amount =
            text.split("\"amount\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
        let with_amount = |new: &str| text.replace(&format!("\"amount\":\"{amount}\""), &format!("\"amount\":{new}"));
        let value = match self.random.random_range(0..16_u32) {
            0 => text.as_bytes()[..text.len() / 2].to_vec(),
            1 => Vec::new(),
            2 => vec![0xff, 0xfe, 0x80, 0x00],
            3 => "[".repeat(20_000).into_bytes(),
            4 => with_amount("12.34").into_bytes(),
            5 => with_amount("\"0\"").into_bytes(),
            6 => with_amount("\"-5.00\"").into_bytes(),
            7 => with_amount("\"1.234\"").into_bytes(),
            8 => with_amount("\"12,50\"").into_bytes(),
            9 => text.replace("\"EUR\"", "\"XXQ\"").into_bytes(),
            10 => text.replace("\"currency\":\"EUR\",", "").into_bytes(),
            11 => text.replace(&format!("\"debit_account\":\"{key}\""), "\"debit_account\":\"\"").into_bytes(),
            12 => text.replace("2026-01", "1926-13").into_bytes(),
            13 => text.replace(&id, &format!("{id}\\u0000")).into_bytes(),
            14 => [0, 0, 0, 0xff, 0xff, 1, 2, 3].to_vec(),
            _ => with_amount("\"99999999999999999999999\"").into_bytes(),
        };
        GeneratedRecord { key, value, timestamp_ms }
    }
}

impl Iterator for Payments {
    type Item = GeneratedRecord;

    fn next(&mut self) -> Option<GeneratedRecord> {
        let fate = self.random.random_range(0..1_000_u32);
        let repeated = if fate < 22 { self.recent.choose(&mut self.random).cloned() } else { None };
        let record = match repeated {
            Some(earlier) if fate < 2 => self.another_body(earlier),
            Some(earlier) => earlier,
            None => {
                let payment = self.payment();
                let record = if (22..32).contains(&fate) { self.broken(payment) } else { payment };
                self.next += 1;
                if !(22..32).contains(&fate) {
                    if self.recent.len() == RECENT_MAX {
                        let replaced = self.random.random_range(0..RECENT_MAX);
                        self.recent.swap_remove(replaced);
                    }
                    self.recent.push(record.clone());
                }
                record
            }
        };
        Some(record)
    }
}

fn merchants(customers: u32) -> u32 {
    (customers / 10).max(1)
}

fn customer_account(number: u32) -> String {
    format!("acc-{number:06}")
}

fn merchant_account(number: u32) -> String {
    format!("mer-{number:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let take = |seed| Payments::new(seed, 100).take(2_000).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn repeats_and_broken_ones_occur_in_their_shares() {
        let records: Vec<_> = Payments::new(1, 1_000).take(20_000).collect();
        let distinct: std::collections::HashSet<_> = records.iter().map(|record| &record.value).collect();
        let repeats = records.len() - distinct.len();
        assert!((300..600).contains(&repeats), "{repeats} repeats");
        let unreadable =
            records.iter().filter(|record| serde_json::from_slice::<serde_json::Value>(&record.value).is_err());
        let unreadable = unreadable.count();
        assert!((40..200).contains(&unreadable), "{unreadable} unreadable");
    }
}
