//! `generate`, `produce` and `consume`.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::tidemill::Tidemill;

const PAYMENTS: &str = "payments.requested.v1";
const CSV: &str = "ID,CUSTOMER,TERMINAL,AT,AMOUNT
1,7,12,2018-04-01 00:00:31,57.16
2,7,13,2018-04-01 00:02:10,81.51
3,8,12,2018-04-01 00:07:56,146.00
";
const CSV_MAP: [&str; 18] = [
    "--csv",
    "--key",
    "debit_account",
    "--map",
    "id=t-{ID}",
    "--map",
    "source=csv",
    "--map",
    "debit_account=c-{CUSTOMER}",
    "--map",
    "merchant.id=m-{TERMINAL}",
    "--map",
    "created_at={AT|iso}",
    "--map",
    "amount={AMOUNT}",
    "--map",
    "currency=EUR",
    "--json",
];

fn values(records: &[Value]) -> Vec<String> {
    let mut values: Vec<String> = records.iter().map(|record| record["value"].to_string()).collect();
    values.sort();
    values
}

fn produce_csv(tidemill: &Tidemill, file: &str) -> crate::tidemill::Ended {
    let args: Vec<&str> = ["produce", PAYMENTS, "--file", file].into_iter().chain(CSV_MAP).collect();
    tidemill.run_all(&args)
}

#[test]
fn the_same_seed_generates_the_same_bytes() {
    let tidemill = Tidemill::new();
    let generate = |seed: &str| tidemill.run_all(&["generate", "-n", "500", "--accounts", "50", "--seed", seed]).text();
    assert_eq!(generate("7"), generate("7"));
    assert_ne!(generate("7"), generate("8"));
    assert_eq!(tidemill.run("generate accounts --accounts 50").text().lines().count(), 55);
}

#[test]
fn what_was_produced_is_consumed_and_filtered() {
    let tidemill = Tidemill::new();
    let line = |id: u32, account: &str, country: &str| {
        json!({"id": format!("p-{id}"), "debit_account": account, "amount": "1.00",
            "created_at": "2026-01-05T08:00:00Z", "merchant": {"id": "m", "country": country}, "customer": "c-1"})
    };
    let lines = [line(1, "a", "DE"), line(2, "b", "DE"), line(3, "a", "FR"), line(4, "a", "DE")];
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let produced = tidemill.feed(&format!("produce {PAYMENTS} --json"), input.as_bytes()).json();
    assert_eq!([&produced["records"], &produced["skipped"]], [&json!(4), &json!(0)]);

    let consume = |more: &str| tidemill.run(&format!("consume {PAYMENTS} {more}")).json_lines();
    let all = consume("--unmask");
    let mut sent: Vec<String> = lines.iter().map(Value::to_string).collect();
    sent.sort();
    assert_eq!(values(&all), sent);
    assert!(all.iter().all(|record| record["timestamp"] == "2026-01-05T08:00:00Z"), "{all:#?}");
    let cases = [
        ("--key a", 3),
        ("--key a --where merchant.country=DE", 2),
        ("--where id=p-2", 1),
        ("--where id=p-2 --where merchant.country=FR", 0),
        ("--limit 3", 3),
        ("-n 1 --key b", 1),
        ("--key a --offset 1", 2),
    ];
    for (filter, expected) in cases {
        assert_eq!(consume(filter).len(), expected, "{filter}");
    }
    let by_partition: usize = (0..4).map(|number| consume(&format!("--partition {number}")).len()).sum();
    assert_eq!(by_partition, 4);
    assert!(consume("--limit 1").iter().all(|record| record["value"]["customer"] == "***"));
}

#[test]
fn csv_is_read_by_a_map_of_columns_packed_or_not() {
    let tidemill = Tidemill::new();
    tidemill.write("payments.csv", CSV);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(CSV.as_bytes()).expect("packs");
    tidemill.write("payments.csv.gz", packed.finish().expect("packs"));
    for file in ["payments.csv", "payments.csv.gz"] {
        assert_eq!(produce_csv(&tidemill, file).json()["records"], 3, "{file}");
    }
    let records = tidemill.run(&format!("consume {PAYMENTS} --where id=t-3")).json_lines();
    let expected = json!({
        "id": "t-3", "source": "csv", "debit_account": "c-8", "merchant": {"id": "m-12"},
        "created_at": "2018-04-01T00:07:56Z", "amount": "146.00", "currency": "EUR",
    });
    assert_eq!(values(&records), [expected.to_string(), expected.to_string()]);
    assert!(records.iter().all(|record| record["key"] == "c-8"), "{records:#?}");
    assert_eq!(tidemill.run(&format!("consume {PAYMENTS}")).json_lines().len(), 6);
}

#[test]
fn a_line_that_is_no_record_is_skipped_and_said() {
    let tidemill = Tidemill::new();
    tidemill.write("payments.csv", format!("{CSV}4,9\n5,9,14,2018-04-01 00:09:00,3.00\n"));
    let produced = produce_csv(&tidemill, "payments.csv");
    assert_eq!(produced.code, Some(3), "{produced:#?}");
    let result = crate::tidemill::parse(&produced.stdout);
    assert_eq!([&result["records"], &result["skipped"]], [&json!(4), &json!(1)]);
}

#[test]
fn distinct_keys_make_one_record_each() {
    let tidemill = Tidemill::new();
    tidemill.write("payments.csv", CSV);
    let args = "produce accounts.requested.v1 --csv --file payments.csv --key account --distinct --json --map account=c-{CUSTOMER}";
    assert_eq!(tidemill.run(args).json()["records"], 2);
}

const QUOTES: &str = "fx.rates.v1";

fn quote(id: &str, change: fn(&mut Value)) -> String {
    let mut quote = json!({
        "quote": id, "sell_currency": "EUR", "buy_currency": "USD", "rate": "1.0850", "spread": "0.0050",
        "effective_from": "2026-02-01T00:00:00Z", "expires_at": "2026-03-01T00:00:00Z",
    });
    change(&mut quote);
    format!("{quote}\n")
}

#[test]
fn events_are_written_in_the_registered_schema_under_their_own_key() {
    let tidemill = Tidemill::new();
    let lines = [quote("q-1", |_| ()), quote("q-2", |_| ())].concat();
    let produced = tidemill.feed(&format!("produce {QUOTES} --json"), lines.as_bytes()).json();
    assert_eq!([&produced["records"], &produced["skipped"]], [&json!(2), &json!(0)]);
    let shown = tidemill.run(&format!("consume {QUOTES} --key q-2")).json_lines();
    let [record] = &shown[..] else { panic!("{shown:#?}") };
    assert_eq!([&record["value"]["rate"], &record["value"]["buy_currency"]], [&json!("1.0850"), &json!("USD")]);
    assert!(
        record["value"]["meta"]["produced_by"].as_str().is_some_and(|by| by.starts_with("payments@1+")),
        "{record}"
    );
    // What is shown can be written again.
    let again = format!("{}\n", record["value"]);
    assert_eq!(tidemill.feed(&format!("produce {QUOTES} --json"), again.as_bytes()).json()["records"], 1);
    assert_eq!(tidemill.run(&format!("consume {QUOTES} --key q-2")).json_lines().len(), 2);

    let taken_back = tidemill.feed(&format!("produce {QUOTES} --tombstone --json"), quote("q-1", |_| ()).as_bytes());
    assert_eq!(taken_back.json()["records"], 1);
    let shown = tidemill.run(&format!("consume {QUOTES} --key q-1")).json_lines();
    assert_eq!(shown.last().map(|record| &record["value"]), Some(&Value::Null), "{shown:#?}");
    let untyped = tidemill.feed(&format!("produce {PAYMENTS} --tombstone"), b"{}\n");
    assert_eq!(untyped.code, Some(2), "{untyped:#?}");
    let raw = tidemill.feed(&format!("produce {QUOTES} --raw --key quote --json"), b"{\"quote\":\"q-3\"}\n");
    assert_eq!(raw.json()["records"], 1);
    assert_eq!(values(&tidemill.run(&format!("consume {QUOTES} --key q-3")).json_lines()), [r#"{"quote":"q-3"}"#]);
}

/// Code and field that are named for a quote that is good but for one thing.
type Wrong = (&'static str, &'static str, fn(&mut Value));

#[test]
fn a_line_that_is_no_event_is_named_with_its_code_and_field_and_not_quoted() {
    let tidemill = Tidemill::new();
    let cases: [Wrong; 6] = [
        ("json_field_mismatch", "rate", |quote| quote["rate"] = json!(1.085)),
        ("json_field_mismatch", "expires_at", |quote| quote["expires_at"] = json!("s3cret")),
        ("json_field_unknown", "rat", |quote| quote["rat"] = json!("s3cret")),
        ("json_field_missing", "spread", |quote| {
            quote.as_object_mut().expect("an object").remove("spread");
        }),
        // What no schema says, the table does that workers build of it.
        ("reference_refused", "buy_currency", |quote| quote["buy_currency"] = json!("EUR")),
        ("reference_refused", "spread", |quote| quote["spread"] = json!("2")),
    ];
    let mut lines = format!("{}no JSON\n", quote("q-0", |_| ()));
    lines.extend(cases.iter().map(|(_, _, change)| quote("q-1", *change)));
    lines.push_str(&quote("q-9", |_| ()));
    let produced = tidemill.feed(&format!("produce {QUOTES} --json"), lines.as_bytes());
    assert_eq!(produced.code, Some(3), "{produced:#?}");
    let result = crate::tidemill::parse(&produced.stdout);
    assert_eq!([&result["records"], &result["skipped"]], [&json!(2), &json!(7)]);
    let said: Vec<&str> = produced.stderr.lines().filter(|line| line.contains("line skipped")).collect();
    let expected = [("json_unreadable", "")].into_iter().chain(cases.iter().map(|(code, field, _)| (*code, *field)));
    assert_eq!(said.len(), 7, "{}", produced.stderr);
    for ((number, (code, field)), said) in (2..).zip(expected).zip(said) {
        for part in [format!("line={number}"), format!("code=\"{code}\""), format!("field=\"{field}\"")] {
            assert!(said.contains(&part), "{part} is not in {said}");
        }
    }
    assert!(!produced.stderr.contains("s3cret"), "{}", produced.stderr);
    assert_eq!(tidemill.run(&format!("consume {QUOTES}")).json_lines().len(), 2);
}
