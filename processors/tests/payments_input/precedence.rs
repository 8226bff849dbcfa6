//! Of several broken rules the first in the documented order is answered.

use serde_json::{Map, Value, json};

use crate::{PAYMENT, codes, driver, record};

/// A payment that can break several rules at once: texts are composed, not overwritten.
struct Draft {
    fields: Map<String, Value>,
    sign: &'static str,
    thousands: &'static str,
    fraction: &'static str,
    amount_tail: &'static str,
    year: &'static str,
    time_tail: &'static str,
    tail: &'static str,
}

impl Draft {
    fn new() -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_str(PAYMENT) else { panic!("the payment is an object") };
        let (sign, thousands, fraction, amount_tail, time_tail, tail) = ("", "", "", "", "", "");
        Self { fields, sign, thousands, fraction, amount_tail, year: "2026", time_tail, tail }
    }

    /// Breaks the rule of `code`; `false` for a rule that cannot be broken together with others in JSON.
    fn break_rule(&mut self, code: &str) -> bool {
        match code {
            "payload_unreadable" => self.tail = "}",
            "schema_mismatch" => self.set("description", json!(5)),
            "field_missing" => drop(self.fields.remove("channel")),
            "field_empty" => self.set("customer", json!("")),
            "field_too_long" => self.set("metadata", json!({"k": "x".repeat(5_000)})),
            "field_malformed" => self.set("source", json!("a\u{1}")),
            "type_unknown" => self.set("type", json!("gift")),
            "field_not_applicable" => self.set("reference", json!("p-0")),
            "amount_malformed" => self.amount_tail = "x",
            "amount_not_positive" => self.sign = "-",
            "amount_too_large" => self.thousands = "1000000000000000000",
            "currency_unknown" => self.set("currency", json!("eur")),
            "amount_too_precise" => self.fraction = ".001",
            "accounts_identical" => self.set("credit_account", json!("alice")),
            "time_malformed" => self.time_tail = "x",
            "time_out_of_range" => self.year = "1826",
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    fn bytes(mut self) -> String {
        let amount = format!("{}{}5{}{}", self.sign, self.thousands, self.fraction, self.amount_tail);
        let created_at = format!("{}-01-31T12:00:00Z{}", self.year, self.time_tail);
        self.set("amount", json!(amount));
        self.set("created_at", json!(created_at));
        format!("{}{}", Value::Object(self.fields), self.tail)
    }
}

#[test]
fn of_two_broken_rules_the_earlier_is_answered() {
    assert_eq!(driver().send(&record(Draft::new().bytes(), "")).code(), "passed");
    let codes: Vec<&str> = codes().iter().map(|code| code.code).collect();
    let mut pairs = 0;
    for (index, earlier) in codes.iter().enumerate() {
        for later in &codes[index..] {
            let mut draft = Draft::new();
            if !(draft.break_rule(earlier) && draft.break_rule(later)) {
                continue;
            }
            let bytes = draft.bytes();
            assert_eq!(driver().send(&record(bytes.clone(), "")).code(), *earlier, "{earlier} and {later}: {bytes}");
            pairs += 1;
        }
    }
    assert_eq!(pairs, 16 * 17 / 2, "every rule alone and with every later one");
}
