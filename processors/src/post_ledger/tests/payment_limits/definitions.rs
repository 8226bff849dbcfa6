//! Limits as they are defined, changed, forgotten and shown.

use tidemill_core::{EventTime, Settings};
use tidemill_schemas::account::AccountAction;
use tidemill_schemas::{AccountKind, PaymentLimit, PaymentType};
use tidemill_testkit::rows;

use super::super::super::SPEC;
use super::super::super::payment_limits::{
    LIMIT_USAGES, LIMITED_PAYMENTS, LimitTable, PAYMENT_LIMITS, Usage, standing,
};
use super::super::script::play_with;
use super::super::world::{Audits, Pay, World};
use super::{BERLIN_DAY, limit, of_100};

/// The settings are one version; records of the topic are others, by the time of the payment.
#[test]
fn the_version_is_that_of_the_time_of_the_payment() {
    let mut world = World::of_tasks(1, &of_100("day", BERLIN_DAY), Audits::EveryRecord);
    for account in ["a", "b"] {
        let (currency, kind, limit_minor) = ("EUR".to_owned(), AccountKind::Customer, 90_000);
        world.request(account, AccountAction::Open { customer: None, parent: None, currency, kind, limit_minor });
    }
    let event = |version: &str, effective_from: &str, amount_minor_max: Option<i64>| PaymentLimit {
        name: "day".to_owned(),
        version: version.to_owned(),
        effective_from: EventTime::parse(effective_from).expect("RFC 3339"),
        currency: "EUR".to_owned(),
        window: if amount_minor_max.is_some() { "day" } else { "" }.to_owned(),
        zone: if amount_minor_max.is_some() { "Europe/Berlin" } else { "" }.to_owned(),
        amount_minor_max,
        ..PaymentLimit::default()
    };
    let raised = event("2", "2026-01-31T12:00:00Z", Some(20_000));
    let lifted = event("3", "2026-01-31T13:00:00Z", None);
    let table = world.task_of("a").reference(PAYMENT_LIMITS);
    for version in [&raised, &lifted] {
        let key = format!("{}/{}", version.name, version.version);
        table.apply(key.as_bytes(), Some(Box::new(version.clone()))).expect("usable");
    }
    let mut pay = |at: &str, id: &str, amount_minor: i64| {
        world.now = EventTime::parse(at).expect("RFC 3339");
        world.pay(&Pay::new(PaymentType::Transfer, id, "a", "b", amount_minor))
    };
    assert_eq!(pay("2026-01-31T11:59:59.999999Z", "p1", 10_001), "day_amount_limit_exceeded");
    assert_eq!(pay("2026-01-31T11:59:59.999999Z", "p2", 10_000), "posted");
    // What has been used is shared by the versions.
    assert_eq!(pay("2026-01-31T12:00:00Z", "p3", 10_001), "day_amount_limit_exceeded");
    assert_eq!(pay("2026-01-31T12:00:00Z", "p4", 10_000), "posted");
    assert_eq!(pay("2026-01-31T13:00:00Z", "p5", 50_000), "posted", "the limit is lifted");
    let table = world.task_of("a").reference(PAYMENT_LIMITS);
    for key in ["day/3", "day/2"] {
        table.apply(key.as_bytes(), None).expect("known");
    }
    let refused = table.apply(b"day/4", Some(Box::new(event("4", "2026-01-31T13:00:00Z", Some(-1)))));
    assert_eq!(refused.expect_err("is negative"), "amount_minor_max: must not be negative");
    let mut pay = |at: &str, id: &str, amount_minor: i64| {
        world.now = EventTime::parse(at).expect("RFC 3339");
        world.pay(&Pay::new(PaymentType::Transfer, id, "a", "b", amount_minor))
    };
    assert_eq!(pay("2026-01-31T13:00:01Z", "p6", 1), "day_amount_limit_exceeded", "version 1 is in force again");
    // A payment of yesterday evening is counted in the window of today, which never runs backwards.
    assert_eq!(pay("2026-02-01T12:00:00Z", "p7", 6_000), "posted");
    assert_eq!(pay("2026-01-31T12:00:00Z", "p8", 6_000), "day_amount_limit_exceeded");
}

#[test]
fn limits_that_cannot_be_used_are_named() {
    let table = "
        key              | limit
        name             | name=''
        version          | version=''
        version          | version='1' currency='EUR' # twice
        effective_from   | effective_from='2026-01-01'
        currency         | currency='EURO'
        currency         | window='payment' amount_minor_max=1 currency=''
        window           | window='year' payments_max=1
        window           | payments_max=1
        amount_minor_max | window='lifetime'
        amount_minor_max | window='lifetime' amount_minor_max=-1
        payments_max     | window='payment' payments_max=1
        zone             | window='day' payments_max=1
        zone             | window='day' payments_max=1 zone='Mars/Base'
        zone             | window='lifetime' payments_max=1 zone='UTC'
        week_starts_on   | window='week' payments_max=1 zone='UTC'
        week_starts_on   | window='day' payments_max=1 zone='UTC' week_starts_on='monday'
        window_minutes   | window='rolling' payments_max=1
        window_minutes   | window='rolling' payments_max=1 window_minutes=527041
        window_minutes   | window='day' payments_max=1 zone='UTC' window_minutes=5
        per              | window='lifetime' payments_max=1 per='customer'
        per              | per='card'
        payment_types    | payment_types=['capture']
        payment_types    | payment_types=['gift']
        gives_back       | window='lifetime' payments_max=1 gives_back=['void']
        gives_back       | gives_back=['refund']
        cards            | cards=['']
    ";
    for row in rows(table) {
        let mut own: toml::Table =
            "name='it'\nversion='1'\neffective_from='2026-01-01T00:00:00Z'".parse().expect("TOML");
        let (more, twice) = row["limit"].split_once('#').map_or((row["limit"], false), |(more, _)| (more, true));
        own.extend(more.trim().replace(' ', "\n").parse::<toml::Table>().expect("is TOML"));
        let limits = vec![toml::Value::Table(own); if twice { 2 } else { 1 }];
        let settings = Settings(toml::Table::from_iter([("limits".to_owned(), toml::Value::Array(limits))]));
        let errors = (SPEC.references[0].build)(&settings).err().unwrap_or_default();
        let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        let place = if twice { 1 } else { 0 };
        assert_eq!(keys, [format!("limits[{place}].{}", row["key"])], "{row:?}: {errors:?}");
        assert!((SPEC.build)(&settings).is_ok(), "the limits are for their table");
    }
    let unknown = Settings("[[limits]]\nname = \"x\"\namount = 5".parse().expect("is TOML"));
    assert!((SPEC.references[0].build)(&unknown).is_err());
}

/// A window that is over is forgotten with the last payment in it; one that lasts for ever is not.
#[test]
fn what_has_been_used_is_forgotten_in_its_time() {
    const HOUR_MICROS: i64 = 3_600_000_000;
    let settings = [
        "outcome_retention_days = 1\n".to_owned(),
        of_100("week", "window = \"week\"\nzone = \"UTC\"\nweek_starts_on = \"monday\"\nper = \"counterparty\""),
        limit("ever", "accounts = [\"a\"]\nwindow = \"lifetime\"\npayments_max = 5"),
    ]
    .concat();
    let mut world = World::of_tasks(1, &settings, Audits::OnDemand);
    for account in ["a", "b", "c", "other"] {
        let (currency, kind, limit_minor) = ("EUR".to_owned(), AccountKind::Customer, 9_000_000);
        world.request(account, AccountAction::Open { customer: None, parent: None, currency, kind, limit_minor });
    }
    // A Saturday. A leg of a journal has no outcome at its payer, and is forgotten like any other.
    assert_eq!(world.pay(&Pay::new(PaymentType::Transfer, "p", "a", "b", 100)), "posted");
    let credits = [("b".to_owned(), 20)].into();
    let journal = Pay::new(PaymentType::Journal, "j", "a", "b", 10);
    assert_eq!(world.pay(&Pay { debits: [("c".to_owned(), 10)].into(), credits, ..journal }), "posted");
    world.deliver_all();
    assert_eq!(world.used_text("a"), "ever 1.10 2, week (b) 1.10 2");
    assert_eq!(world.used_text("c"), "week 0.10 1");
    let mut number = 0;
    let mut let_hours_pass = |world: &mut World, hours: u32| {
        for _ in 0..hours {
            world.now.0 += HOUR_MICROS;
            for _ in 0..130 {
                number += 1;
                // Refused, so that nothing of it is counted.
                world.pay(&Pay::new(PaymentType::Transfer, &format!("n{number}"), "nobody", "b", 1));
            }
        }
    };
    // The week ends 36 hours after the payments and is kept for a day more, until the payment's turn comes again.
    let_hours_pass(&mut world, 59);
    assert_eq!(world.used_text("a"), "ever 1.10 2, week (b) 1.10 2");
    let_hours_pass(&mut world, 17);
    assert_eq!(world.used_text("a"), "ever 1.10 2");
    assert_eq!(world.used_text("c"), "");
    assert_eq!(world.task_of("a").state.len(LIMITED_PAYMENTS.name()), 0);
    assert_eq!(world.task_of("a").state.len(LIMIT_USAGES.name()), 1);
}

#[test]
fn what_is_left_can_be_shown() {
    let settings =
        [of_100("day", BERLIN_DAY), limit("few", "window = \"rolling\"\nwindow_minutes = 60\npayments_max = 3")];
    let mut world = play_with(
        &settings.concat(),
        "open a limit 900.00
         open b
         at 2026-01-31T12:00:00Z
         pay p1 a b 30.00
         at 2026-01-31T12:30:00Z
         pay p2 a b 30.00",
    );
    let settings = Settings(settings.concat().parse().expect("is TOML"));
    let table = LimitTable::from_settings(&settings).expect("is usable");
    let values = world.task_of("a").state.values(LIMIT_USAGES);
    let at = |time: &str| -> Vec<String> {
        let at = EventTime::parse(time).expect("RFC 3339");
        let own = values.iter().filter(|(key, _)| key.starts_with(&Usage::prefix("a")));
        let standings = own.filter_map(|(_, usage)| standing(usage.clone(), &table, at));
        let text = standings.map(|it| {
            let more = it.leaves_more_at.map(|at| at.to_string());
            format!("{} {} {:?} {:?} {more:?}", it.limit, it.used_minor, it.left_minor, it.payments_left)
        });
        text.collect()
    };
    assert_eq!(
        at("2026-01-31T12:59:59.999999Z"),
        [
            "day 6000 Some(4000) None Some(\"2026-01-31T23:00:00Z\")",
            "few 6000 None Some(1) Some(\"2026-01-31T13:00:00Z\")"
        ]
    );
    assert_eq!(
        at("2026-01-31T23:00:00Z"),
        ["day 0 Some(10000) None Some(\"2026-02-01T23:00:00Z\")", "few 0 None Some(3) Some(\"2026-02-01T00:00:00Z\")"]
    );
    let nothing = LimitTable::default();
    assert!(values.into_iter().all(|(_, usage)| standing(usage, &nothing, EventTime::LATEST).is_none()));
}
