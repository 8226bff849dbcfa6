use tidemill_core::{EventTime, Settings};
use tidemill_schemas::{
    FeeTerms, Instruction, InstructionKind, LedgerEntry, PaymentBody, PostingCalendar, PostingDates, PricedPayment,
};
use tidemill_testkit::{Driver, rows};

use super::SPEC;
use crate::zones;

fn calendar(name: &str, more: &str) -> String {
    format!(
        "[[calendars]]\nname = \"{name}\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
         weekend = [\"saturday\", \"sunday\"]\n{more}\n"
    )
}

fn priced(channel: &str, currency: &str, at: &str) -> PricedPayment {
    let payment = PaymentBody {
        channel: channel.to_owned(),
        currency: currency.to_owned(),
        created_at: EventTime::parse(at).expect("RFC 3339"),
        ..crate::fixture::payment_body()
    };
    PricedPayment {
        payment,
        fee_minor: 0,
        fee_schedule: String::new(),
        fee_terms: FeeTerms::default(),
        exchange: None,
        dates: None,
    }
}

/// `2026-01-30 2026-02-02`, or nothing.
fn text(dates: Option<PostingDates>) -> String {
    dates.map_or_else(String::new, |dates| {
        let [booked, valued] = [dates.booking_date, dates.value_date].map(zones::from_days);
        format!("{booked} {valued}")
    })
}

fn dates(driver: &mut Driver, payment: PricedPayment) -> String {
    text(driver.send_event(payment).passed_as::<PricedPayment>().dates)
}

#[test]
fn a_payment_counts_for_its_business_day() {
    let settings = calendar(
        "berlin",
        "zone = \"Europe/Berlin\"\ncut_off = \"17:00\"\nvalue_days = 1\n\
         holidays = [\"2026-04-03\", \"2026-04-06\", \"2026-12-25\", \"2026-12-31\", \"2027-01-01\"]",
    );
    let mut driver = Driver::new(&[(&SPEC, &settings)]);
    let table = "
        made                        | dates
        # A Wednesday: at the cut-off exactly is today still.
        2026-01-28T15:59:59.999999Z | 2026-01-28 2026-01-29
        2026-01-28T16:00:00Z        | 2026-01-28 2026-01-29
        2026-01-28T16:00:00.000001Z | 2026-01-29 2026-01-30
        # Midnight is local.
        2026-01-28T22:59:59.999999Z | 2026-01-29 2026-01-30
        2026-01-28T23:00:00Z        | 2026-01-29 2026-01-30
        # Friday evening is Monday, also where Monday is of the next month; so is the weekend, at any hour.
        2026-01-30T16:00:00Z        | 2026-01-30 2026-02-02
        2026-01-30T16:00:00.000001Z | 2026-02-02 2026-02-03
        2026-01-31T12:00:00Z        | 2026-02-02 2026-02-03
        2026-02-01T22:30:00Z        | 2026-02-02 2026-02-03
        # Good Friday, a weekend, Easter Monday.
        2026-04-02T14:00:00Z        | 2026-04-02 2026-04-07
        2026-04-02T15:00:00.000001Z | 2026-04-07 2026-04-08
        2026-04-03T10:00:00Z        | 2026-04-07 2026-04-08
        2026-04-06T20:00:00Z        | 2026-04-07 2026-04-08
        # The end of the year: Thursday 31 and Friday 1 are holidays.
        2026-12-30T16:00:00Z        | 2026-12-30 2027-01-04
        2026-12-30T16:00:00.000001Z | 2027-01-04 2027-01-05
        # Summer time begins on 29 March: on Monday 17:00 is 15:00 in UTC.
        2026-03-27T16:00:00Z        | 2026-03-27 2026-03-30
        2026-03-30T15:00:00Z        | 2026-03-30 2026-03-31
        2026-03-30T15:00:00.000001Z | 2026-03-31 2026-04-01
    ";
    for row in rows(table) {
        assert_eq!(dates(&mut driver, priced("web", "EUR", row["made"])), row["dates"], "{row:?}");
    }
}

#[test]
fn a_cut_off_on_a_day_that_changes_the_clock() {
    let zone = |zone: &str, cut_off: &str| {
        format!(
            "[[calendars]]\nname = \"x\"\nversion = \"1\"\neffective_from = \"2000-01-01T00:00:00Z\"\n\
             zone = \"{zone}\"\ncut_off = \"{cut_off}\""
        )
    };
    let table = "
        zone             | cut off  | made                        | dates
        # New York, 17:00 on the day on which summer time ends.
        America/New_York | 17:00    | 2026-11-01T22:00:00Z        | 2026-11-01 2026-11-01
        America/New_York | 17:00    | 2026-11-01T22:00:00.000001Z | 2026-11-02 2026-11-02
        # 02:30 is not there: until the clock shows 03:00.
        Europe/Berlin    | 02:30    | 2026-03-29T01:00:00Z        | 2026-03-29 2026-03-29
        Europe/Berlin    | 02:30    | 2026-03-29T01:00:00.000001Z | 2026-03-30 2026-03-30
        # 02:30 is there twice: until the later one.
        Europe/Berlin    | 02:30    | 2026-10-25T00:30:00.000001Z | 2026-10-25 2026-10-25
        Europe/Berlin    | 02:30    | 2026-10-25T01:30:00Z        | 2026-10-25 2026-10-25
        Europe/Berlin    | 02:30    | 2026-10-25T01:30:00.000001Z | 2026-10-26 2026-10-26
        # To the second, and without one.
        UTC              | 23:59:59 | 2026-01-28T23:59:59.000001Z | 2026-01-29 2026-01-29
        UTC              |          | 2026-01-28T23:59:59.999999Z | 2026-01-28 2026-01-28
        Pacific/Auckland | 16:00    | 2026-01-28T03:00:00Z        | 2026-01-28 2026-01-28
        Pacific/Auckland | 16:00    | 2026-01-28T03:00:00.000001Z | 2026-01-29 2026-01-29
    ";
    for row in rows(table) {
        let mut driver = Driver::new(&[(&SPEC, &zone(row["zone"], row["cut off"]))]);
        assert_eq!(dates(&mut driver, priced("web", "EUR", row["made"])), row["dates"], "{row:?}");
    }
}

#[test]
fn value_is_so_many_business_days_later() {
    for (value_days, expected) in [(0, "2026-04-02"), (1, "2026-04-07"), (2, "2026-04-08"), (30, "2026-05-18")] {
        let more = format!("zone = \"UTC\"\nvalue_days = {value_days}\nholidays = [\"2026-04-03\", \"2026-04-06\"]");
        let mut driver = Driver::new(&[(&SPEC, &calendar("x", &more))]);
        let found = dates(&mut driver, priced("web", "EUR", "2026-04-02T12:00:00Z"));
        assert_eq!(found, format!("2026-04-02 {expected}"), "{value_days}");
    }
}

/// Each calendar has other value days, by which it is told.
#[test]
fn the_most_specific_then_the_latest_calendar_is_in_force() {
    let version = |version: &str, more: &str, hour: u32| {
        format!("[[calendars]]\nname = \"c\"\nversion = \"{version}\"\n{more}\nzone = \"UTC\"\nvalue_days = {hour}\n")
    };
    let since = |month: u32| format!("effective_from = \"2026-0{month}-01T00:00:00Z\"");
    let settings = [
        version("all", &since(1), 1),
        version("all2", &since(3), 2),
        version("eur", &format!("{}\ncurrency = \"EUR\"", since(1)), 3),
        version("type", &format!("{}\npayment_types = [\"transfer\"]", since(2)), 4),
        version("sepa", &format!("{}\nchannels = [\"sepa\", \"instant\"]", since(2)), 5),
    ];
    let mut driver = Driver::new(&[(&SPEC, &settings.concat())]);
    let table = "
        channel | currency | made                        | value days
        web     | JPY      | 2025-12-31T23:59:59.999999Z | none
        web     | JPY      | 2026-01-01T00:00:00Z        | 1
        web     | EUR      | 2026-01-31T23:59:59.999999Z | 3
        web     | EUR      | 2026-02-01T00:00:00Z        | 4
        sepa    | EUR      | 2026-02-01T00:00:00Z        | 5
        instant | JPY      | 2026-03-01T00:00:00Z        | 5
    ";
    for row in rows(table) {
        let ran = driver.send_event(priced(row["channel"], row["currency"], row["made"]));
        let found = ran.passed_as::<PricedPayment>().dates;
        let days = found.map(|dates| (dates.value_date.0 - dates.booking_date.0).to_string());
        assert_eq!(days.as_deref().unwrap_or("none"), row["value days"], "{row:?}");
    }
    let table = driver.reference("calendars");
    let replacement = PostingCalendar {
        name: "c".to_owned(),
        version: "sepa".to_owned(),
        zone: "UTC".to_owned(),
        value_days: 9,
        ..PostingCalendar::default()
    };
    table.apply(b"c/sepa", Some(Box::new(replacement.clone()))).expect("usable");
    let refused = table.apply(b"c/sepa", Some(Box::new(PostingCalendar { value_days: 31, ..replacement })));
    assert_eq!(refused.expect_err("is too far"), "value_days: must be from 0 to 30");
    for key in ["c/all", "c/all2", "c/eur", "c/type"] {
        table.apply(key.as_bytes(), None).expect("known");
    }
    assert_eq!(dates(&mut driver, priced("web", "JPY", "2026-03-01T00:00:00Z")), "2026-03-01 2026-03-10");
}

/// A payment that waits counts from when it is carried out, and from each time at which it is tried again.
#[test]
fn a_payment_that_waits_has_the_dates_of_its_time() {
    let settings = calendar("x", "zone = \"UTC\"\nchannels = [\"sepa\"]");
    let mut driver = Driver::new(&[(&SPEC, &settings), (&crate::post_ledger::SPEC, "")]);
    let open = |driver: &mut Driver, account: &str| {
        let action = tidemill_schemas::account::AccountAction::Open {
            customer: None,
            parent: None,
            currency: "EUR".to_owned(),
            kind: tidemill_schemas::AccountKind::Asset,
            limit_minor: 0,
        };
        let command = tidemill_schemas::AccountCommand {
            request_id: account.to_owned(),
            source: "bank".to_owned(),
            account: account.to_owned(),
            created_at: EventTime::parse("2026-01-28T00:00:00Z").expect("RFC 3339"),
            action,
        };
        // The commands of accounts do not pass here, so the ledger takes this one alone.
        let mut ledger = Driver::new(&[(&crate::post_ledger::SPEC, "")]);
        std::mem::swap(&mut ledger.state, &mut driver.state);
        assert_eq!(ledger.send_event(command).code(), "applied");
        std::mem::swap(&mut ledger.state, &mut driver.state);
    };
    open(&mut driver, "acc-1");
    let mut waits = priced("sepa", "EUR", "2026-01-28T12:00:00Z");
    waits.payment.execute_at = EventTime::parse("2026-01-31T12:00:00Z");
    let identity = waits.payment.identity();
    assert_eq!(driver.send_event(waits.clone()).code(), "posted");
    let kept = driver.state.read(crate::post_ledger::scheduled::SCHEDULED_PAYMENTS, &identity).expect("waits");
    assert_eq!(text(kept.priced.dates), "2026-02-02 2026-02-02");
    // As the ledger sends it to itself, a week later than planned.
    let execution = Instruction {
        kind: InstructionKind::Execute,
        account_id: "acc-1".to_owned(),
        event_time: EventTime::parse("2026-02-07T12:00:00Z").expect("RFC 3339"),
        channel: Some("sepa".to_owned()),
        ..crate::fixture::instruction(&waits.payment)
    };
    let ran = driver.send_event(execution);
    assert_eq!(ran.code(), "applied");
    let entries = ran.on::<LedgerEntry>("entries");
    let found = entries[0].booking_date.zip(entries[0].value_date);
    let found = found.map(|(booking_date, value_date)| PostingDates { booking_date, value_date });
    assert_eq!(text(found), "2026-02-09 2026-02-09");
    let credit = ran.on::<Instruction>("instructions")[0];
    assert_eq!(credit.booking_date, entries[0].booking_date, "both legs are booked on one day");
    assert_eq!(credit.channel, None);
}

#[test]
fn other_instructions_pass_as_they_came() {
    let mut driver = Driver::new(&[(&SPEC, &calendar("x", "zone = \"UTC\""))]);
    let credit = crate::fixture::instruction(&crate::fixture::payment_body());
    let ran = driver.send_event(credit.clone());
    assert_eq!(ran.passed_as::<Instruction>(), &credit);
}

#[test]
fn without_a_calendar_there_are_no_dates() {
    let mut driver = Driver::new(&[(&SPEC, "")]);
    assert_eq!(dates(&mut driver, priced("web", "EUR", "2026-01-28T12:00:00Z")), "");
}

#[test]
fn calendars_that_cannot_be_used_are_named() {
    let table = "
        key            | calendar
        name           | name=''
        version        | version=''
        effective_from | effective_from='yesterday'
        channels       | channels=['']
        payment_types  | payment_types=['gift']
        currency       | currency='EURO'
        zone           | zone='Berlin'
        weekend        | weekend=['Saturday']
        weekend        | weekend=['monday','tuesday','wednesday','thursday','friday','saturday','sunday']
        holidays       | holidays=['2026-02-30']
        cut_off        | cut_off='25:00'
        value_days     | value_days=-1
        value_days     | value_days=31
    ";
    for row in rows(table) {
        let mut own: toml::Table =
            "name='x'\nversion='1'\neffective_from='2026-01-01T00:00:00Z'\nzone='UTC'".parse().expect("is TOML");
        own.extend(row["calendar"].parse::<toml::Table>().expect("is TOML"));
        let calendars = toml::Value::Array(vec![toml::Value::Table(own)]);
        let settings = Settings(toml::Table::from_iter([("calendars".to_owned(), calendars)]));
        let errors = (SPEC.build)(&settings).err().unwrap_or_default();
        let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, [format!("calendars[0].{}", row["key"])], "{row:?}");
    }
    let twice = calendar("x", "zone = \"UTC\"").repeat(2);
    let errors = (SPEC.build)(&Settings(twice.parse().expect("is TOML"))).err().expect("is refused");
    assert_eq!(errors[0].key, "calendars[1].version");
}
