//! `tidemill reconcile` on everything the ledger can do: silent when all is well, and naming what is not.

use serde_json::{Value, json};

use crate::kafka::Pipeline;
use crate::sql::sqlite;
use crate::tidemill::Tidemill;

/// A euro buys 1.0850 USD, of which the house keeps 0.0050.
const QUOTE: &str = r#"[[stage.settings.price_exchange.quotes]]
quote = "eur-usd"
sell_currency = "EUR"
buy_currency = "USD"
rate = "1.0850"
spread = "0.0050"
effective_from = "2026-01-01T00:00:00Z"
expires_at = "2027-01-01T00:00:00Z"

"#;
const AFTER: &str = "[stage.settings.score_fraud]";

/// A day later, and not on a Sunday.
const CALENDAR: &str = r#"{"name":"web","version":"1","effective_from":"2026-01-01T00:00:00Z","channels":["web"],"zone":"Europe/Berlin","weekend":["saturday","sunday"],"value_days":1}"#;
const DATES: &str = "SELECT DISTINCT CAST(booking_date AS text) || ' ' || CAST(value_date AS text) FROM ledger_entries \
                     WHERE payment_id = 'e-1'";

const ACCOUNTS: [(&str, &str, &str); 7] = [
    ("cash", "EUR", "asset"),
    ("a", "EUR", "customer"),
    ("b", "EUR", "customer"),
    ("c", "EUR", "merchant"),
    ("poor", "EUR", "customer"),
    ("frozen", "EUR", "customer"),
    ("a-usd", "USD", "customer"),
];

/// Payments as `id type debit>credit amount [field=value …]`. Lots follow each other; within one, what comes first is
/// open. Each minute of `at` is one payment's.
const LOTS: [&str; 5] = [
    "d-1 deposit cash>a 1000.00
     d-2 deposit cash>b 100.00
     d-3 deposit cash>frozen 50.00",
    "e-1 fx_exchange a>a-usd 100.00 quote=eur-usd
     e-2 fx_exchange a>a-usd 9.99 quote=eur-usd
     e-3 fx_exchange a>nobody 7.00 quote=eur-usd
     j-1 journal a> 10.00 credits={\"b\":\"6.00\",\"c\":\"4.00\"}
     j-2 journal a> 6.00 debits={\"b\":\"4.00\"} credits={\"c\":\"10.00\"}
     j-3 journal a> 6.00 debits={\"b\":\"1.00\",\"poor\":\"4.00\"} credits={\"c\":\"11.00\"}
     j-4 journal a> 5.00 credits={\"c\":\"2.00\",\"nobody\":\"3.00\"}
     j-5 journal frozen> 5.00 debits={\"poor\":\"1.00\"} credits={\"c\":\"6.00\"}
     j-6 journal poor> 5.00 debits={\"a\":\"1.00\"} credits={\"c\":\"6.00\"}
     h-1 authorise a>c 20.00
     h-2 authorise a>c 3.00
     p-1 transfer a>b 1.00
     p-2 transfer a>nobody 1.00
     s-1 transfer a>b 30.00 execute_at=2026-02-01T20:00:00Z
     s-2 transfer a>b 31.00 execute_at=2026-02-01T20:00:00Z
     s-3 transfer poor>b 32.00 execute_at=2026-02-01T20:00:00Z retry_until=2026-02-09T00:00:00Z
     s-4 transfer poor>b 33.00 execute_at=2026-02-01T20:00:00Z",
    "x-1 reverse a-usd>a 10.78 reference=e-2 reason=mistake
     f-1 refund c>a 4.00 reference=j-1
     k-1 capture a>c 12.00 reference=h-1
     v-1 void a>c 0 reference=h-2
     n-1 cancel a>b 0 reference=s-2",
    "p-3 transfer a>b 1.00 created_at=2026-02-02T00:00:00Z
     p-4 transfer a>b 1.00 created_at=2026-02-02T00:00:00Z
     p-5 transfer poor>b 1.00 created_at=2026-02-02T00:00:00Z
     p-6 transfer poor>b 1.00 created_at=2026-02-02T00:00:00Z",
    "p-7 transfer a>b 1.00 created_at=2026-02-02T01:00:00Z",
];

fn accounts() -> String {
    let open = |(account, currency, kind): (&str, &str, &str)| {
        json!({
            "id": format!("r-{account}"), "source": "core", "type": "open", "account": account, "currency": currency,
            "kind": kind, "created_at": "2026-01-01T00:00:00Z",
        })
    };
    ACCOUNTS.map(|account| format!("{}\n", open(account))).concat()
}

fn payment(line: &str, minute: usize) -> String {
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("no such line: {line}"));
    let [id, payment_type, accounts, amount] = [word(), word(), word(), word()];
    let (debit, credit) = accounts.split_once('>').expect("two accounts");
    let currency = if debit.ends_with("usd") { "USD" } else { "EUR" };
    let mut payment = json!({
        "id": id, "source": "core", "type": payment_type, "debit_account": debit, "currency": currency,
        "created_at": format!("2026-02-01T10:{minute:02}:00Z"), "channel": "web",
    });
    if !credit.is_empty() {
        payment["credit_account"] = json!(credit);
    }
    if amount != "0" {
        payment["amount"] = json!(amount);
    }
    for (field, value) in words.map(|word| word.split_once('=').expect("field=value")) {
        payment[field] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    }
    format!("{payment}\n")
}

/// Exchanges, journals and payments that wait, each in every way that it can end, beside ordinary payments and holds.
fn booked() -> Tidemill {
    let tidemill = Tidemill::new();
    book(&tidemill, str::to_owned);
    tidemill
}

/// `topic` is what a topic is called in the topology of the folder.
fn book(tidemill: &Tidemill, topic: impl Fn(&str) -> String) {
    let file = tidemill.folder().join("topology.toml");
    let topology = std::fs::read_to_string(file).expect("the topology is there");
    assert_eq!(topology.matches(AFTER).count(), 1, "where the quote is put");
    tidemill.write("topology.toml", topology.replace(AFTER, &format!("{QUOTE}{AFTER}")));
    tidemill.run("apply --yes").text();
    let produce = |to: &str, records: &str| {
        tidemill.feed(&format!("produce {to}"), records.as_bytes()).text();
        tidemill.run("run --until-idle").text();
    };
    produce(&topic("calendars.posting.v1"), CALENDAR);
    produce(&format!("{} --key account", topic("accounts.requested.v1")), &accounts());
    for lot in LOTS {
        let records: String = lot.lines().zip(0..).map(|(line, minute)| payment(line, minute)).collect();
        produce(&topic("payments.requested.v1"), &records);
    }
}

/// How each payment was answered, in the order of the answers.
const ANSWERS: [&str; 16] = [
    "e-1 ACSC ok",
    "e-2 ACSC ok",
    "e-3 ACSC ok, RJCT credit_account_not_found",
    "f-1 ACSC ok",
    "j-1 ACSC ok",
    "j-2 PDNG ok, ACSC ok",
    "j-3 PDNG ok, RJCT insufficient_funds",
    "j-4 ACSC ok, PART credit_account_not_found",
    "j-5 PDNG ok, RJCT insufficient_funds",
    "j-6 RJCT insufficient_funds",
    "k-1 ACSC ok",
    "s-1 PDNG ok, ACSC ok",
    "s-2 PDNG ok, CANC ok",
    "s-3 PDNG ok, PDNG insufficient_funds",
    "s-4 PDNG ok, RJCT insufficient_funds",
    "x-1 ACSC ok",
];

/// What is done to the tables, and how the findings begin that it leads to, all of them.
const TAMPERING: [(&str, &[&str]); 9] = [
    (
        "UPDATE account_balances SET posted_minor = posted_minor + 1 WHERE kind = 'fx_position' AND currency = 'EUR' \
         AND seq > 0",
        &["posted balances", "a balance is not what the entries"],
    ),
    (
        "UPDATE account_balances SET posted_minor = posted_minor - 1 WHERE kind = 'clearing' AND seq > 0",
        &["posted balances", "a balance is not what the entries"],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'j-1' AND account_id = 'c'",
        &[
            "a balance is not what the entries",
            "entries are not numbered",
            "a balance does not follow",
            "money of a payment",
        ],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'j-2' AND account_id LIKE 'clearing.%' AND kind = 'debit'",
        &["a balance is not what the entries", "money of a payment"],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'e-1' AND kind = 'exchange'",
        &["a balance is not what the entries", "money of a payment", "an exchange was not booked"],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'x-1' AND kind = 'spread'",
        &["a balance is not what the entries", "an exchange was not booked"],
    ),
    (
        "DELETE FROM ledger_entries WHERE payment_id = 'e-2' AND kind = 'debit'",
        &[
            "a balance is not what the entries",
            "entries are not numbered",
            "a balance does not follow",
            "a payment was posted",
        ],
    ),
    ("DELETE FROM payment_statuses WHERE payment_id = 's-1' AND phase = 'update'", &["a payment was posted"]),
    ("DELETE FROM payment_statuses WHERE payment_id = 'j-3' AND phase = 'update'", &["a journal that collected"]),
];

#[test]
fn everything_the_ledger_does_adds_up_and_what_does_not_is_found() {
    let tidemill = booked();
    let file = tidemill.folder().join("data/read-model.sqlite");
    let answers = sqlite(
        &file,
        "SELECT payment_id || ' ' || group_concat(status || ' ' || code, ', ') FROM ( \
             SELECT * FROM payment_statuses ORDER BY recorded_at, source_partition, source_offset) \
         WHERE payment_id GLOB '[ejsfxk]-*' GROUP BY payment_id ORDER BY payment_id",
    );
    assert_eq!(answers, ANSWERS);
    assert_eq!(tidemill.run("reconcile --json").json()["findings"], json!([]));

    let quiet = tidemill.run("reconcile --in-transit --json").json();
    let currencies = quiet[0]["currencies"].as_array().expect("a list");
    assert_eq!(currencies.len(), 2, "EUR and USD: {quiet}");
    for currency in currencies {
        for nothing in ["amount_minor", "payments", "arrived_ahead", "accounts_minor", "clearing_minor"] {
            assert_eq!(currency[nothing], json!(0), "{currency}");
        }
    }
    let period = "--from 2026-01-01 --until 2027-01-01";
    for account in ["a", "b", "c", "a-usd", "poor", "frozen"] {
        let statement = tidemill.run(&format!("statement {account} {period} --json"));
        assert_eq!(statement.code, Some(0), "{account}: {}", statement.stderr);
    }
    let internal = "SELECT account_id FROM account_balances WHERE kind IN ('fx_position', 'fx_spread', 'clearing')";
    for account in sqlite(&file, internal) {
        let statement = tidemill.run(&format!("statement {account} {period}"));
        assert_eq!((statement.code, statement.stdout.as_str()), (Some(1), ""), "{account}");
        assert!(statement.stderr.contains("has no statement"), "{account}: {}", statement.stderr);
    }

    let sound = std::fs::read(&file).expect("nobody writes to it");
    for (tampering, expected) in TAMPERING {
        sqlite(&file, &format!("{tampering} RETURNING ''"));
        let reconciled = tidemill.run("reconcile --json");
        assert_eq!(reconciled.code, Some(1), "{tampering}");
        let reconciled: Value = crate::tidemill::parse(&reconciled.stdout);
        let findings: Vec<&str> = texts(&reconciled["findings"]);
        let named = |(finding, begins): (&&str, &&str)| finding.starts_with(&format!("sqlite: {begins}"));
        let is_expected = findings.len() == expected.len() && findings.iter().zip(expected).all(named);
        assert!(is_expected, "{tampering}: {findings:#?}");
        std::fs::write(&file, &sound).expect("can be put back");
    }
    assert_eq!(tidemill.run("reconcile --json").json()["findings"], json!([]));
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// Postgres and Redis, after everything that the ledger does.
#[test]
fn on_kafka_all_sinks_agree_on_everything_the_ledger_does() {
    let pipeline = Pipeline::new();
    book(&pipeline.tidemill, |name| pipeline.topic(name));
    let reconciled = pipeline.tidemill.run("reconcile --json").json();
    assert_eq!(reconciled["findings"], json!([]), "{reconciled:#}");
    let accounts = |sink: &str| {
        let models = reconciled["read_models"].as_array().expect("a list").iter();
        let found = models.into_iter().find(|model| model["sink"] == sink).map(|model| model["accounts"].clone());
        found.and_then(|accounts| accounts.as_u64()).expect("balances")
    };
    assert_eq!(accounts("postgres"), accounts("redis"));
    assert!(accounts("postgres") > ACCOUNTS.len() as u64, "internal accounts are among them");
    let quiet = pipeline.tidemill.run("reconcile --in-transit --json").json();
    assert_eq!(quiet[0]["currencies"][0]["amount_minor"], json!(0), "{quiet}");
    assert_eq!(pipeline.ask(DATES), ["2026-02-02 2026-02-03"], "made on a Sunday");
    pipeline.ask("UPDATE account_balances SET posted_minor = posted_minor + 1 WHERE kind = 'fx_spread' RETURNING ''");
    let reconciled = pipeline.tidemill.run("reconcile --json");
    assert!(reconciled.stdout.contains("a balance is not what the entries"), "{}", reconciled.stdout);
}

#[test]
fn an_analyst_can_ask_what_was_exchanged() {
    let tidemill = booked();
    let file = tidemill.folder().join("data/read-model.sqlite");
    let exchanged = "SELECT payment_id || ' ' || quote || ' ' || sold_minor || ' ' || sold_currency || ' ' || bought_minor \
                     || ' ' || bought_currency || ' ' || spread_minor FROM payments WHERE quote IS NOT NULL ORDER BY 1";
    assert_eq!(
        sqlite(&file, exchanged),
        [
            "e-1 eur-usd 10000 EUR 10800 USD 50",
            "e-2 eur-usd 999 EUR 1078 USD 6",
            "e-3 eur-usd 700 EUR 756 USD 4",
            "x-1 eur-usd 999 EUR 1078 USD 6",
        ]
    );
    assert_eq!(sqlite(&file, DATES), ["2026-02-02 2026-02-03"], "made on a Sunday");
    let lines = "SELECT count(*) || '' FROM ledger_entries WHERE quote = 'eur-usd'";
    assert_eq!(sqlite(&file, lines), ["18"], "every line of an exchange names its quote");
    let earned = "SELECT currency || ' ' || sum(posted_minor) FROM account_balances WHERE kind = 'fx_spread' \
                  GROUP BY currency";
    assert_eq!(sqlite(&file, earned), ["USD 50"], "two of three were undone");
}

/// Nothing was opened, so no payment was answered either.
#[test]
fn refused_account_requests_are_no_answers_to_payments() {
    let tidemill = Tidemill::new();
    tidemill.run("apply --yes").text();
    let close = json!({
        "id": "r-1", "source": "core", "type": "close", "account": "a", "created_at": "2026-01-01T00:00:00Z",
    });
    tidemill.feed("produce accounts.requested.v1 --key account", format!("{close}\n").as_bytes()).text();
    let lost = payment("p-1 transfer a>b 1.00", 0);
    tidemill.feed("produce payments.requested.v1", lost.as_bytes()).text();
    tidemill.run("run --until-idle").text();
    assert_eq!(tidemill.run("reconcile --json").json()["findings"], json!([]));
}
