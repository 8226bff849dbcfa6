//! `docs/guides/payments.md` is a story that comes true: every request gets the answer that is written beside it, and
//! every balance is what the page says.

use std::path::Path;

use tidemill_core::Event;
use tidemill_core::money::decimal;
use tidemill_processors::post_ledger::accounts::{ACCOUNTS, Account};
use tidemill_processors::{
    assign_dates, charge_fee, decode_account, decode_payment, dedupe_payment, post_ledger, price_exchange,
    profile_counterparty, profile_payer, score_fraud, validate_payment,
};
use tidemill_schemas::{Instruction, PaymentLimit};
use tidemill_testkit::{Driver, MemoryState, Ran, TestRecord};

/// The pipeline of one task, from the requests to the accounts.
struct Pipeline {
    payments: Driver,
    accounts: Driver,
    instructions: Driver,
    state: MemoryState,
}

impl Pipeline {
    fn new() -> Self {
        let payments = [
            &decode_payment::SPEC,
            &validate_payment::SPEC,
            &dedupe_payment::SPEC,
            &profile_counterparty::SPEC,
            &profile_payer::SPEC,
            &score_fraud::SPEC,
            &charge_fee::SPEC,
            &price_exchange::SPEC,
            &assign_dates::SPEC,
            &post_ledger::SPEC,
        ];
        Self {
            payments: Driver::new(&payments.map(|spec| (spec, spec.example))),
            accounts: Driver::new(&[
                (&decode_account::SPEC, ""),
                (&charge_fee::SPEC, charge_fee::SPEC.example),
                (&post_ledger::SPEC, ""),
            ]),
            instructions: Driver::new(&[(&assign_dates::SPEC, ""), (&post_ledger::SPEC, "")]),
            state: MemoryState::default(),
        }
    }

    fn send_account(&mut self, json: &str) -> &'static str {
        let value: serde_json::Value = serde_json::from_str(json).expect("is JSON");
        let key = value["account"].as_str().expect("names its account").as_bytes().to_vec();
        let record = TestRecord { key: Some(key), ..record(&value, json) };
        self.accounts.state = std::mem::take(&mut self.state);
        let ran = self.accounts.send(&record);
        self.state = std::mem::take(&mut self.accounts.state);
        ran.code()
    }

    fn publish(&mut self, json: &str) {
        let limit: PaymentLimit = serde_json::from_str(json).expect("is a limit");
        let mut key = Vec::new();
        limit.key(&mut key);
        for driver in [&mut self.payments, &mut self.instructions] {
            let table = driver.reference(post_ledger::payment_limits::PAYMENT_LIMITS);
            table.apply(&key, Some(Box::new(limit.clone()))).expect("is usable");
        }
    }

    /// Everything that follows from a payment is done before the next is sent.
    fn send_payment(&mut self, json: &str) -> &'static str {
        let value: serde_json::Value = serde_json::from_str(json).expect("is JSON");
        self.payments.state = std::mem::take(&mut self.state);
        let ran = self.payments.send(&record(&value, json));
        self.instructions.state = std::mem::take(&mut self.payments.state);
        let mut under_way = instructions(&ran);
        while let Some(instruction) = under_way.pop() {
            under_way.extend(instructions(&self.instructions.send_event(instruction)));
        }
        self.state = std::mem::take(&mut self.instructions.state);
        ran.code()
    }

    fn balance(&mut self, account: &str) -> Account {
        self.state.read(ACCOUNTS, account.as_bytes()).unwrap_or_else(|| panic!("no account {account}"))
    }
}

fn record(value: &serde_json::Value, json: &str) -> TestRecord {
    let created_at = value["created_at"].as_str().expect("has a time");
    let time = tidemill_core::EventTime::parse(created_at).expect("RFC 3339");
    TestRecord { timestamp_ms: time.millis(), ..TestRecord::value(json) }
}

/// Those that come later first, for a stack.
fn instructions(ran: &Ran) -> Vec<Instruction> {
    ran.on::<Instruction>("instructions").into_iter().rev().cloned().collect()
}

#[test]
fn the_guide_comes_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/payments.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut pipeline = Pipeline::new();
    let mut types = std::collections::BTreeSet::new();
    let mut blocks = text.split("\n```");
    blocks.next();
    // Every other piece is the text between two blocks.
    for block in blocks.step_by(2) {
        let (info, body) = block.split_once('\n').expect("a block has lines");
        let words: Vec<&str> = info.split(' ').collect();
        let result = words.iter().find_map(|word| word.strip_prefix("result="));
        match words[0] {
            "json" if words.contains(&"account") => {
                assert_eq!(pipeline.send_account(body), result.unwrap_or("applied"), "{body}");
            }
            "json" if words.contains(&"limit") => pipeline.publish(body),
            "json" => {
                let value: serde_json::Value = serde_json::from_str(body).expect("is JSON");
                types.insert(value["type"].as_str().unwrap_or("transfer").to_owned());
                assert_eq!(pipeline.send_payment(body), result.unwrap_or("posted"), "{body}");
            }
            "balances" => body.lines().for_each(|line| check_balance(&mut pipeline, line)),
            // What is typed is tried elsewhere.
            "console" | "bash" => {}
            other => panic!("`{other}` says nothing to this test"),
        }
    }
    let known: std::collections::BTreeSet<String> =
        tidemill_schemas::PaymentType::ALL.iter().map(|payment_type| payment_type.name().to_owned()).collect();
    assert_eq!(types, known, "the guide shows every type");
}

fn check_balance(pipeline: &mut Pipeline, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [account, "posted", posted, "held", held, "available", available] = words[..] else {
        panic!("no such line: {line}")
    };
    let found = pipeline.balance(account);
    let euros = |minor: i128| decimal(minor, 2);
    assert_eq!(euros(i128::from(found.posted_minor)), posted, "{line}");
    assert_eq!(euros(i128::from(found.pending_minor)), held, "{line}");
    assert_eq!(euros(found.available_minor()), available, "{line}");
}
