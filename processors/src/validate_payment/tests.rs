use std::collections::BTreeMap;

use tidemill_core::Outcome;
use tidemill_schemas::{Merchant, PaymentType};
use tidemill_testkit::{Driver, Ran, TestRecord, rows};

use super::*;

fn request() -> PaymentRequest {
    let text = |text: &str| Some(text.to_owned());
    PaymentRequest {
        id: text("p-1"),
        source: text("shop"),
        payment_type: None,
        debit_account: text("alice"),
        credit_account: text("bob"),
        amount: text("12.34"),
        currency: text("EUR"),
        created_at: text("2026-01-31T12:00:00Z"),
        channel: text("web"),
        merchant: Some(Merchant { id: "m-7".to_owned(), ..Merchant::default() }),
        customer: text("c-1"),
        description: None,
        metadata: BTreeMap::from([("order".to_owned(), "o-1".to_owned())]),
        ..PaymentRequest::default()
    }
}

/// The field of that name, to be changed.
fn field<'a>(request: &'a mut PaymentRequest, name: &str) -> &'a mut Option<String> {
    match name {
        "id" => &mut request.id,
        "source" => &mut request.source,
        "type" => &mut request.payment_type,
        "debit_account" => &mut request.debit_account,
        "credit_account" => &mut request.credit_account,
        "amount" => &mut request.amount,
        "currency" => &mut request.currency,
        "created_at" => &mut request.created_at,
        "channel" => &mut request.channel,
        "customer" => &mut request.customer,
        "description" => &mut request.description,
        "reference" => &mut request.reference,
        "expires_at" => &mut request.expires_at,
        "remainder" => &mut request.remainder,
        "reason" => &mut request.reason,
        "quote" => &mut request.quote,
        "card" => &mut request.card,
        "execute_at" => &mut request.execute_at,
        other => panic!("no field {other}"),
    }
}

fn run(request: PaymentRequest) -> Ran {
    Driver::new(&[(&SPEC, "")]).send_event(request)
}

/// `~` stands for a missing field, `<n>` for n letters, backslash escapes as in Rust.
fn cell(text: &str) -> Option<String> {
    let count = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    match (text, count) {
        ("~", _) => None,
        (_, Some(count)) => Some("x".repeat(count.parse().expect("a count"))),
        _ => Some(text.replace("\\0", "\0").replace("\\n", "\n").replace("\\u{85}", "\u{85}")),
    }
}

#[test]
fn one_rule_at_a_time() {
    let table = r"
        field          | value                       | code
        type           | transfer                    | passed
        type           | ~                           | passed
        type           | Transfer                    | type_unknown
        type           |                             | field_empty
        id             | ~                           | field_missing
        id             |                             | field_empty
        id             | <1024>                      | passed
        id             | <1025>                      | field_too_long
        id             | a\nb                        | field_malformed
        source         | ~                           | field_missing
        source         | a\u{85}b                    | field_malformed
        debit_account  | ~                           | field_missing
        debit_account  | fees.0.EUR                  | field_malformed
        debit_account  | bob                         | accounts_identical
        credit_account | in_transit.7.EUR            | field_malformed
        amount         | ~                           | field_missing
        amount         |                             | field_empty
        amount         | 1e3                         | amount_malformed
        amount         | +1                          | amount_malformed
        amount         | 1,50                        | amount_malformed
        amount         | NaN                         | amount_malformed
        amount         | 0.00                        | amount_not_positive
        amount         | -0.01                       | amount_not_positive
        amount         | 10000000000000.01           | amount_too_large
        amount         | 10000000000000.00           | passed
        amount         | 12.340                      | passed
        amount         | 12.345                      | amount_too_precise
        currency       | eur                         | currency_unknown
        currency       | XXX                         | currency_unknown
        currency       | JPY                         | amount_too_precise
        currency       | KWD                         | passed
        created_at     | 2026-01-31                  | time_malformed
        created_at     | 2026-01-31T12:00:00         | time_malformed
        created_at     | 2026-01-31T12:00:00+01:00   | passed
        created_at     | 1999-12-31T23:59:59Z        | time_out_of_range
        created_at     | 2000-01-01T00:00:00Z        | passed
        created_at     | 2099-12-31T23:59:59.999999Z | passed
        created_at     | 2100-01-01T00:00:00Z        | time_out_of_range
        created_at     | 9999-01-01T00:00:00Z        | time_out_of_range
        created_at     | -9999-01-01T00:00:00Z       | time_malformed
        channel        | ~                           | field_missing
        customer       | ~                           | passed
        customer       |                             | field_empty
        description    |                             | passed
        description    | two\nlines                  | passed
        description    | a\0b                        | field_malformed
        description    | <4096>                      | passed
        description    | <4097>                      | field_too_long
    ";
    for row in rows(table) {
        let mut request = request();
        *field(&mut request, row["field"]) = cell(row["value"]);
        let ran = run(request);
        let pointer = ran.reject.as_ref().and_then(Reject::field).unwrap_or_default();
        assert_eq!(ran.code(), row["code"], "{} = {} at {pointer}", row["field"], row["value"]);
    }
}

/// What each type needs: R required, o optional, - refused.
#[test]
fn fields_by_type() {
    let table = "
        type                | amount | reference | expires_at | remainder | reason | quote | execute_at
        transfer            | R      | -         | -          | -         | - | -    | o
        deposit             | R      | -         | -          | -         | - | -    | o
        withdrawal          | R      | -         | -          | -         | - | -    | o
        authorise           | R      | -         | o          | -         | - | -    | -
        increment           | R      | R         | -          | -         | - | -    | -
        capture             | R      | R         | -          | o         | - | -    | -
        void                | o      | R         | -          | -         | o | -    | -
        force_post          | R      | o         | -          | -         | R | -    | -
        reverse             | R      | R         | -          | -         | R | -    | -
        refund              | R      | R         | -          | -         | o | -    | -
        chargeback          | R      | R         | -          | -         | R | -    | -
        chargeback_reversal | R      | R         | -          | -         | o | -    | -
        fx_exchange         | R      | -         | -          | -         | - | R    | -
        cancel              | o      | R         | -          | -         | o      | -     | -
    ";
    let fields = [
        ("amount", "5.00"),
        ("reference", "p-0"),
        ("expires_at", "2026-02-01T12:00:00Z"),
        ("remainder", "keep"),
        ("reason", "late"),
        ("quote", "q-1"),
        ("execute_at", "2026-02-01T12:00:00Z"),
    ];
    let mut types = 0;
    for row in rows(table) {
        types += 1;
        let mut least = PaymentRequest { payment_type: cell(row["type"]), ..request() };
        for (name, value) in fields {
            *field(&mut least, name) = Some(value.to_owned()).filter(|_| row[name] == "R");
        }
        assert_eq!(run(least.clone()).code(), "passed", "{row:?}");
        for (name, value) in fields {
            let mut changed = least.clone();
            let slot = field(&mut changed, name);
            *slot = if slot.is_some() { None } else { Some(value.to_owned()) };
            let expected = match row[name] {
                "R" => "field_missing",
                "o" => "passed",
                _ => "field_not_applicable",
            };
            let ran = run(changed);
            assert_eq!(ran.code(), expected, "{name} of {}", row["type"]);
            let pointer = ran.reject.as_ref().and_then(Reject::field).unwrap_or_default();
            assert_eq!(pointer, if expected == "passed" { String::new() } else { format!("/{name}") });
        }
    }
    // A journal is tested with its legs.
    assert_eq!(types, PaymentType::ALL.len() - 1);
}

/// Legs are accounts with amounts; `-` for none.
#[test]
fn journals() {
    let many: Vec<String> = (0..32).map(|number| format!("acc-x{number} 1")).collect();
    let table = format!(
        "
        amount | debits          | credits               | credit_account | code                 | at
        5.00   | -               | acc-2 3 acc-3 2.00    | ~              | passed               |
        5.00   | acc-4 1 acc-5 1 | acc-2 7.00            | ~              | passed               |
        5.00   | -               | -                     | ~              | field_missing        | /credits
        5.00   | -               | -                     | acc-2          | field_missing        | /credits
        5.00   | -               | acc-2 5               | acc-2          | field_not_applicable | /credit_account
        5.00   | -               | fees.0.EUR 5          | ~              | field_malformed      | /credits
        5.00   | acc-4 x         | acc-2 0               | ~              | amount_malformed     | /debits
        -5.00  | -               | acc-2 0               | ~              | amount_not_positive  | /amount
        5.00   | -               | acc-2 0               | ~              | amount_not_positive  | /credits
        5.00   | acc-4 0.001     | acc-2 10000000000001  | ~              | amount_too_large     | /credits
        5.00   | acc-4 0.001     | acc-2 5.001           | ~              | amount_too_precise   | /debits
        32.00  | -               | {}                    | ~              | legs_too_many        | /credits
        33.00  | -               | {}                    | ~              | legs_too_many        | /credits
        31.00  | -               | {}                    | ~              | passed               |
        5.00   | acc-4 1         | acc-2 5.99            | ~              | legs_unbalanced      | /credits
        5.00   | alice 1         | acc-2 5.99            | ~              | legs_unbalanced      | /credits
        5.00   | alice 1         | acc-2 6               | ~              | accounts_identical   | /debits
        5.00   | -               | alice 5               | ~              | accounts_identical   | /credits
        5.00   | acc-4 1         | acc-2 5 acc-4 1       | ~              | accounts_identical   | /credits
    ",
        many.join(" "),
        many.join(" "),
        many[1..].join(" "),
    );
    let legs = |text: &str| {
        let words: Vec<&str> = text.split(' ').filter(|word| *word != "-").collect();
        words.chunks_exact(2).map(|leg| (leg[0].to_owned(), leg[1].to_owned())).collect::<BTreeMap<String, String>>()
    };
    for row in rows(&table) {
        let request = PaymentRequest {
            payment_type: Some("journal".to_owned()),
            amount: cell(row["amount"]),
            debits: legs(row["debits"]),
            credits: legs(row["credits"]),
            credit_account: cell(row["credit_account"]),
            ..request()
        };
        let ran = run(request);
        let pointer = ran.reject.as_ref().and_then(Reject::field).unwrap_or_default();
        assert_eq!((ran.code(), pointer), (row["code"], row["at"]), "{row:?}");
        if ran.code() == "passed" {
            let payment = &ran.passed_as::<Payment>().payment;
            assert!(payment.credits.contains_key(&payment.credit_account), "{row:?}");
            assert_eq!(
                payment.debits.values().sum::<i64>() + payment.amount_minor,
                payment.credits.values().sum::<i64>()
            );
        }
    }
    let of_transfer = PaymentRequest { credits: legs("acc-2 5"), ..request() };
    assert_eq!(run(of_transfer).code(), "field_not_applicable");
}

#[test]
fn times_ahead() {
    let table = "
        execute_at                  | retry_until                 | code                 | at
        2026-01-31T12:00:00.000001Z | ~                           | passed               |
        2026-02-01T12:00:00Z        | 2026-02-01T12:00:00Z        | passed               |
        2027-03-07T12:00:00Z        | 2027-03-07T12:00:00Z        | passed               |
        2026-01-31T12:00:00Z        | ~                           | time_out_of_range    | /execute_at
        2027-03-07T12:00:00.000001Z | ~                           | time_out_of_range    | /execute_at
        2026-02-01T12:00:00Z        | 2026-02-01T11:59:59Z        | time_out_of_range    | /retry_until
        2026-01-31T12:00:00Z        | tomorrow                    | time_malformed       | /retry_until
        ~                           | 2026-02-01T12:00:00Z        | field_not_applicable | /retry_until
    ";
    for row in rows(table) {
        let (execute_at, retry_until) = (cell(row["execute_at"]), cell(row["retry_until"]));
        let ran = run(PaymentRequest { execute_at, retry_until, ..request() });
        let pointer = ran.reject.as_ref().and_then(Reject::field).unwrap_or_default();
        assert_eq!((ran.code(), pointer), (row["code"], row["at"]), "{row:?}");
    }
}

#[test]
fn holds_and_captures() {
    let table = "
        type      | reference | expires_at                  | remainder | code              | at
        capture   | p-0       | ~                           | release   | passed            |
        capture   | p-0       | ~                           | both      | remainder_unknown | /remainder
        authorise | ~         | 2026-01-31T12:00:00.000001Z | ~         | passed            |
        authorise | ~         | 2026-01-31T12:00:00Z        | ~         | time_out_of_range | /expires_at
        authorise | ~         | 2027-03-07T12:00:00Z        | ~         | passed            |
        authorise | ~         | 2027-03-07T12:00:00.000001Z | ~         | time_out_of_range | /expires_at
        authorise | ~         | tomorrow                    | ~         | time_malformed    | /expires_at
        void      |           | ~                           | ~         | field_empty       | /reference
    ";
    for row in rows(table) {
        let mut request = PaymentRequest { payment_type: cell(row["type"]), ..request() };
        for name in ["reference", "expires_at", "remainder"] {
            *field(&mut request, name) = cell(row[name]);
        }
        let ran = run(request);
        let pointer = ran.reject.as_ref().and_then(Reject::field).unwrap_or_default();
        assert_eq!((ran.code(), pointer), (row["code"], row["at"]), "{row:?}");
    }
    let both = PaymentRequest {
        payment_type: cell("authorise"),
        created_at: cell("1999-01-01T00:00:00Z"),
        expires_at: cell("tomorrow"),
        ..request()
    };
    assert_eq!(run(both).code(), "time_malformed", "a rule is checked on every field before the next rule is");
}

#[test]
fn a_void_may_leave_the_amount_out() {
    let void = PaymentRequest { payment_type: cell("void"), reference: cell("p-0"), amount: None, ..request() };
    let ran = run(void.clone());
    let payment = &ran.passed_as::<Payment>().payment;
    assert_eq!((payment.amount_minor, payment.reference.as_deref()), (0, Some("p-0")));
    assert_eq!(run(PaymentRequest { currency: cell("XXX"), ..void }).code(), "currency_unknown");
}

#[test]
fn merchant_and_metadata() {
    let entries = |count: usize| (0..count).map(|number| (number.to_string(), String::new())).collect();
    let entry = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
    let merchant = |id: &str, country: &str| {
        Some(Merchant { id: id.to_owned(), country: country.to_owned(), ..Merchant::default() })
    };
    let cases = [
        (PaymentRequest { merchant: None, ..request() }, "passed"),
        (PaymentRequest { merchant: merchant("", "DE"), ..request() }, "field_empty"),
        (PaymentRequest { merchant: merchant("m", "D\0"), ..request() }, "field_malformed"),
        (PaymentRequest { metadata: entries(64), ..request() }, "passed"),
        (PaymentRequest { metadata: entries(65), ..request() }, "field_too_long"),
        (PaymentRequest { metadata: entries(65), source: Some("\0".to_owned()), ..request() }, "field_too_long"),
        (PaymentRequest { metadata: entries(65), source: None, ..request() }, "field_missing"),
        (PaymentRequest { metadata: entry("", "x"), ..request() }, "field_empty"),
        (PaymentRequest { metadata: entry("a\nb", "x"), ..request() }, "field_malformed"),
        (PaymentRequest { metadata: entry("a", &"x".repeat(4_097)), ..request() }, "field_too_long"),
    ];
    for (request, code) in cases {
        let text = format!("{request:?}");
        assert_eq!(run(request).code(), code, "{text}");
    }
}

#[test]
fn the_payment_means_what_the_request_said() {
    let ran = run(request());
    let payment = &ran.passed_as::<Payment>().payment;
    assert_eq!((payment.amount_minor, payment.currency.as_str()), (1_234, "EUR"));
    assert_eq!(payment.payment_type, PaymentType::Transfer);
    assert_eq!(payment.created_at.to_string(), "2026-01-31T12:00:00Z");
    assert_eq!(payment.counterparty(), "m-7");
    assert_eq!(payment.body_hash, "277959c1adbe0ee3c819ab7f610a7b54", "as computed by another program");
}

fn hash(request: PaymentRequest) -> String {
    run(request).passed_as::<Payment>().payment.body_hash.clone()
}

#[test]
fn the_hash_covers_every_field_and_no_spelling() {
    let same =
        [("amount", "12.340"), ("amount", "012.34"), ("created_at", "2026-01-31T13:00:00+01:00"), ("type", "transfer")];
    let other = [
        ("id", "p-2"),
        ("source", "other"),
        ("debit_account", "carol"),
        ("credit_account", "carol"),
        ("amount", "12.35"),
        ("currency", "USD"),
        ("created_at", "2026-01-31T12:00:00.000001Z"),
        ("channel", "pos"),
        ("customer", "c-2"),
        ("customer", "~"),
        ("description", ""),
    ];
    for (name, value) in same {
        let mut changed = request();
        *field(&mut changed, name) = cell(value);
        assert_eq!(hash(changed), hash(request()), "{name} = {value}");
    }
    let mut hashes: Vec<String> = vec![hash(request())];
    for (name, value) in other {
        let mut changed = request();
        *field(&mut changed, name) = cell(value);
        hashes.push(hash(changed));
    }
    hashes.push(hash(PaymentRequest { payment_type: cell("deposit"), ..request() }));
    let hold = PaymentRequest { payment_type: cell("authorise"), ..request() };
    hashes.push(hash(hold.clone()));
    hashes.push(hash(PaymentRequest { expires_at: cell("2026-02-01T12:00:00Z"), ..hold }));
    let refund = |reference: &str, reason: &str| PaymentRequest {
        payment_type: cell("refund"),
        reference: cell(reference),
        reason: cell(reason),
        ..request()
    };
    hashes.extend([refund("a", "~"), refund("b", "~"), refund("a", "b")].map(hash));
    let capture = PaymentRequest { payment_type: cell("capture"), reference: cell("a"), ..request() };
    hashes.push(hash(capture.clone()));
    assert_eq!(hash(PaymentRequest { remainder: cell("release"), ..capture.clone() }), hash(capture.clone()));
    hashes.push(hash(PaymentRequest { remainder: cell("keep"), ..capture }));
    hashes.push(hash(PaymentRequest { merchant: None, ..request() }));
    hashes.push(hash(PaymentRequest { metadata: BTreeMap::new(), ..request() }));
    let shifted = BTreeMap::from([("orde".to_owned(), "ro-1".to_owned())]);
    hashes.push(hash(PaymentRequest { metadata: shifted, ..request() }));
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count, "two bodies share a hash");
}

#[test]
fn a_reject_is_answered_when_the_id_can_be_repeated() {
    let ran = run(PaymentRequest { currency: Some("XYZ".to_owned()), source: Some("a".repeat(1024)), ..request() });
    assert_eq!(ran.outcome, Outcome::Rejected("currency_unknown"));
    let statuses = ran.on::<PaymentStatus>(STATUS);
    let [status] = statuses.as_slice() else { panic!("{statuses:?}") };
    assert_eq!((status.status, status.phase), (StatusCode::RJCT, StatusPhase::Outcome));
    assert_eq!((status.payment_id.as_str(), status.debit_account.as_str()), ("p-1", "alice"));
    assert_eq!((status.code.as_str(), status.currency.as_str(), status.amount_minor), ("currency_unknown", "", 0));
    assert_eq!(status.event_time.to_string(), "2026-01-31T12:00:00Z");
    for id in [None, Some(String::new()), Some("x".repeat(1_025)), Some("p\0".to_owned())] {
        let ran = run(PaymentRequest { id, ..request() });
        assert!(matches!(ran.outcome, Outcome::Dead(_)), "{:?}", ran.outcome);
        assert!(ran.emitted.is_empty(), "{:?}", ran.emitted);
    }
}

#[test]
fn an_answer_shows_nothing_that_breaks_a_rule() {
    let bad = Some("x\0".to_owned());
    let request = PaymentRequest { source: bad.clone(), debit_account: bad.clone(), customer: bad, ..request() };
    let ran = run(PaymentRequest { created_at: Some("noon".to_owned()), ..request });
    let statuses = ran.on::<PaymentStatus>(STATUS);
    let [status] = statuses.as_slice() else { panic!("{statuses:?}") };
    assert_eq!((status.source.as_str(), status.debit_account.as_str(), &status.customer), ("", "", &None));
    assert_eq!(status.event_time, EventTime::EARLIEST, "the timestamp of the record, brought within bounds");
}

/// `created_at` against the timestamp of the record; the answer has a time that can be believed.
#[test]
fn only_the_future_is_bounded_by_the_record() {
    let table = "
        settings                | record                   | created_at                  | code              | answered at
                                | 2026-01-31T12:00:00Z     | 2026-02-01T12:00:00Z        | passed            |
                                | 2026-01-31T12:00:00Z     | 2026-02-01T12:00:00.000001Z | time_out_of_range | 2026-01-31T12:00:00Z
                                | 2026-01-31T12:00:00Z     | 2000-01-01T00:00:00Z        | passed            |
        future_minutes_max = 1  | 2026-01-31T12:00:00Z     | 2026-01-31T12:01:00Z        | passed            |
        future_minutes_max = 1  | 2026-01-31T12:00:00Z     | 2026-01-31T12:01:00.001Z    | time_out_of_range | 2026-01-31T12:00:00Z
        # A timestamp that cannot be right bounds nothing and is no time of an answer either.
                                | 1969-12-31T23:59:59.999Z | 2098-01-01T00:00:00Z        | passed            |
                                | 1969-12-31T23:59:59.999Z | noon                        | time_malformed    | 2000-01-01T00:00:00Z
                                | 2999-01-01T00:00:00Z     | noon                        | time_malformed    | 2099-12-31T23:59:59.999999Z
                                | 2026-01-31T12:00:00Z     | noon                        | time_malformed    | 2026-01-31T12:00:00Z
    ";
    for row in rows(table) {
        let mut driver = Driver::new(&[(&crate::decode_payment::SPEC, ""), (&SPEC, row["settings"])]);
        let json = format!(
            r#"{{"id":"p-1","source":"shop","debit_account":"alice","credit_account":"bob","amount":"5","currency":"EUR",
            "channel":"web","created_at":"{}"}}"#,
            row["created_at"]
        );
        let timestamp_ms = EventTime::parse(row["record"]).expect("an RFC 3339 time").millis();
        let ran = driver.send(&TestRecord { timestamp_ms, ..TestRecord::value(json) });
        assert_eq!(ran.code(), row["code"], "{row:?}");
        let times: String =
            ran.on::<PaymentStatus>(STATUS).iter().map(|status| status.event_time.to_string()).collect();
        assert_eq!(times, row["answered at"], "{row:?}");
    }
}

#[test]
fn settings_are_checked() {
    let cases = [
        ("", None),
        (SPEC.example, None),
        ("future_minutes_max = 525600", None),
        ("future_minutes_max = 0", Some("future_minutes_max")),
        ("future_minutes_max = 525601", Some("future_minutes_max")),
        ("future_minute_max = 1", Some("future_minute_max")),
    ];
    for (text, key) in cases {
        let error = build(&Settings(text.parse().expect("is TOML"))).err().map(|errors| errors[0].key.clone());
        assert_eq!(error.as_deref(), key, "{text}");
    }
}
