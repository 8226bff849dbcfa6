//! What the SQL sinks have in common beyond the conformance suite: the rules of single tables, and the views.

mod audit;
mod statement;

use tidemill_connectors::TABLES;
use tidemill_connectors::conformance::{Lab, balance, next, payment_status, sample};
use tidemill_core::sink::SinkBody;
use tidemill_core::{AnyEvent, EventKind, Sink, SinkBatch, SinkError, SinkRecord};
use tidemill_schemas::{
    AccountBalance, AccountKind, Alert, Decision, EntryKind, LedgerEntry, PaymentStatus, PaymentType, StatusCode,
    StatusPhase,
};

pub(crate) trait SqlLab: Lab {
    /// The only column of all rows; it must be text.
    fn query(&mut self, sql: &str) -> Vec<String>;

    /// The columns of a table or view, in order of their names.
    fn columns(&mut self, table: &str) -> Vec<String>;
}

pub(crate) fn check(lab: &mut dyn SqlLab) {
    for case in [
        tables_are_as_described,
        payments_show_the_answer_of_highest_precedence,
        answers_without_a_payment_are_history_only,
        dead_letters_are_never_refused,
        a_failed_record_is_one_item_however_often_it_fails,
        views_prove_that_money_balances,
        what_has_no_table_is_refused,
        audit::a_sound_ledger_has_no_violations,
        audit::every_broken_rule_is_named,
        audit::long_samples_are_cut,
        statement::a_period_is_a_range_of_numbers_whatever_was_backdated,
        statement::a_tampered_table_gives_no_statement_that_is_believed,
        statement::what_is_in_transit_is_what_has_left_and_not_arrived,
    ] {
        lab.wipe();
        case(lab);
    }
}

fn claimed(lab: &dyn Lab) -> Box<dyn Sink> {
    let mut sink = lab.open();
    sink.apply().expect("tables can be made");
    sink.claim(0, "a").expect("the task can be claimed");
    sink
}

fn write(sink: &mut dyn Sink, records: Vec<SinkRecord>) {
    sink.write(&SinkBatch { task: 0, records, next: Vec::new() }).expect("writes");
}

fn tables_are_as_described(lab: &mut dyn SqlLab) {
    claimed(lab);
    for table in TABLES {
        let mut described: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        described.push("recorded_at");
        described.sort_unstable();
        assert_eq!(lab.columns(table.name), described, "{}", table.name);
    }
}

/// Answers to one payment in the order of their offsets, and what its row shows then.
const PRECEDENCE: &[(&str, &str)] = &[
    ("outcome ok", "ACSC ok"),
    ("outcome amount_malformed", "RJCT amount_malformed"),
    ("outcome amount_malformed, outcome field_missing", "RJCT field_missing"),
    ("outcome amount_malformed, outcome ok", "ACSC ok"),
    ("outcome ok, outcome amount_malformed", "ACSC ok"),
    ("outcome amount_malformed, outcome insufficient_funds", "RJCT insufficient_funds"),
    ("outcome insufficient_funds, outcome amount_malformed", "RJCT insufficient_funds"),
    ("outcome ok, repeat duplicate", "ACSC ok"),
    ("outcome ok, repeat idempotency_conflict", "ACSC ok"),
    ("outcome ok, update credit_account_closed", "RJCT credit_account_closed"),
    ("outcome ok, update credit_account_closed, outcome field_missing", "RJCT credit_account_closed"),
    ("outcome ok, outcome a_code_nobody_listed", "ACSC ok"),
];

fn payments_show_the_answer_of_highest_precedence(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    let mut first_offset = 0;
    for (answers, expected) in PRECEDENCE {
        for batches in ["one", "several", "several, backwards"] {
            let payment_id = format!("p-{first_offset}");
            let records = answers.split(", ").zip(first_offset..).map(|(answer, offset)| {
                sample(PaymentStatus::KIND, 0, offset, Box::new(answer_of(answer, &payment_id)))
            });
            match batches {
                "one" => write(&mut *sink, records.collect()),
                "several" => records.for_each(|record| write(&mut *sink, vec![record])),
                _ => records.collect::<Vec<_>>().into_iter().rev().for_each(|record| write(&mut *sink, vec![record])),
            }
            let shown = format!("SELECT status || ' ' || code FROM payments WHERE payment_id = '{payment_id}'");
            assert_eq!(lab.query(&shown), [*expected], "{answers} in {batches}");
            first_offset += 10;
        }
    }
}

fn answer_of(text: &str, payment_id: &str) -> PaymentStatus {
    let (phase, code) = text.split_once(' ').expect("a phase and a code");
    let phase = match phase {
        "outcome" => StatusPhase::Outcome,
        "repeat" => StatusPhase::Repeat,
        _ => StatusPhase::Update,
    };
    let status = if code == "ok" { StatusCode::ACSC } else { StatusCode::RJCT };
    let payment_id = payment_id.to_owned();
    PaymentStatus { payment_id, phase, status, code: code.to_owned(), ..payment_status("acc", 0) }
}

fn answers_without_a_payment_are_history_only(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    let nameless = answer_of("outcome field_missing", "");
    let repeat = answer_of("repeat duplicate", "p-1");
    let records = [nameless, repeat].into_iter().zip(0..);
    let records = records.map(|(status, offset)| sample(PaymentStatus::KIND, 0, offset, Box::new(status)));
    write(&mut *sink, records.collect());
    assert_eq!(lab.query("SELECT payment_id FROM payments"), Vec::<String>::new());
    let history = lab.query("SELECT phase || ' ' || code FROM payment_statuses ORDER BY source_offset");
    assert_eq!(history, ["outcome field_missing", "repeat duplicate"]);
}

fn dead_letters_are_never_refused(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    let header = |name: &str, value: &[u8]| (format!("x-dlq-{name}"), Some(value.to_vec()));
    let good = vec![
        header("code", b"payload_unreadable"),
        header("stage", b"ingest"),
        header("first-origin-offset", b"44"),
        header("failed-at", b"1767225600000"),
    ];
    let bad = vec![
        header("code", b"\xff\x00"),
        header("first-origin-offset", b"many"),
        header("first-origin-partition", b"99999999999"),
        header("failed-at", b"yesterday"),
        ("x-dlq-stage".to_owned(), None),
    ];
    let record = |offset: u64, headers, value: Option<&[u8]>, key: &[u8]| SinkRecord {
        topic: "payments.requested.v1.dlq".into(),
        event_time: tidemill_core::EventTime(i64::MAX),
        key: Some(key.to_vec()),
        body: SinkBody::DeadLetter { value: value.map(<[u8]>::to_vec), headers },
        ..sample(AccountBalance::KIND, 0, offset, Box::new(balance("acc", 0)))
    };
    write(&mut *sink, vec![record(0, good, Some(b"\x00{"), b"acc-1"), record(1, bad, None, b"\xff")]);
    let rows = lab.query(
        "SELECT COALESCE(code, '-') || ' ' || COALESCE(stage, '-') || ' ' \
             || COALESCE(CAST(first_origin_offset AS text), '-') || ' ' || record_key || ' ' \
             || CASE WHEN failed_at IS NULL THEN '-' ELSE 'failed' END || ' ' \
             || COALESCE(CAST(length(payload) AS text), '-') \
         FROM dead_letters ORDER BY source_offset",
    );
    assert_eq!(rows, ["payload_unreadable ingest 44 acc-1 failed 2", "- - - 0xff - -"]);
}

fn a_failed_record_is_one_item_however_often_it_fails(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    let letter = |offset: u64, first_offset: &str, replays: &str| {
        let header = |name: &str, value: &str| (format!("x-dlq-{name}"), Some(value.as_bytes().to_vec()));
        let headers = vec![
            header("code", "bug"),
            header("first-origin-topic", "payments.requested.v1"),
            header("first-origin-partition", "0"),
            header("first-origin-offset", first_offset),
            header("replay-count", replays),
        ];
        SinkRecord {
            topic: "payments.requested.v1.dlq".into(),
            body: SinkBody::DeadLetter { value: None, headers },
            ..sample(AccountBalance::KIND, 0, offset, Box::new(balance("acc", 0)))
        }
    };
    let note = |offset: u64, place: &str, resolution: &str| SinkRecord {
        topic: "payments.replays".into(),
        key: Some(place.as_bytes().to_vec()),
        body: SinkBody::Resolution {
            value: format!(r#"{{"resolution":"{resolution}","actor":"ops","reason":"mended","at_ms":5}}"#).into_bytes(),
        },
        ..sample(AccountBalance::KIND, 0, offset, Box::new(balance("acc", 0)))
    };
    let entry = SinkRecord {
        topic: "ops.audit.v1".into(),
        body: SinkBody::Audit {
            value: br#"{"sequence":1,"at_ms":5,"actor":"ops","verb":"dlq.apply","object":"t","outcome":"done","reason":"mended","plan_hash":null,"counts":{"replayed":2},"detail":"","previous_hash":"00","hash":"ff"}"#.to_vec(),
        },
        ..sample(AccountBalance::KIND, 0, 0, Box::new(balance("acc", 0)))
    };
    let records = vec![
        note(0, "payments.requested.v1.dlq-0@0", "replayed"),
        letter(0, "7", "0"),
        letter(1, "8", "0"),
        letter(2, "7", "1"),
        letter(3, "9", "0"),
        note(1, "payments.requested.v1.dlq-0@1", "discarded"),
        note(2, "replay:payments.requested.v1.dlq", "no resolution of a letter"),
        note(3, "payments.requested.v1.dlq-0@3", "replayed"),
        entry,
    ];
    write(&mut *sink, records);
    let items = lab.query(
        "SELECT CAST(first_origin_offset AS text) || ' ' || status || ' ' || CAST(replay_count AS text) \
         FROM dead_letter_items ORDER BY first_origin_offset",
    );
    assert_eq!(items, ["7 open 1", "8 discarded 0", "9 replayed 0"]);
    let trail = lab.query("SELECT verb || ' ' || outcome || ' ' || hash FROM audit_entries");
    assert_eq!(trail, ["dlq.apply done ff"]);
}

fn views_prove_that_money_balances(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    let account = |name: &str, kind, posted_minor| AccountBalance {
        kind,
        posted_minor,
        currency: "EUR".to_owned(),
        ..balance(name, 0)
    };
    let entry = LedgerEntry {
        meta: tidemill_core::Meta::default(),
        account_id: "acc-1".to_owned(),
        seq: 1,
        payment_id: "p-1".to_owned(),
        source: "core".to_owned(),
        kind: EntryKind::Debit,
        amount_minor: -250,
        currency: "EUR".to_owned(),
        balance_after_minor: -250,
        contra_account_id: "in_transit.0.EUR".to_owned(),
        leg_no: 1,
        fee_schedule: None,
        event_time: balance("acc", 0).event_time,
        payment_type: PaymentType::Transfer,
        reference: None,
        hold_minor: 0,
        pending_after_minor: 0,
        quote: None,
        booking_date: None,
        value_date: None,
    };
    let events: [(EventKind, AnyEvent); 3] = [
        (AccountBalance::KIND, Box::new(account("acc-1", AccountKind::Customer, -250))),
        (AccountBalance::KIND, Box::new(account("in_transit.0.EUR", AccountKind::InTransit, 250))),
        (LedgerEntry::KIND, Box::new(entry)),
    ];
    let records = events.into_iter().zip(0..).map(|((kind, event), offset)| sample(kind, 0, offset, event));
    let batch = SinkBatch { task: 0, records: records.collect(), next: vec![next(0, 3)] };
    sink.write(&batch).expect("writes");
    let totals = "SELECT currency || ' ' || accounts || ' ' || posted_minor || ' ' || unexplained_accounts || ' ' \
                  || unexplained_minor FROM ledger_totals";
    assert_eq!(lab.query(totals), ["EUR 2 0 0 0"]);
    write(
        &mut *sink,
        vec![sample(AccountBalance::KIND, 0, 9, Box::new(account("acc-1", AccountKind::Customer, -251)))],
    );
    assert_eq!(lab.query(totals), ["EUR 2 -1 1 1"]);
    let fresh = "SELECT sink || ' ' || next_offset || ' ' || (event_time_lag_s >= 0) FROM read_model_freshness";
    assert_eq!(lab.query(fresh).len(), 1);
    assert_eq!(lab.query("SELECT code FROM payment_outcomes_by_code"), Vec::<String>::new());
}

fn what_has_no_table_is_refused(lab: &mut dyn SqlLab) {
    let mut sink = claimed(lab);
    let raw = sample(AccountBalance::KIND, 0, 1, Box::new(tidemill_core::RawEvent));
    let unknown = sink.write(&SinkBatch { task: 0, records: vec![raw], next: Vec::new() });
    assert!(matches!(unknown, Err(SinkError::Refused { index: 0, code: "sink_kind_not_taken", .. })), "{unknown:?}");
    for kind in [Alert::KIND, Decision::KIND] {
        assert!(lab.spec().consumes.contains(&kind), "{}", kind.name);
    }
}
