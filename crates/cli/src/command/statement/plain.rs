//! A statement as a table, as CSV and as JSON. Amounts are decimals in the currency's own places.

use serde::Serialize;
use tidemill_core::money::decimal;
use tidemill_core::statement::{Finality, Statement, StatementEntry};

use crate::exit::{Exit, Failure};
use crate::output;

/// One row of every format. The order of the fields is that of the columns.
#[derive(Serialize)]
struct Row<'a> {
    seq: i64,
    booked_at: String,
    event_time: String,
    payment_id: &'a str,
    source: &'a str,
    payment_type: &'a str,
    kind: &'a str,
    reference: Option<&'a str>,
    contra_account: &'a str,
    fee_schedule: Option<&'a str>,
    amount: String,
    balance_after: String,
    hold: String,
    pending_after: String,
}

#[derive(Serialize)]
struct Document<'a> {
    account: &'a str,
    customer: Option<&'a str>,
    currency: &'a str,
    from: String,
    until: String,
    finality: Finality,
    opening: String,
    closing: String,
    entries: Vec<Row<'a>>,
}

fn row(entry: &StatementEntry, exponent: u32) -> Row<'_> {
    let money = |minor: i64| decimal(i128::from(minor), exponent);
    Row {
        seq: entry.seq,
        booked_at: entry.booked_at.to_string(),
        event_time: entry.event_time.to_string(),
        payment_id: &entry.payment_id,
        source: &entry.source,
        payment_type: &entry.payment_type,
        kind: &entry.kind,
        reference: entry.reference.as_deref(),
        contra_account: &entry.contra_account_id,
        fee_schedule: entry.fee_schedule.as_deref(),
        amount: money(entry.amount_minor),
        balance_after: money(entry.balance_after_minor),
        hold: money(entry.hold_minor),
        pending_after: money(entry.pending_after_minor),
    }
}

pub(super) fn table(statement: &Statement, exponent: u32) -> Result<(), Failure> {
    let money = |minor: i64| decimal(i128::from(minor), exponent);
    let Statement { account_id, currency, period, .. } = statement;
    output::line(&format!("{account_id}, {currency}, from {} until {}", period.from, period.until))?;
    let edge = |what: &str, minor: i64| {
        let mut cells = vec![String::new(); 6];
        (cells[2], cells[5]) = (what.to_owned(), money(minor));
        cells
    };
    let entries = statement.entries.iter().map(|entry| {
        vec![
            entry.seq.to_string(),
            entry.booked_at.to_string(),
            entry.kind.clone(),
            entry.payment_id.clone(),
            money(entry.amount_minor),
            money(entry.balance_after_minor),
        ]
    });
    let opening = std::iter::once(edge("opening", statement.opening_minor));
    let closing = std::iter::once(edge("closing", statement.closing_minor));
    let rows: Vec<Vec<String>> = opening.chain(entries).chain(closing).collect();
    output::table(&["seq", "booked at", "kind", "payment", "amount", "balance"], &rows)?;
    if statement.finality == Finality::Provisional {
        output::line("Provisional: the account has no entry after the period yet, so one can still be booked in it.")?;
    }
    Ok(())
}

/// A header, the entries, and nothing else, so that any tool reads it. Opening and closing balance follow from the first
/// and the last row.
pub(super) fn csv(statement: &Statement, exponent: u32) -> Result<String, Failure> {
    const COLUMNS: [&str; 14] = [
        "seq",
        "booked_at",
        "event_time",
        "payment_id",
        "source",
        "payment_type",
        "kind",
        "reference",
        "contra_account",
        "fee_schedule",
        "amount",
        "balance_after",
        "hold",
        "pending_after",
    ];
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let write = || {
        writer.write_record(COLUMNS)?;
        statement.entries.iter().try_for_each(|entry| writer.serialize(row(entry, exponent)))?;
        writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
    };
    let bytes = write().map_err(|error| Failure::new(Exit::Findings, format!("CSV: {error}")))?;
    String::from_utf8(bytes).map_err(|error| Failure::new(Exit::Findings, format!("CSV: {error}")))
}

pub(super) fn json(statement: &Statement, exponent: u32) -> Result<String, Failure> {
    let document = Document {
        account: &statement.account_id,
        customer: statement.customer.as_deref(),
        currency: &statement.currency,
        from: statement.period.from.to_string(),
        until: statement.period.until.to_string(),
        finality: statement.finality,
        opening: decimal(i128::from(statement.opening_minor), exponent),
        closing: decimal(i128::from(statement.closing_minor), exponent),
        entries: statement.entries.iter().map(|entry| row(entry, exponent)).collect(),
    };
    serde_json::to_string(&document).map_err(|error| Failure::new(Exit::Findings, format!("JSON: {error}")))
}
