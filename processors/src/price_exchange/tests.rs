use proptest::prelude::*;
use tidemill_core::{EventTime, Meta, Settings};
use tidemill_schemas::{Exchange, FeeTerms, FxQuote, PaymentBody, PaymentType, PricedPayment};
use tidemill_testkit::{Driver, rows};

use super::quote::Quote;
use super::{FX_RATES, SPEC};
use crate::fixture::payment_body;

fn at(text: &str) -> EventTime {
    EventTime::parse(text).expect("RFC 3339")
}

fn quote(sell: &str, buy: &str, rate: &str, spread: &str) -> FxQuote {
    FxQuote {
        meta: Meta::default(),
        quote: "q-1".to_owned(),
        sell_currency: sell.to_owned(),
        buy_currency: buy.to_owned(),
        rate: rate.to_owned(),
        spread: spread.to_owned(),
        effective_from: at("2026-03-01T00:00:00Z"),
        expires_at: at("2026-03-01T00:05:00Z"),
    }
}

/// Amounts in minor units. The customer's is rounded down, the house's up.
#[test]
fn exchanges_are_rounded_once_and_in_favour_of_the_house() {
    let table = "
        sold    | sell | buy | rate         | spread | bought  | spread_minor
        # 8,242.135 lies between two cents: one is given, the other kept.
        10000   | USD  | INR | 82.42135     | 0      | 824213  | 1
        10000   | USD  | INR | 82.42        | 0      | 824200  | 0
        10000   | EUR  | USD | 1.0850       | 0.0050 | 10800   | 50
        # The number of decimal places decides: 51.13 is not 51.129188...
        10000   | EUR  | USD | 1.08499      | 0.005  | 10799   | 51
        # No minor unit, three of them, and both.
        10000   | EUR  | JPY | 161.5555     | 0      | 16155   | 1
        16155   | JPY  | EUR | 0.0061       | 0.0001 | 9693    | 162
        1000    | KWD  | EUR | 3.0123456789 | 0      | 301     | 1
        1       | EUR  | KWD | 0.33333      | 0      | 3       | 1
        500     | KWD  | JPY | 500          | 1      | 249     | 1
        # Less than the smallest unit buys nothing, and too much is too much.
        1       | JPY  | EUR | 0.0061       | 0      | -       | -
        1       | JPY  | EUR | 0.01         | 0      | 1       | 0
        1000000000000000 | EUR | USD | 1    | 0      | 1000000000000000 | 0
        1000000000000000 | EUR | USD | 1.000000000001 | 0 | -  | -
        1000000000000000 | JPY | KWD | 999999.999999999999 | 0 | - | -
    ";
    for row in rows(table) {
        let quote = Quote::compile(&quote(row["sell"], row["buy"], row["rate"], row["spread"])).expect("can be used");
        let exchange = quote.exchange(row["sold"].parse().expect("minor units"));
        let found = exchange.map(|exchange| (exchange.bought_minor.to_string(), exchange.spread_minor.to_string()));
        let found = found.unwrap_or(("-".to_owned(), "-".to_owned()));
        assert_eq!((found.0.as_str(), found.1.as_str()), (row["bought"], row["spread_minor"]), "{row:?}");
    }
}

fn driver() -> Driver {
    let mut driver = Driver::new(&[(&SPEC, "")]);
    let event = Box::new(quote("EUR", "USD", "1.0850", "0.0050"));
    driver.reference(FX_RATES).apply(b"q-1", Some(event)).expect("can be used");
    driver
}

fn exchange_of(driver: &mut Driver, change: impl FnOnce(&mut PaymentBody)) -> Result<Option<Box<Exchange>>, String> {
    let mut payment = payment_body();
    payment.payment_type = PaymentType::FxExchange;
    payment.quote = Some("q-1".to_owned());
    payment.created_at = at("2026-03-01T00:01:00Z");
    change(&mut payment);
    let priced = PricedPayment {
        payment,
        fee_minor: 0,
        fee_schedule: String::new(),
        fee_terms: FeeTerms::default(),
        exchange: None,
        dates: None,
    };
    let ran = driver.send_event(priced);
    match ran.passed {
        Some(_) => Ok(ran.passed_as::<PricedPayment>().exchange.clone()),
        None => Err(ran.code().to_owned()),
    }
}

#[test]
fn the_first_rule_that_is_broken_is_answered() {
    let table = "
        quote | currency | created_at                  | amount           | code
        q-1   | EUR      | 2026-03-01T00:00:00Z        | 100              | -
        q-1   | EUR      | 2026-03-01T00:04:59.999999Z | 100              | -
        # Over at the very instant, and not yet there a microsecond before.
        q-1   | EUR      | 2026-03-01T00:05:00Z        | 100              | fx_quote_expired
        q-1   | EUR      | 2026-02-28T23:59:59.999999Z | 100              | fx_quote_unknown
        q-2   | JPY      | 2026-03-01T00:05:00Z        | 999999999999999  | fx_quote_unknown
        # The inverse is not derived.
        q-1   | USD      | 2026-03-01T00:05:00Z        | 999999999999999  | fx_quote_mismatch
        q-1   | EUR      | 2026-03-01T00:05:00Z        | 999999999999999  | fx_quote_expired
        q-1   | EUR      | 2026-03-01T00:01:00Z        | 999999999999999  | fx_amount_out_of_range
    ";
    for row in rows(table) {
        let found = exchange_of(&mut driver(), |payment| {
            payment.quote = Some(row["quote"].to_owned());
            payment.currency = row["currency"].to_owned();
            payment.created_at = at(row["created_at"]);
            payment.amount_minor = row["amount"].parse().expect("minor units");
        });
        assert_eq!(found.err().as_deref().unwrap_or("-"), row["code"], "{row:?}");
    }
}

#[test]
fn other_payments_pass_as_they_come() {
    let passed = exchange_of(&mut driver(), |payment| payment.payment_type = PaymentType::Transfer);
    assert_eq!(passed, Ok(None));
}

#[test]
fn a_quote_that_is_taken_back_is_unknown() {
    let mut driver = driver();
    assert!(exchange_of(&mut driver, |_| {}).is_ok());
    driver.reference(FX_RATES).apply(b"q-1", None).expect("a quote can be removed");
    assert_eq!(exchange_of(&mut driver, |_| {}), Err("fx_quote_unknown".to_owned()));
}

#[test]
fn quotes_are_checked() {
    let table = r#"
        field          | value                | error
        quote          |                      | quote
        sell_currency  | XXX                  | sell_currency
        buy_currency   | usd                  | buy_currency
        buy_currency   | EUR                  | buy_currency
        rate           | 0                    | rate
        rate           | -1                   | rate
        rate           | 1e3                  | rate
        rate           | 1000000              | rate
        rate           | 1.0000000000001      | rate
        spread         | 1.0850               | spread
        spread         | x                    | spread
        effective_from | 2026-03-01           | effective_from
        expires_at     | 2026-02-01T00:00:00Z | expires_at
        colour         | red                  | colour
        rate           | 999999.999999999999  | -
    "#;
    for row in rows(table) {
        let mut settings: toml::Table = SPEC.example.parse().expect("is TOML");
        let quote = settings["quotes"][0].as_table_mut().expect("a quote");
        quote.insert(row["field"].to_owned(), row["value"].into());
        let error = (SPEC.build)(&Settings(settings)).err().map(|errors| errors[0].clone());
        let found = error.map_or("-".to_owned(), |error| format!("{} {}", error.key, error.message));
        assert!(found.contains(row["error"]), "{row:?}: {found}");
    }
    let twice = format!("{}{}", SPEC.example, SPEC.example);
    let errors = (SPEC.build)(&Settings(twice.parse().expect("is TOML"))).err().expect("the same id twice");
    assert_eq!(errors[0].key, "quotes[1].quote");
}

proptest! {
    /// Nobody gains by splitting an exchange, or by going there and back; and what is given is what is got and kept.
    #[test]
    fn the_house_never_loses(
        sold_minor in 1_i64..1_000_000_000,
        part_minor in 1_i64..1_000_000_000,
        rate in 1_i64..1_000_000_000,
        spread_of_thousand in 0_i64..999,
    ) {
        let text = |value: i64| format!("{}.{:06}", value / 1_000_000, value % 1_000_000);
        let spread = rate * spread_of_thousand / 1_000;
        let there = Quote::compile(&quote("EUR", "KWD", &text(rate), &text(spread))).expect("can be used");
        if let Some(whole) = there.exchange(sold_minor) {
            // As rationals, over 10^6 for the rate and 10^2 and 10^3 for the minor units.
            let exact = i128::from(sold_minor) * i128::from(rate - spread) * 1_000;
            prop_assert!(i128::from(whole.bought_minor) * 100_000_000 <= exact);
            prop_assert!(i128::from(whole.bought_minor + 1) * 100_000_000 > exact);
            let given = i128::from(whole.bought_minor + whole.spread_minor) * 100_000_000;
            let exact = i128::from(sold_minor) * i128::from(rate) * 1_000;
            prop_assert!(given >= exact && given - exact < 100_000_000);
            let part_minor = part_minor % sold_minor;
            let parts = [part_minor, sold_minor - part_minor].map(|part| there.exchange(part).map_or(0, |got| got.bought_minor));
            prop_assert!(parts.iter().sum::<i64>() <= whole.bought_minor);
        }
    }
}
