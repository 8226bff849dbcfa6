use tidemill_core::Outcome;
use tidemill_testkit::{Driver, Ran, TestRecord, rows};

use super::*;

const AT: &str = "2026-01-31T12:00:00Z";

fn send(key: &str, json: &str) -> Ran {
    let mut record = TestRecord::value(json);
    record.key = (!key.is_empty()).then(|| key.as_bytes().to_vec());
    Driver::new(&[(&SPEC, "")]).send(&record)
}

/// The action of the command, or the code and the field of the reject.
fn result(ran: &Ran) -> String {
    match &ran.reject {
        Some(reject) => format!("{} {}", ran.code(), reject.field().unwrap_or_default()).trim_end().to_owned(),
        None => format!("{:?}", ran.passed_as::<AccountCommand>().action),
    }
}

#[test]
fn commands_and_rejects() {
    let open = "Open { customer: None, parent: None, currency: \"EUR\", kind:";
    let table = format!(
        r#"
        rest                                                  | result
        "type":"open","currency":"EUR"                        | {open} Customer, limit_minor: 0 }}
        "type":"open","currency":"EUR","limit":"100.5"        | {open} Customer, limit_minor: 10050 }}
        "type":"open","currency":"EUR","kind":"merchant"      | {open} Merchant, limit_minor: 0 }}
        "type":"open","currency":"EUR","kind":"external"      | {open} External, limit_minor: 0 }}
        "type":"open","currency":"EUR","kind":"suspense"      | kind_unknown /kind
        "type":"open"                                         | field_missing /currency
        "type":"open","currency":""                           | field_empty /currency
        "type":"open","currency":"eur"                        | currency_unknown /currency
        "type":"open","currency":"EUR","limit":"-1"           | limit_negative /limit
        "type":"open","currency":"EUR","limit":"1,5"          | amount_malformed /limit
        "type":"open","currency":"EUR","limit":"1.005"        | amount_too_precise /limit
        "type":"open","currency":"EUR","limit":"99999999999999" | amount_too_large /limit
        "type":"open","currency":"EUR","limit":100            | schema_mismatch /limit
        "type":"freeze"                                       | Freeze(Both)
        "type":"freeze","kind":"debits"                       | Freeze(Debits)
        "type":"thaw","kind":"credits"                        | Thaw(Credits)
        "type":"thaw","kind":"customer"                       | kind_unknown /kind
        "type":"open","currency":"EUR","kind":"asset"         | {open} Asset, limit_minor: 0 }}
        "type":"open","currency":"EUR","kind":"liability"     | {open} Liability, limit_minor: 0 }}
        "type":"open","currency":"EUR","kind":"income"        | {open} Income, limit_minor: 0 }}
        "type":"open","currency":"EUR","kind":"expense"       | {open} Expense, limit_minor: 0 }}
        "type":"open","currency":"EUR","parent":""            | field_empty /parent
        "type":"change_limit","currency":"EUR","limit":"5"    | ChangeLimit {{ limit_minor: 500, currency: "EUR" }}
        "type":"change_limit","currency":"EUR"                | field_missing /limit
        "type":"change_limit","limit":"5"                     | field_missing /currency
        "type":"change_segment","segment":"gold"              | ChangeSegment {{ segment: Some("gold") }}
        "type":"change_segment"                               | ChangeSegment {{ segment: None }}
        "type":"change_segment","segment":""                  | field_empty /segment
        "type":"change_limit","currency":"EUR","limit":"-5"   | limit_negative /limit
        "type":"close"                                        | Close(Refuse)
        "type":"close","holds":"refuse"                       | Close(Refuse)
        "type":"close","holds":"release"                      | Close(Release)
        "type":"close","holds":"keep"                         | kind_unknown /holds
        "type":"delete"                                       | type_unknown /type
        "colour":"red"                                        | field_missing /type
        "#
    );
    for row in rows(&table) {
        let json = format!(r#"{{"id":"r","source":"core","account":"a","created_at":"{AT}",{}}}"#, row["rest"]);
        assert_eq!(result(&send("a", &json)), row["result"], "{}", row["rest"]);
    }
}

#[test]
fn fields_of_every_type() {
    let table = r#"
        key        | id   | account      | created_at           | result
        a          | r    | a            | 2026-01-31T12:00:00Z | Close(Refuse)
        a          | r    | b            | 2026-01-31T12:00:00Z | key_not_account /account
        ~          | r    | a            | 2026-01-31T12:00:00Z | key_not_account /account
        a          | ~    | a            | 2026-01-31T12:00:00Z | field_missing /id
        fees.0.EUR | r    | fees.0.EUR   | 2026-01-31T12:00:00Z | field_malformed /account
        a          | r    | a            | noon                 | time_malformed /created_at
        a          | r    | a            | 1970-01-01T00:00:00Z | time_out_of_range /created_at
        b          | r    | a            | noon                 | key_not_account /account
    "#;
    for row in rows(table) {
        let text = |name: &str| if row[name] == "~" { "null".to_owned() } else { format!("{:?}", row[name]) };
        let json = format!(
            r#"{{"id":{},"source":"core","type":"close","account":{},"created_at":{}}}"#,
            text("id"),
            text("account"),
            text("created_at")
        );
        let key = if row["key"] == "~" { "" } else { row["key"] };
        assert_eq!(result(&send(key, &json)), row["result"], "{row:?}");
    }
}

#[test]
fn a_reject_is_answered_when_id_and_account_can_be_repeated() {
    let ran = send("b", &format!(r#"{{"id":"r","source":"s","type":"close","account":"a","created_at":"{AT}"}}"#));
    assert_eq!(ran.outcome, Outcome::Rejected("key_not_account"));
    let statuses = ran.on::<AccountStatus>(ACCOUNT_STATUS);
    let [status] = statuses.as_slice() else { panic!("{statuses:?}") };
    assert_eq!((status.request_id.as_str(), status.account_id.as_str()), ("r", "a"));
    assert_eq!((status.status.as_str(), status.code.as_str()), ("refused", "key_not_account"));
    assert_eq!(status.event_time.to_string(), AT);
    for json in [r#"{"id":"r","source":"s","type":"close"}"#, r#"{"account":"a"}"#, r#"{"id":"#] {
        let ran = send("a", json);
        assert!(matches!(ran.outcome, Outcome::Dead(_)) && ran.emitted.is_empty(), "{json}: {ran:?}");
    }
}
