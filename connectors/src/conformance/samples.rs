//! Records for the suite, each made from its offset alone.

use std::ops::Range;

use tidemill_core::sink::{SinkBody, SinkPosition};
use tidemill_core::{AnyEvent, EventKind, EventTime, Meta, SinkBatch, SinkRecord, SinkSpec};
use tidemill_schemas::{
    AccountBalance, AccountKind, AccountStatus, AggregatedBalance, Alert, CounterpartyProfile, Date, Decision,
    EntryKind, Exchange, LedgerEntry, NodeScope, Notification, PayerProfile, PaymentStatus, PaymentType, RuleHit,
    StatusCode, StatusPhase, Verdict,
};

const TOPIC_BALANCES: &str = "account_balance.v1";

/// Balances of a few accounts, and the position behind them.
pub fn batch(task: u32, offsets: Range<u64>) -> SinkBatch {
    let end = offsets.end;
    let records = offsets.map(|offset| of_kind(AccountBalance::KIND, task, offset)).collect();
    SinkBatch { task, records, next: vec![next(task, end)] }
}

pub fn next(task: u32, next_offset: u64) -> SinkPosition {
    SinkPosition { topic: TOPIC_BALANCES.into(), partition: task, next_offset, event_time: time(next_offset) }
}

/// The topics of [`super::everything`], one per kind.
pub(super) fn topics(spec: &SinkSpec) -> Vec<String> {
    spec.consumes.iter().map(|kind| format!("{}.v1", kind.name)).collect()
}

pub fn sample(kind: EventKind, partition: u32, offset: u64, event: AnyEvent) -> SinkRecord {
    SinkRecord {
        topic: format!("{}.v1", kind.name).into(),
        partition,
        offset,
        event_time: time(offset),
        key: Some(b"key".to_vec()),
        body: SinkBody::Event(event),
    }
}

pub(super) fn of_kind(kind: EventKind, partition: u32, offset: u64) -> SinkRecord {
    // Few enough that rows are overwritten, and tasks have accounts of their own.
    let account = format!("acc-{partition}-{}", offset % 7);
    let event: AnyEvent = match kind {
        AccountBalance::KIND => Box::new(balance(&account, offset)),
        PaymentStatus::KIND => Box::new(payment_status(&account, offset)),
        LedgerEntry::KIND => Box::new(ledger_entry(&account, offset)),
        AggregatedBalance::KIND => Box::new(aggregated_balance(&account, offset)),
        AccountStatus::KIND => Box::new(account_status(&account, offset)),
        Decision::KIND => Box::new(decision(&account, offset)),
        Notification::KIND => Box::new(notification(&account, offset)),
        Alert::KIND => Box::new(alert(&account, offset)),
        other => panic!("no sample of kind {}: add one to the suite", other.name),
    };
    sample(kind, partition, offset, event)
}

/// 2026-01-01, and a second per offset.
fn time(offset: u64) -> EventTime {
    EventTime(1_767_225_600_000_000 + 1_000_000 * signed(offset) + 123_456)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).expect("samples have small offsets")
}

fn meta(offset: u64) -> Meta {
    Meta { record_id: format!("topic-0@{offset}/0"), produced_by: "payments@1+00000000".to_owned(), traceparent: None }
}

pub fn balance(account: &str, offset: u64) -> AccountBalance {
    AccountBalance {
        meta: meta(offset),
        account_id: account.to_owned(),
        customer: Some(format!("customer of {account}")),
        kind: AccountKind::Customer,
        currency: ["EUR", "JPY", "KWD"][account.len() % 3].to_owned(),
        posted_minor: signed(offset) * 10 - 500,
        pending_minor: 5,
        available_minor: signed(offset) * 10 - 505,
        limit_minor: i64::MAX,
        seq: signed(offset),
        debits_frozen: offset.is_multiple_of(2),
        credits_frozen: offset.is_multiple_of(3),
        closed: false,
        event_time: time(offset),
        parent: offset.is_multiple_of(2).then(|| "household".to_owned()),
        pending_in_minor: 7,
    }
}

fn aggregated_balance(node: &str, offset: u64) -> AggregatedBalance {
    AggregatedBalance {
        meta: meta(offset),
        scope: if offset.is_multiple_of(2) { NodeScope::Customer } else { NodeScope::Account },
        node: node.to_owned(),
        currency: "EUR".to_owned(),
        accounts: 2,
        posted_minor: signed(offset) * 10 - 500,
        pending_minor: 5,
        available_minor: signed(offset) * 10 - 505,
        event_time: time(offset),
    }
}

pub fn payment_status(account: &str, offset: u64) -> PaymentStatus {
    let (status, phase, code) = match offset % 5 {
        0 => (StatusCode::RJCT, StatusPhase::Outcome, "amount_malformed"),
        1 => (StatusCode::RJCT, StatusPhase::Outcome, "insufficient_funds"),
        2 => (StatusCode::RCVD, StatusPhase::Repeat, "duplicate"),
        3 => (StatusCode::RJCT, StatusPhase::Update, "credit_account_closed"),
        _ => (StatusCode::ACSC, StatusPhase::Outcome, "ok"),
    };
    PaymentStatus {
        meta: meta(offset),
        payment_id: format!("p-{}", offset % 30),
        source: "core".to_owned(),
        debit_account: account.to_owned(),
        credit_account: "acc-other".to_owned(),
        amount_minor: signed(offset),
        currency: "EUR".to_owned(),
        fee_minor: 1,
        status,
        phase,
        code: code.to_owned(),
        reason: (code != "ok").then(|| format!("because of {code}, it's said")),
        merchant_id: None,
        customer: Some("Zoë".to_owned()),
        channel: "web".to_owned(),
        event_time: time(offset),
        payment_type: (code != "amount_malformed").then_some(PaymentType::Refund),
        reference: Some("p-0".to_owned()),
        exchange: offset.is_multiple_of(2).then(|| Box::new(exchange(offset))),
    }
}

fn exchange(offset: u64) -> Exchange {
    Exchange {
        quote: "eur-usd".to_owned(),
        sold_minor: signed(offset),
        sold_currency: "EUR".to_owned(),
        bought_minor: signed(offset) + 1,
        bought_currency: "USD".to_owned(),
        spread_minor: 1,
    }
}

fn ledger_entry(account: &str, offset: u64) -> LedgerEntry {
    LedgerEntry {
        meta: meta(offset),
        account_id: account.to_owned(),
        seq: signed(offset / 7 + 1),
        payment_id: format!("p-{}", offset % 30),
        source: "core".to_owned(),
        kind: if offset.is_multiple_of(2) { EntryKind::Debit } else { EntryKind::Fee },
        amount_minor: -signed(offset),
        currency: "EUR".to_owned(),
        balance_after_minor: i64::MIN,
        contra_account_id: "in_transit.0.EUR".to_owned(),
        leg_no: 1,
        fee_schedule: (!offset.is_multiple_of(2)).then(|| "standard@1".to_owned()),
        event_time: time(offset),
        payment_type: PaymentType::Capture,
        reference: None,
        hold_minor: -5,
        pending_after_minor: signed(offset),
        quote: offset.is_multiple_of(2).then(|| "eur-usd".to_owned()),
        booking_date: offset.is_multiple_of(3).then_some(Date(20_484)),
        value_date: offset.is_multiple_of(3).then_some(Date(-719_162)),
    }
}

fn account_status(account: &str, offset: u64) -> AccountStatus {
    AccountStatus {
        meta: meta(offset),
        request_id: format!("r-{offset}"),
        source: "core".to_owned(),
        account_id: account.to_owned(),
        action: "open".to_owned(),
        status: "done".to_owned(),
        code: "ok".to_owned(),
        reason: None,
        event_time: time(offset),
        phase: StatusPhase::Outcome,
    }
}

fn decision(account: &str, offset: u64) -> Decision {
    Decision {
        meta: meta(offset),
        payment_id: format!("p-{}", offset % 30),
        source: "core".to_owned(),
        debit_account: account.to_owned(),
        verdict: if offset.is_multiple_of(9) { Verdict::Decline } else { Verdict::Accept },
        score: signed(offset),
        threshold: 100,
        rules: vec![RuleHit { rule: r#"new "payee" \u0000"#.to_owned(), points: 40 }],
        rule_set: "default@1".to_owned(),
        payer: PayerProfile { payments_1h: 3, ..PayerProfile::default() },
        counterparty: CounterpartyProfile { risk_ppm: 7, ..CounterpartyProfile::default() },
        event_time: time(offset),
    }
}

fn notification(account: &str, offset: u64) -> Notification {
    Notification {
        meta: meta(offset),
        notification_id: format!("n-{}", offset % 11),
        customer: account.to_owned(),
        channel: "email".to_owned(),
        category: "payment_posted".to_owned(),
        template: "payment_posted.en".to_owned(),
        subject: "Payment".to_owned(),
        body: "You paid.\nThank you.".to_owned(),
        payment_id: format!("p-{offset}"),
        status: "requested".to_owned(),
        reason: None,
        event_time: time(offset),
    }
}

fn alert(account: &str, offset: u64) -> Alert {
    Alert {
        meta: meta(offset),
        subject: account.to_owned(),
        code: "fraud_declined".to_owned(),
        severity: "warning".to_owned(),
        message: "declined".to_owned(),
        payment_id: None,
        event_time: time(offset),
    }
}
