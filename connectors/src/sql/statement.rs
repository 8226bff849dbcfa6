//! Reads statements and money in transit from the tables.

use tidemill_core::statement::{Finality, InTransit, Period, Statement, StatementEntry};
use tidemill_core::{EventTime, SinkError};
use tidemill_schemas::AccountKind;

use super::internal::{is_of_kind, numbers_entries};
use super::snapshot::{Snapshot, columns, number, unexpected};

/// The account over the period; `None` if the tables know no account of that name, or one that does not number its
/// entries, since its lines do not lead from balance to balance.
///
/// The first entry at or after an instant is the first that is booked at or after it, since the account's clock stood
/// before the instant until then. So a period is a range of numbers, whatever was backdated.
pub(crate) async fn statement<S: Snapshot>(
    snapshot: &mut S,
    account_id: &str,
    period: Period,
) -> Result<Option<Statement>, S::Failure> {
    if !numbers_entries(account_id) {
        return Ok(None);
    }
    let first = first_at_or_after(snapshot, account_id, period.from).await?;
    let behind = first_at_or_after(snapshot, account_id, period.until).await?;
    let Some((customer, currency)) = account(snapshot, account_id).await? else { return Ok(None) };
    let (opening_minor, seq_before) = last_before(snapshot, account_id, first).await?;
    let entries = match first {
        Some(first) => entries(snapshot, account_id, first, behind.unwrap_or(i64::MAX)).await?,
        None => Vec::new(),
    };
    Ok(Some(Statement {
        account_id: account_id.to_owned(),
        customer,
        currency,
        period,
        opening_minor,
        closing_minor: entries.last().map_or(opening_minor, |entry| entry.balance_after_minor),
        seq_before,
        entries,
        finality: if behind.is_some() { Finality::Final } else { Finality::Provisional },
    }))
}

/// Number of the entry.
async fn first_at_or_after<S: Snapshot>(
    snapshot: &mut S,
    account_id: &str,
    at: EventTime,
) -> Result<Option<i64>, S::Failure> {
    let sql = format!(
        "SELECT CAST(min(seq) AS text) FROM ledger_entries WHERE account_id = $1 AND event_time >= '{}' \
         HAVING count(*) > 0",
        literal(at)
    );
    let rows = snapshot.ask(sql, Some(account_id)).await?;
    let seq = rows.into_iter().next().map(columns).transpose()?;
    Ok(seq.map(|[seq]| number(&seq)).transpose()?)
}

/// As both databases compare it: text with six decimals in the one, a time in the other.
fn literal(at: EventTime) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.to_string(), |at| format!("{at:.6}"))
}

/// Customer and currency. An account without entries has a balance, and one whose balance is still on its way entries.
async fn account<S: Snapshot>(
    snapshot: &mut S,
    account_id: &str,
) -> Result<Option<(Option<String>, String)>, S::Failure> {
    let sql = "SELECT COALESCE(customer, ''), currency FROM account_balances WHERE account_id = $1";
    if let Some(row) = snapshot.ask(sql.to_owned(), Some(account_id)).await?.into_iter().next() {
        let [customer, currency] = columns(row)?;
        return Ok(Some((Some(customer).filter(|customer| !customer.is_empty()), currency)));
    }
    let sql = "SELECT currency FROM ledger_entries WHERE account_id = $1 LIMIT 1";
    let row = snapshot.ask(sql.to_owned(), Some(account_id)).await?.into_iter().next();
    let currency = row.map(columns).transpose()?;
    Ok(currency.map(|[currency]| (None, currency)))
}

/// Balance and number of the last entry before `seq`, or of the last of all.
async fn last_before<S: Snapshot>(
    snapshot: &mut S,
    account_id: &str,
    seq: Option<i64>,
) -> Result<(i64, i64), S::Failure> {
    let sql = format!(
        "SELECT CAST(balance_after_minor AS text), CAST(seq AS text) FROM ledger_entries \
         WHERE account_id = $1 AND seq < {} ORDER BY seq DESC LIMIT 1",
        seq.unwrap_or(i64::MAX)
    );
    match snapshot.ask(sql, Some(account_id)).await?.into_iter().next() {
        None => Ok((0, 0)),
        Some(row) => {
            let [balance_minor, seq] = columns(row)?;
            Ok((number(&balance_minor)?, number(&seq)?))
        }
    }
}

async fn entries<S: Snapshot>(
    snapshot: &mut S,
    account_id: &str,
    first: i64,
    behind: i64,
) -> Result<Vec<StatementEntry>, S::Failure> {
    let sql = format!(
        "SELECT CAST(seq AS text), CAST(event_time AS text), payment_id, source, kind, COALESCE(payment_type, ''), \
                COALESCE(reference, ''), contra_account_id, COALESCE(fee_schedule, ''), CAST(amount_minor AS text), \
                CAST(balance_after_minor AS text), CAST(hold_minor AS text), CAST(pending_after_minor AS text) \
         FROM ledger_entries WHERE account_id = $1 AND seq >= {first} AND seq < {behind} ORDER BY seq"
    );
    let mut clock = EventTime(i64::MIN);
    let mut entries = Vec::new();
    for row in snapshot.ask(sql, Some(account_id)).await? {
        let [seq, event_time, payment_id, source, kind, payment_type, reference, contra, fee_schedule, minor @ ..] =
            columns::<13>(row)?;
        let [amount_minor, balance_after_minor, hold_minor, pending_after_minor] = minor;
        let event_time = time(&event_time)?;
        clock = clock.max(event_time);
        entries.push(StatementEntry {
            seq: number(&seq)?,
            booked_at: clock,
            event_time,
            payment_id,
            source,
            kind,
            payment_type,
            reference: Some(reference).filter(|reference| !reference.is_empty()),
            contra_account_id: contra,
            fee_schedule: Some(fee_schedule).filter(|schedule| !schedule.is_empty()),
            amount_minor: number(&amount_minor)?,
            balance_after_minor: number(&balance_after_minor)?,
            hold_minor: number(&hold_minor)?,
            pending_after_minor: number(&pending_after_minor)?,
        });
    }
    Ok(entries)
}

/// Postgres writes `2026-01-31 12:00:00.5+00` or with another offset, SQLite has what the sink wrote.
fn time(text: &str) -> Result<EventTime, SinkError> {
    EventTime::parse(text).ok_or_else(|| unexpected("something else than a time"))
}

/// Money between accounts, by currency.
///
/// The cut takes of each payment what has gone into transit and not come out of it by the entries that the tables have.
/// Where more has come out than gone in, a departure is still on its way to the tables: that payment is left out, so that
/// the cut is one through which the pipeline has passed.
///
/// By source and id alone: an arrival does not name its payer, and payments of two payers may share them.
pub(crate) async fn in_transit<S: Snapshot>(snapshot: &mut S) -> Result<Vec<InTransit>, S::Failure> {
    let sql = format!(
        "SELECT currency, CAST(sum(amount_minor) AS text), CAST(sum(payments) AS text), \
                COALESCE(CAST(min(oldest_at) AS text), ''), CAST(sum(ahead) AS text), \
                CAST(sum(accounts_minor) AS text), CAST(sum(clearing_minor) AS text) FROM ( \
             SELECT currency, 0 AS accounts_minor, 0 AS clearing_minor, \
                    CASE WHEN open_minor > 0 THEN open_minor ELSE 0 END AS amount_minor, \
                    CASE WHEN open_minor > 0 THEN 1 ELSE 0 END AS payments, \
                    CASE WHEN open_minor > 0 THEN oldest_at END AS oldest_at, \
                    CASE WHEN open_minor < 0 THEN 1 ELSE 0 END AS ahead FROM ( \
                 SELECT currency, -sum(amount_minor) AS open_minor, \
                        min(CASE WHEN amount_minor < 0 THEN event_time END) AS oldest_at \
                 FROM ledger_entries WHERE {} GROUP BY source, payment_id, currency) AS payments \
             UNION ALL \
             SELECT currency, CASE WHEN kind = 'in_transit' THEN posted_minor ELSE 0 END, \
                    CASE WHEN kind = 'clearing' THEN posted_minor ELSE 0 END, 0, 0, NULL, 0 \
             FROM account_balances WHERE kind IN ('in_transit', 'clearing')) AS all_ \
         GROUP BY currency ORDER BY currency",
        is_of_kind("contra_account_id", AccountKind::InTransit)
    );
    let mut currencies = Vec::new();
    for row in snapshot.ask(sql, None).await? {
        let [currency, amount_minor, payments, oldest_at, ahead, accounts_minor, clearing_minor] = columns(row)?;
        currencies.push(InTransit {
            currency,
            amount_minor: number(&amount_minor)?,
            payments: number(&payments)?,
            oldest_at: Some(oldest_at).filter(|at| !at.is_empty()).map(|at| time(&at)).transpose()?,
            arrived_ahead: number(&ahead)?,
            accounts_minor: number(&accounts_minor)?,
            clearing_minor: number(&clearing_minor)?,
        });
    }
    Ok(currencies)
}
