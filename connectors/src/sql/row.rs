//! One function per table: the row of an event, in the order of the table's columns.

use serde::Serialize;
use tidemill_schemas::{
    AccountBalance, AccountKind, AccountStatus, AggregatedBalance, Alert, Decision, EntryKind, LedgerEntry, NodeScope,
    Notification, PaymentStatus, PaymentType, StatusCode, StatusPhase, Verdict,
};

use super::rows::{Origin, Row};
use super::value::Value;

pub(super) fn payment<'a>(origin: Origin<'a>, status: &'a PaymentStatus, precedence: i64) -> Row<'a> {
    let mut row = vec![
        (&status.source).into(),
        (&status.debit_account).into(),
        (&status.payment_id).into(),
        (&status.credit_account).into(),
        status.amount_minor.into(),
        (&status.currency).into(),
        status.fee_minor.into(),
        status_word(status.status).into(),
        (&status.code).into(),
        (&status.reason).into(),
        precedence.into(),
        (&status.merchant_id).into(),
        (&status.customer).into(),
        (&status.channel).into(),
        status.event_time.into(),
        status.payment_type.map(PaymentType::name).into(),
        (&status.reference).into(),
    ];
    row.extend(exchange(status));
    row.extend([(&status.meta.record_id).into(), origin.topic.into(), origin.partition.into(), origin.offset.into()]);
    row
}

pub(super) fn payment_status<'a>(origin: Origin<'a>, status: &'a PaymentStatus) -> Row<'a> {
    let mut row = vec![
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
        (&status.source).into(),
        (&status.debit_account).into(),
        (&status.payment_id).into(),
        status_word(status.status).into(),
        phase_word(status.phase).into(),
        (&status.code).into(),
        (&status.reason).into(),
        status.amount_minor.into(),
        (&status.currency).into(),
        status.event_time.into(),
        status.payment_type.map(PaymentType::name).into(),
        (&status.reference).into(),
    ];
    row.extend(exchange(status));
    row.push((&status.meta.record_id).into());
    row
}

/// Quote, what was sold, what was bought, and what the house has kept.
fn exchange(status: &PaymentStatus) -> [Value<'_>; 6] {
    let exchange = status.exchange.as_deref();
    [
        exchange.map(|exchange| exchange.quote.as_str()).into(),
        exchange.map(|exchange| exchange.sold_minor).into(),
        exchange.map(|exchange| exchange.sold_currency.as_str()).into(),
        exchange.map(|exchange| exchange.bought_minor).into(),
        exchange.map(|exchange| exchange.bought_currency.as_str()).into(),
        exchange.map(|exchange| exchange.spread_minor).into(),
    ]
}

fn phase_word(phase: StatusPhase) -> &'static str {
    match phase {
        StatusPhase::Outcome => "outcome",
        StatusPhase::Repeat => "repeat",
        StatusPhase::Update => "update",
    }
}

fn status_word(status: StatusCode) -> &'static str {
    match status {
        StatusCode::ACSC => "ACSC",
        StatusCode::RJCT => "RJCT",
        StatusCode::PDNG => "PDNG",
        StatusCode::RCVD => "RCVD",
        StatusCode::CANC => "CANC",
        StatusCode::PART => "PART",
    }
}

pub(super) fn ledger_entry<'a>(origin: Origin<'a>, entry: &'a LedgerEntry) -> Row<'a> {
    let kind = match entry.kind {
        EntryKind::Debit => "debit",
        EntryKind::Credit => "credit",
        EntryKind::Fee => "fee",
        EntryKind::Return => "return",
        EntryKind::Hold => "hold",
        EntryKind::Release => "release",
        EntryKind::Exchange => "exchange",
        EntryKind::Spread => "spread",
    };
    vec![
        (&entry.account_id).into(),
        entry.seq.into(),
        (&entry.payment_id).into(),
        (&entry.source).into(),
        kind.into(),
        entry.amount_minor.into(),
        (&entry.currency).into(),
        entry.balance_after_minor.into(),
        (&entry.contra_account_id).into(),
        i64::from(entry.leg_no).into(),
        (&entry.fee_schedule).into(),
        entry.event_time.into(),
        entry.payment_type.name().into(),
        (&entry.reference).into(),
        entry.hold_minor.into(),
        entry.pending_after_minor.into(),
        (&entry.quote).into(),
        entry.booking_date.into(),
        entry.value_date.into(),
        (&entry.meta.record_id).into(),
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
    ]
}

pub(super) fn aggregated_balance<'a>(origin: Origin<'a>, sum: &'a AggregatedBalance) -> Row<'a> {
    let scope = match sum.scope {
        NodeScope::Customer => "customer",
        NodeScope::Account => "account",
    };
    vec![
        scope.into(),
        (&sum.node).into(),
        (&sum.currency).into(),
        sum.accounts.into(),
        sum.posted_minor.into(),
        sum.pending_minor.into(),
        sum.available_minor.into(),
        sum.event_time.into(),
        (&sum.meta.record_id).into(),
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
    ]
}

pub(super) fn account_balance<'a>(origin: Origin<'a>, balance: &'a AccountBalance) -> Row<'a> {
    let kind = match balance.kind {
        AccountKind::Customer => "customer",
        AccountKind::Merchant => "merchant",
        AccountKind::Fee => "fee",
        AccountKind::InTransit => "in_transit",
        AccountKind::Suspense => "suspense",
        AccountKind::Receivable => "receivable",
        AccountKind::External => "external",
        AccountKind::Asset => "asset",
        AccountKind::Liability => "liability",
        AccountKind::Income => "income",
        AccountKind::Expense => "expense",
        AccountKind::FxPosition => "fx_position",
        AccountKind::FxSpread => "fx_spread",
        AccountKind::Clearing => "clearing",
    };
    vec![
        (&balance.account_id).into(),
        (&balance.customer).into(),
        kind.into(),
        (&balance.currency).into(),
        balance.posted_minor.into(),
        balance.pending_minor.into(),
        balance.available_minor.into(),
        balance.limit_minor.into(),
        balance.seq.into(),
        balance.debits_frozen.into(),
        balance.credits_frozen.into(),
        balance.closed.into(),
        balance.event_time.into(),
        (&balance.parent).into(),
        balance.pending_in_minor.into(),
        (&balance.meta.record_id).into(),
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
    ]
}

pub(super) fn account_request<'a>(origin: Origin<'a>, status: &'a AccountStatus) -> Row<'a> {
    vec![
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
        (&status.request_id).into(),
        (&status.source).into(),
        (&status.account_id).into(),
        (&status.action).into(),
        (&status.status).into(),
        (&status.code).into(),
        (&status.reason).into(),
        status.event_time.into(),
        phase_word(status.phase).into(),
        (&status.meta.record_id).into(),
    ]
}

pub(super) fn payment_decision<'a>(origin: Origin<'a>, decision: &'a Decision) -> Row<'a> {
    let verdict = match decision.verdict {
        Verdict::Accept => "accept",
        Verdict::Decline => "decline",
    };
    vec![
        (&decision.source).into(),
        (&decision.debit_account).into(),
        (&decision.payment_id).into(),
        verdict.into(),
        decision.score.into(),
        decision.threshold.into(),
        (&decision.rule_set).into(),
        json(&decision.rules),
        json(&decision.payer),
        json(&decision.counterparty),
        decision.event_time.into(),
        (&decision.meta.record_id).into(),
        (&decision.meta.produced_by).into(),
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
    ]
}

/// Serializing fails only for maps whose keys are not text; the types of a decision have none.
fn json<'a>(value: &impl Serialize) -> Value<'a> {
    serde_json::to_string(value).ok().into()
}

pub(super) fn notification<'a>(origin: Origin<'a>, notification: &'a Notification) -> Row<'a> {
    vec![
        (&notification.notification_id).into(),
        (&notification.customer).into(),
        (&notification.channel).into(),
        (&notification.category).into(),
        (&notification.template).into(),
        (&notification.subject).into(),
        (&notification.body).into(),
        (&notification.payment_id).into(),
        (&notification.status).into(),
        (&notification.reason).into(),
        notification.event_time.into(),
        (&notification.meta.record_id).into(),
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
    ]
}

pub(super) fn alert<'a>(origin: Origin<'a>, alert: &'a Alert) -> Row<'a> {
    vec![
        origin.topic.into(),
        origin.partition.into(),
        origin.offset.into(),
        (&alert.subject).into(),
        (&alert.code).into(),
        (&alert.severity).into(),
        (&alert.message).into(),
        (&alert.payment_id).into(),
        alert.event_time.into(),
        (&alert.meta.record_id).into(),
    ]
}
