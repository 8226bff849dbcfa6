//! Fees as tables. Sources of the figures: the published examples of Lago, Zuplo and Autumn for graduated prices, as
//! far as a schedule without per-tier flat parts can express them.

use tidemill_core::{EventTime, Meta, Settings};
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::payment::PaymentBody;
use tidemill_schemas::{
    AccountCommand, FeeCharge, FeeRefund, FeeSchedule, FeeTerms, FeeTier, PaymentType, PricedPayment, ScoredPayment,
};
use tidemill_testkit::{Driver, rows};

use super::{SPEC, allowance, segment};
use crate::fixture::{check_state, payment_body};

const CHAIN: &str = r#"tiers = [{ up_to_minor = 10_000, rate = "0.01" }, { up_to_minor = 100_000, rate = "0.005" }, { rate = "0.001" }]
min_minor = 10
max_minor = 2_500"#;

fn scored(amount_minor: i64, currency: &str, channel: &str, created_at: &str) -> ScoredPayment {
    let created_at = EventTime::parse(created_at).expect("RFC 3339");
    let (currency, channel) = (currency.to_owned(), channel.to_owned());
    let payment = PaymentBody { amount_minor, currency, channel, created_at, ..payment_body() };
    ScoredPayment { payment, decision: None }
}

fn change_segment(account: &str, segment: Option<&str>) -> AccountCommand {
    AccountCommand {
        request_id: format!("r-{account}"),
        source: "core".to_owned(),
        account: account.to_owned(),
        created_at: EventTime::EARLIEST,
        action: AccountAction::ChangeSegment { segment: segment.map(str::to_owned) },
    }
}

/// The fee of one amount under one schedule.
fn fee(schedule: &str, rounding: &str, amount_minor: i64) -> i64 {
    let settings = format!(
        "[[schedules]]\nname = \"s\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\nrounding = \"{rounding}\"\n{schedule}"
    );
    let mut driver = Driver::new(&[(&SPEC, &settings)]);
    let ran = driver.send_event(scored(amount_minor, "EUR", "web", "2026-01-01T00:00:00Z"));
    let priced = ran.passed_as::<PricedPayment>();
    assert_eq!(priced.fee_schedule, "s@1");
    priced.fee_minor
}

#[test]
fn graduated_with_minimum_and_maximum() {
    let table = "
        amount_minor | fee_minor
        1            | 10
        1000         | 10
        1050         | 10
        1250         | 12
        1350         | 14
        4000         | 40
        9999         | 100
        10000        | 100
        10001        | 100
        10100        | 100
        10300        | 102
        50000        | 300
        100000       | 550
        100500       | 550
        101500       | 552
        2050000      | 2500
        2100000      | 2500
    ";
    for row in rows(table) {
        let amount = row["amount_minor"].parse().expect("minor units");
        assert_eq!(fee(CHAIN, "half_even", amount).to_string(), row["fee_minor"], "amount {amount}");
    }
}

#[test]
fn published_examples() {
    const LAGO: &str = "tiers = [{ rate = \"0.0299\" }]\nmin_minor = 175\nmax_minor = 1_200";
    const LAGO_FIXED: &str = "tiers = [{ rate = \"0.0299\" }]\nflat_minor = 200\nmin_minor = 175\nmax_minor = 1_200";
    const FREE_FIRST: &str = "tiers = [{ up_to_minor = 25_000, rate = \"0\" }, { rate = \"0.013\" }]\nflat_minor = 400";
    const ZUPLO: &str = "tiers = [{ up_to_minor = 1_000, rate = \"0.10\" }, { up_to_minor = 10_000, rate = \"0.05\" }, { rate = \"0.01\" }]";
    const AUTUMN: &str = "tiers = [{ up_to_minor = 1_000, rate = \"0.01\" }, { up_to_minor = 10_000, rate = \"0.008\" }, { rate = \"0.005\" }]";
    let cases = [
        ("percentage, minimum", LAGO, 1_000, 175),
        ("percentage", LAGO, 8_000, 239),
        ("percentage, maximum", LAGO, 1_000_000, 1_200),
        ("fixed part inside the minimum", LAGO_FIXED, 1_000, 230),
        ("fixed part added", LAGO_FIXED, 8_000, 439),
        ("fixed part inside the maximum", LAGO_FIXED, 1_000_000, 1_200),
        ("first 250.00 free, 1.3 % above, 4.00 fixed", FREE_FIRST, 80_000, 1_115),
        ("graduated by unit", ZUPLO, 15_000, 600),
        ("graduated by unit, small rates", AUTUMN, 15_000, 107),
        ("flat only", "flat_minor = 35", 1, 35),
        ("free", "", 1_000, 0),
        ("greatest amount", "tiers = [{ rate = \"1\" }]", i64::MAX, i64::MAX),
        ("smallest rate", "tiers = [{ rate = \"0.000000000001\" }]", 1_000_000_000_000, 1),
    ];
    for (name, schedule, amount, expected) in cases {
        assert_eq!(fee(schedule, "half_even", amount), expected, "{name}");
    }
}

/// Per-tier flat parts, and one rate for all. Lago's whole units are euros here, so its unrounded figures are cents.
#[test]
fn tiers_with_flat_parts_and_by_volume() {
    const LAGO: &str = "tiers = [{ up_to_minor = 1_000, rate = \"0.01\", flat_minor = 20_000 }, \
                        { up_to_minor = 2_000, rate = \"0.02\", flat_minor = 30_000 }, \
                        { rate = \"0.03\", flat_minor = 40_000 }]";
    const ZUPLO: &str = "model = \"volume\"\ntiers = [{ up_to_minor = 1_000, rate = \"0.10\" }, \
                         { up_to_minor = 10_000, rate = \"0.05\" }, { rate = \"0.01\" }]";
    const SLAB: &str = "tiers = [{ up_to_minor = 250, rate = \"0\", flat_minor = 10 }, \
                        { up_to_minor = 500, rate = \"0\", flat_minor = 20 }, { rate = \"0\", flat_minor = 30 }]";
    let volume = |slab: &str| format!("model = \"volume\"\n{slab}");
    let cases = [
        ("graduated, 1.00", LAGO.to_owned(), 100, 20_001),
        ("graduated, 10.00, the end of a tier belongs to it", LAGO.to_owned(), 1_000, 20_010),
        ("graduated, 11.00", LAGO.to_owned(), 1_100, 50_012),
        ("graduated, 12.00", LAGO.to_owned(), 1_200, 50_014),
        ("graduated, 21.00", LAGO.to_owned(), 2_100, 90_033),
        ("volume, 15,000", ZUPLO.to_owned(), 15_000, 150),
        ("volume, the end of a tier belongs to it", ZUPLO.to_owned(), 1_000, 100),
        ("volume, one more", ZUPLO.to_owned(), 1_001, 50),
        ("slab, 1,000: every slab that is reached", SLAB.to_owned(), 1_000, 60),
        ("slab, 250", SLAB.to_owned(), 250, 10),
        ("slab, 251", SLAB.to_owned(), 251, 30),
        ("flat by volume, 1,000", volume(SLAB), 1_000, 30),
        ("flat by volume, 250", volume(SLAB), 250, 10),
    ];
    for (name, schedule, amount, expected) in cases {
        assert_eq!(fee(&schedule, "half_even", amount), expected, "{name}");
    }
}

#[test]
fn a_schedule_for_a_type_goes_before_all_others() {
    let settings = |more: &str| {
        let schedule = |name: &str, more: &str| {
            format!(
                "[[schedules]]\nname = \"{name}\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
                 rounding = \"half_even\"\n{more}\n"
            )
        };
        let all = schedule("all", "currency = \"EUR\"\nchannel = \"web\"\nflat_minor = 1");
        format!("{all}{}", schedule("some", more))
    };
    let captures = settings("payment_types = [\"capture\", \"force_post\"]\nflat_minor = 9");
    let mut driver = Driver::new(&[(&SPEC, &captures)]);
    for (payment_type, fee_minor) in
        [(PaymentType::Transfer, 1), (PaymentType::Capture, 9), (PaymentType::ForcePost, 9), (PaymentType::Refund, 0)]
    {
        let mut event = scored(1_000, "EUR", "web", "2026-01-01T00:00:00Z");
        event.payment.payment_type = payment_type;
        assert_eq!(driver.send_event(event).passed_as::<PricedPayment>().fee_minor, fee_minor, "{payment_type:?}");
    }
    for (more, key) in [
        ("payment_types = [\"refund\"]", "schedules[1].payment_types[0]"),
        ("payment_types = [\"capture\", \"gift\"]", "schedules[1].payment_types[1]"),
        ("model = \"slab\"", "schedules[1].model"),
        ("tiers = [{ rate = \"0\", flat_minor = -1 }]", "schedules[1].tiers[0].flat_minor"),
    ] {
        let errors = (SPEC.build)(&Settings(settings(more).parse().expect("is TOML"))).err().expect("is refused");
        assert_eq!(errors[0].key, key, "{more}");
    }
}

/// Rounding slice by slice would give 0 + 0 here, rounding the sum gives 1.
#[test]
fn rounds_once_at_the_end() {
    let schedule = "tiers = [{ up_to_minor = 40, rate = \"0.01\" }, { rate = \"0.01\" }]";
    assert_eq!(fee(schedule, "half_even", 80), 1);
}

#[test]
fn rounds_by_the_mode_of_the_schedule() {
    let cases = [
        ("half_even", 2),
        ("half_odd", 3),
        ("half_toward_zero", 2),
        ("half_away_from_zero", 3),
        ("toward_zero", 2),
        ("away_from_zero", 3),
    ];
    for (mode, expected) in cases {
        assert_eq!(fee("tiers = [{ rate = \"0.01\" }]", mode, 250), expected, "{mode}");
    }
}

fn schedule(version: &str, currency: &str, channel: &str, effective_from: &str) -> FeeSchedule {
    FeeSchedule {
        meta: Meta::default(),
        name: "s".to_owned(),
        version: version.to_owned(),
        effective_from: EventTime::parse(effective_from).expect("RFC 3339"),
        currency: currency.to_owned(),
        channel: channel.to_owned(),
        tiers: vec![FeeTier { up_to_minor: None, rate: "0.01".to_owned(), flat_minor: None }],
        flat_minor: 0,
        min_minor: 0,
        max_minor: None,
        rounding: "half_even".to_owned(),
        model: None,
        payment_types: Vec::new(),
        accounts: Vec::new(),
        customers: Vec::new(),
        priority: 0,
        free: None,
        segments: Vec::new(),
        charged: None,
        refunds: None,
    }
}

#[test]
fn the_most_specific_then_the_latest_schedule_is_in_force() {
    let mut driver = Driver::new(&[(&SPEC, "")]);
    let published = [
        schedule("any1", "", "", "2026-01-01T00:00:00Z"),
        schedule("any2", "", "", "2026-02-01T00:00:00Z"),
        schedule("eur1", "EUR", "", "2026-02-01T00:00:00Z"),
        schedule("eur2", "EUR", "", "2026-04-01T00:00:00Z"),
        schedule("web1", "", "web", "2026-03-01T00:00:00Z"),
        schedule("eurweb1", "EUR", "web", "2026-03-01T00:00:00Z"),
        schedule("eurweb2", "EUR", "web", "2026-03-01T00:00:00Z"),
    ];
    for event in published {
        driver
            .reference("fee_schedules")
            .apply(event.version.clone().as_bytes(), Some(Box::new(event)))
            .expect("usable");
    }
    let table = "
        currency | channel | created_at                     | schedule
        EUR      | web     | 2025-12-31T23:59:59.999999Z    | fee_schedule_missing
        EUR      | web     | 2026-01-01T00:00:00Z           | s@any1
        EUR      | web     | 2026-01-31T23:59:59.999999Z    | s@any1
        JPY      | web     | 2026-02-01T00:00:00Z           | s@any2
        EUR      | web     | 2026-02-01T00:00:00Z           | s@eur1
        JPY      | web     | 2026-03-01T00:00:00Z           | s@web1
        JPY      | app     | 2026-03-01T00:00:00Z           | s@any2
        EUR      | app     | 2026-03-31T00:00:00Z           | s@eur1
        EUR      | app     | 2026-04-01T00:00:00Z           | s@eur2
        EUR      | web     | 2026-05-01T00:00:00Z           | s@eurweb2
    ";
    for row in rows(table) {
        let ran = driver.send_event(scored(100, row["currency"], row["channel"], row["created_at"]));
        let found = ran.passed.as_ref().and_then(|event| event.downcast_ref::<PricedPayment>());
        assert_eq!(found.map_or(ran.code(), |priced| &priced.fee_schedule), row["schedule"], "{row:?}");
    }
}

#[test]
fn a_topic_record_replaces_the_settings_and_a_tombstone_removes_it() {
    let settings = SPEC.example;
    let mut driver = Driver::new(&[(&SPEC, settings)]);
    let price = |driver: &mut Driver| {
        let ran = driver.send_event(scored(50_000, "EUR", "web", "2026-01-01T00:00:00Z"));
        ran.passed.and_then(|event| event.downcast::<PricedPayment>().ok()).map(|priced| priced.fee_minor)
    };
    assert_eq!(price(&mut driver), Some(300));
    let mut replacement = schedule("1", "EUR", "", "2000-01-01T00:00:00Z");
    replacement.name = "standard".to_owned();
    let table = driver.reference("fee_schedules");
    table.apply(b"standard/1", Some(Box::new(replacement.clone()))).expect("usable");
    assert_eq!(price(&mut driver), Some(500));
    replacement.rounding = "somehow".to_owned();
    let refused = driver.reference("fee_schedules").apply(b"standard/1", Some(Box::new(replacement)));
    assert!(refused.expect_err("names no mode").starts_with("rounding: "));
    assert_eq!(price(&mut driver), Some(500), "a refused entry leaves the table as it was");
    driver.reference("fee_schedules").apply(b"standard/1", None).expect("known");
    assert_eq!(price(&mut driver), None);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let base = "[[schedules]]\nname = \"s\"\nversion = \"1\"\n";
    let from = "effective_from = \"2026-01-01T00:00:00Z\"\n";
    let even = "rounding = \"half_even\"\n";
    let cases = [
        ("schedules[0].effective_from", format!("{base}effective_from = \"2026-01-01\"\n{even}")),
        ("schedules[0].rounding", format!("{base}{from}rounding = \"half_up\"\n")),
        ("schedules[0].currency", format!("{base}{from}{even}currency = \"EURO\"\n")),
        ("schedules[0].flat_minor", format!("{base}{from}{even}flat_minor = -1\n")),
        ("schedules[0].max_minor", format!("{base}{from}{even}min_minor = 2\nmax_minor = 1\n")),
        ("schedules[0].tiers[0].rate", format!("{base}{from}{even}tiers = [{{ rate = \"1.5\" }}]\n")),
        ("schedules[0].tiers[0].rate", format!("{base}{from}{even}tiers = [{{ rate = \"1%\" }}]\n")),
        ("schedules[0].tiers[0].rate", format!("{base}{from}{even}tiers = [{{ rate = \"0.0000000000001\" }}]\n")),
        (
            "schedules[0].tiers[0].up_to_minor",
            format!("{base}{from}{even}tiers = [{{ up_to_minor = 5, rate = \"0\" }}]\n"),
        ),
        (
            "schedules[0].tiers[1].up_to_minor",
            format!(
                "{base}{from}{even}tiers = [{{ up_to_minor = 5, rate = \"0\" }}, {{ up_to_minor = 5, rate = \"0\" }}, {{ rate = \"0\" }}]\n"
            ),
        ),
        ("schedules[1].version", format!("{base}{from}{even}{base}{from}{even}")),
    ];
    for (key, text) in cases {
        let settings = Settings(text.parse().expect("is TOML"));
        let errors = (SPEC.build)(&settings).err().unwrap_or_default();
        assert_eq!(errors.iter().map(|error| error.key.as_str()).collect::<Vec<_>>(), [key], "{text}");
    }
}

/// A hold is free until money is taken, and what gives money back is, too.
#[test]
fn only_what_takes_money_costs_a_fee() {
    for payment_type in PaymentType::ALL {
        let mut driver = Driver::new(&[(&SPEC, SPEC.example)]);
        let mut event = scored(50_000, "EUR", "web", "2026-01-01T00:00:00Z");
        event.payment.payment_type = payment_type;
        let ran = driver.send_event(event);
        let priced = ran.passed_as::<PricedPayment>();
        let expected = match payment_type {
            PaymentType::Transfer | PaymentType::Withdrawal | PaymentType::Capture | PaymentType::ForcePost => {
                (300, "standard@1")
            }
            _ => (0, ""),
        };
        assert_eq!((priced.fee_minor, priced.fee_schedule.as_str()), expected, "{payment_type:?}");
    }
    let mut no_schedules = Driver::new(&[(&SPEC, "")]);
    let mut refund = scored(50_000, "EUR", "web", "2026-01-01T00:00:00Z");
    refund.payment.payment_type = PaymentType::Refund;
    assert_eq!(no_schedules.send_event(refund).code(), "passed");
}

/// Fees of payments one after another, each `amount at time`, by one account unless it says `of account`.
fn fees(driver: &mut Driver, payments: &str) -> Vec<i64> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut event = scored(words[0].parse().expect("minor units"), "EUR", "web", words[2]);
        if let ["of", account] = words[3..] {
            event.payment.debit_account = account.to_owned();
        }
        driver.send_event(event).passed_as::<PricedPayment>().fee_minor
    };
    payments.split(", ").map(one).collect()
}

fn with_free(price: &str, free: &str) -> Driver {
    let settings = format!(
        "[[schedules]]\nname = \"s\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
         rounding = \"half_even\"\n{price}\nfree = {{ {free} }}"
    );
    Driver::new(&[(&SPEC, &settings)])
}

/// Lago's examples with a free allowance, whose whole units are euros here. Rounded per payment, which gives their sums
/// rounded once: 11.15 and 13.79.
#[test]
fn what_is_free_in_a_period_is_used_up_by_its_payments() {
    const EVENTS: &str = "tiers = [{ rate = \"0.013\" }]\nflat_minor = 200";
    const BOUNDED: &str = "tiers = [{ rate = \"0.0299\" }]\nmin_minor = 175\nmax_minor = 1_200";
    const DAY: &str = "2026-01-01T10:00:00Z";
    let all =
        |amounts: &[i64]| amounts.iter().map(|amount| format!("{amount} at {DAY}")).collect::<Vec<_>>().join(", ");
    let cases = [
        (
            EVENTS,
            "period = \"month\", amount_minor = 25_000",
            [20_000, 5_000, 30_000, 25_000].as_slice(),
            [0, 0, 590, 525].as_slice(),
        ),
        (BOUNDED, "period = \"month\", amount_minor = 3_000", &[1_000, 8_000, 1_000_000], &[0, 179, 1_200]),
        // Free payments go first, whatever their amount; what they would have used of the amount stays.
        (EVENTS, "period = \"day\", payments = 2", &[100_000, 1, 10_000], &[0, 0, 330]),
        (
            EVENTS,
            "period = \"day\", payments = 1, amount_minor = 10_000",
            &[100_000, 4_000, 7_000, 10_000],
            &[0, 0, 213, 330],
        ),
    ];
    for (price, free, amounts, expected) in cases {
        assert_eq!(fees(&mut with_free(price, free), &all(amounts)), expected, "{free}");
    }
}

#[test]
fn an_allowance_begins_anew_with_each_period_and_belongs_to_one_account() {
    let price = "flat_minor = 7";
    let mut monthly = with_free(price, "period = \"month\", payments = 1");
    let payments = "100 at 2026-01-31T23:59:59.999999Z, 100 at 2026-01-01T00:00:00Z, 100 at 2026-02-01T00:00:00Z, \
                    100 at 2026-02-28T00:00:00Z, 100 at 2026-01-15T00:00:00Z, 100 at 2026-02-28T00:00:00Z of other, \
                    100 at 2028-02-29T00:00:00Z";
    assert_eq!(
        fees(&mut monthly, payments),
        [0, 7, 0, 7, 7, 0, 0],
        "a backdated payment does not open a past month again"
    );
    let mut daily = with_free(price, "period = \"day\", payments = 1");
    let payments = "100 at 2026-01-31T23:59:59.999999Z, 100 at 2026-01-31T00:00:00Z, 100 at 2026-02-01T00:00:00Z";
    assert_eq!(fees(&mut daily, payments), [0, 7, 0]);
    let key = allowance::key("acc-1", "s");
    check_state(&daily.state, allowance::FEE_ALLOWANCES, &key);
}

/// The account has nothing: its payment is refused, and what was free is free still.
#[test]
fn a_refused_payment_uses_nothing_of_what_is_free() {
    let settings = "[[schedules]]\nname = \"s\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
                    rounding = \"half_even\"\nflat_minor = 7\nfree = { period = \"day\", payments = 1 }";
    let mut driver = Driver::new(&[(&SPEC, settings), (&crate::post_ledger::SPEC, "")]);
    let ran = driver.send_event(scored(100, "EUR", "web", "2026-01-01T00:00:00Z"));
    assert_eq!(ran.code(), "debit_account_not_found");
    assert_eq!(driver.state.len(allowance::FEE_ALLOWANCES.name()), 0);
}

#[test]
fn priority_goes_before_account_customer_and_type() {
    let mut driver = Driver::new(&[(&SPEC, "")]);
    let since = "2026-01-01T00:00:00Z";
    let named = |version: &str, change: fn(&mut FeeSchedule)| {
        let mut event = schedule(version, "", "", since);
        change(&mut event);
        event
    };
    for event in [
        named("all", |_| {}),
        named("type", |event| event.payment_types = vec!["transfer".to_owned()]),
        named("customer", |event| event.customers = vec!["vip".to_owned(), "staff".to_owned()]),
        named("segment", |event| event.segments = vec!["gold".to_owned(), "silver".to_owned()]),
        named("account", |event| event.accounts = vec!["acc-7".to_owned()]),
        named("campaign", |event| {
            event.priority = 1;
            event.currency = "JPY".to_owned();
        }),
        named("late", |event| event.priority = -1),
    ] {
        let key = event.version.clone();
        driver.reference("fee_schedules").apply(key.as_bytes(), Some(Box::new(event))).expect("usable");
    }
    for (account, segment) in [("acc-g", "gold"), ("acc-s", "silver"), ("acc-b", "bronze"), ("acc-7", "gold")] {
        driver.send_event(change_segment(account, Some(segment)));
    }
    let table = "
        account | customer | currency | type       | schedule
        acc-1   |          | EUR      | withdrawal | s@all
        acc-1   |          | EUR      | transfer   | s@type
        acc-1   | vip      | EUR      | transfer   | s@customer
        acc-1   | staff    | EUR      | transfer   | s@customer
        acc-1   | other    | EUR      | transfer   | s@type
        acc-g   | other    | EUR      | transfer   | s@segment
        acc-s   |          | EUR      | withdrawal | s@segment
        acc-b   |          | EUR      | withdrawal | s@all
        acc-g   | vip      | EUR      | transfer   | s@customer
        acc-7   | vip      | EUR      | transfer   | s@account
        acc-7   | vip      | JPY      | transfer   | s@campaign
    ";
    for row in rows(table) {
        let mut event = scored(100, row["currency"], "web", since);
        event.payment.debit_account = row["account"].to_owned();
        event.payment.customer = Some(row["customer"].to_owned()).filter(|customer| !customer.is_empty());
        event.payment.payment_type = PaymentType::parse(row["type"]).expect("a type");
        assert_eq!(driver.send_event(event).passed_as::<PricedPayment>().fee_schedule, row["schedule"], "{row:?}");
    }
    for (more, key) in [
        ("accounts = [\"\"]", "schedules[0].accounts[0]"),
        ("customers = [\"a\", \"\"]", "schedules[0].customers[1]"),
        ("free = { period = \"week\", payments = 1 }", "schedules[0].free.period"),
        ("free = { period = \"day\", payments = -1 }", "schedules[0].free.payments"),
        ("free = { period = \"day\", amount_minor = -1 }", "schedules[0].free.amount_minor"),
        ("free = { period = \"day\" }", "schedules[0].free.amount_minor"),
        ("segments = [\"\"]", "schedules[0].segments[0]"),
        ("charged = \"both\"", "schedules[0].charged"),
        ("refunds = \"half\"", "schedules[0].refunds"),
    ] {
        let settings = format!(
            "[[schedules]]\nname = \"s\"\nversion = \"1\"\neffective_from = \"{since}\"\nrounding = \"half_even\"\n{more}"
        );
        let errors = (SPEC.build)(&Settings(settings.parse().expect("is TOML"))).err().expect("is refused");
        assert_eq!(errors[0].key, key, "{more}");
    }
}

/// A schedule without a price exempts the accounts of a segment, from when they are put in it to when they are taken out.
#[test]
fn a_segment_is_noted_on_the_way_of_account_requests() {
    let schedule = |name: &str, more: &str| {
        format!(
            "[[schedules]]\nname = \"{name}\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
             rounding = \"half_even\"\n{more}\n"
        )
    };
    let settings = format!("{}{}", schedule("all", "flat_minor = 7"), schedule("staff", "segments = [\"staff\"]"));
    let mut driver = Driver::new(&[(&SPEC, &settings)]);
    let price = |driver: &mut Driver| {
        let ran = driver.send_event(scored(100, "EUR", "web", "2026-01-01T00:00:00Z"));
        let priced = ran.passed_as::<PricedPayment>();
        (priced.fee_minor, priced.fee_schedule.clone())
    };
    assert_eq!(price(&mut driver), (7, "all@1".to_owned()));
    let command = change_segment("acc-1", Some("staff"));
    assert_eq!(driver.send_event(command.clone()).passed_as::<AccountCommand>(), &command, "passed on as it came");
    check_state(&driver.state, segment::FEE_SEGMENTS, b"acc-1");
    assert_eq!(price(&mut driver), (0, "staff@1".to_owned()));
    driver.send_event(change_segment("acc-1", None));
    assert_eq!(price(&mut driver), (7, "all@1".to_owned()));
    assert_eq!(driver.state.len(segment::FEE_SEGMENTS.name()), 0);
}

/// The ledger knows no such account: its segment is not noted either.
#[test]
fn a_refused_request_changes_no_segment() {
    let mut driver = Driver::new(&[(&SPEC, SPEC.example), (&crate::post_ledger::SPEC, "")]);
    assert_eq!(driver.send_event(change_segment("acc-1", Some("gold"))).code(), "account_not_found");
    assert_eq!(driver.state.len(segment::FEE_SEGMENTS.name()), 0);
}

#[test]
fn who_is_short_of_a_fee_and_what_becomes_of_it_is_part_of_the_schedule() {
    let priced = |more: &str, payment_type: PaymentType, amount_minor: i64| {
        let settings = format!(
            "[[schedules]]\nname = \"s\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
             rounding = \"half_even\"\nflat_minor = 10\n{more}"
        );
        let mut event = scored(amount_minor, "EUR", "web", "2026-01-01T00:00:00Z");
        event.payment.payment_type = payment_type;
        let ran = Driver::new(&[(&SPEC, &settings)]).send_event(event);
        let code = ran.code();
        let passed = ran.passed.and_then(|event| event.downcast::<PricedPayment>().ok());
        passed.map(|priced| (priced.fee_minor, priced.sent_minor(), priced.fee_terms)).ok_or(code)
    };
    let terms = |charge, refund| FeeTerms { charge, refund };
    let transfer = |more: &str, amount_minor: i64| priced(more, PaymentType::Transfer, amount_minor);
    assert_eq!(transfer("", 10), Ok((10, 10, FeeTerms::default())));
    let deducted = "charged = \"deducted\"\nrefunds = \"pro_rata\"";
    assert_eq!(transfer(deducted, 11), Ok((10, 1, terms(FeeCharge::Deducted, FeeRefund::ProRata))));
    assert_eq!(transfer(deducted, 10), Err("fee_exceeds_amount"), "nothing would arrive");
    let returned = "charged = \"on_top\"\nrefunds = \"returned\"";
    assert_eq!(transfer(returned, 1), Ok((10, 1, terms(FeeCharge::OnTop, FeeRefund::Returned))));
    // A chargeback is priced by a schedule that names it alone, and all of it arrives.
    let chargeback = |more: &str| priced(more, PaymentType::Chargeback, 5);
    assert_eq!(chargeback(""), Ok((0, 5, FeeTerms::default())));
    let named = format!("payment_types = [\"chargeback\"]\n{deducted}");
    assert_eq!(chargeback(&named), Ok((10, 5, terms(FeeCharge::OnTop, FeeRefund::ProRata))));
    assert_eq!(transfer(&named, 5), Err("fee_schedule_missing"));
}
