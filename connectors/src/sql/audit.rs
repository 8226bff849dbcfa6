//! The audit of the relational read model: what it says about itself, and which of its rules do not hold.
//!
//! No row means that a rule holds. Rules that span tables hold when the sink has caught up, since the topics behind the
//! tables advance independently.

use tidemill_core::Currency;
use tidemill_core::money::decimal;
use tidemill_core::sink::{BalancesDigest, SinkAudit};

use super::rules::{RULES, Rule};
use super::snapshot::{Snapshot, columns, number};

/// Longest time an audit may take: it reads everything.
pub(crate) const AUDIT_TIMEOUT_MS: u64 = 600_000;

const SAMPLE_MAX: usize = 3;
const BALANCES_PER_QUERY: usize = 10_000;

pub(crate) async fn audit<S: Snapshot>(snapshot: &mut S) -> Result<SinkAudit, S::Failure> {
    let mut audit = SinkAudit::default();
    let statuses = "SELECT phase, code, CAST(count(*) AS text) FROM payment_statuses GROUP BY phase, code";
    for row in snapshot.ask(statuses.to_owned(), None).await? {
        let [phase, code, count] = columns(row)?;
        audit.statuses.insert((phase, code), number(&count)?);
    }
    let dead_letters = "SELECT COALESCE(code, ''), CAST(count(*) AS text) FROM dead_letters GROUP BY code";
    for row in snapshot.ask(dead_letters.to_owned(), None).await? {
        let [code, count] = columns(row)?;
        audit.dead_letters.insert(code, number(&count)?);
    }
    for rule in RULES {
        audit.violations.extend(violation(snapshot, rule).await?);
    }
    audit.balances = Some(digest(snapshot).await?);
    Ok(audit)
}

/// The rule in words, with some of what breaks it.
async fn violation<S: Snapshot>(snapshot: &mut S, rule: &Rule) -> Result<Option<String>, S::Failure> {
    let broken_by = rule.query();
    let sql = format!(
        "SELECT id, CAST(count(*) OVER () AS text) FROM ({broken_by}) AS broken ORDER BY id LIMIT {SAMPLE_MAX}"
    );
    let mut total = 0;
    let mut sample = Vec::new();
    for row in snapshot.ask(sql, None).await? {
        let [id, count] = columns(row)?;
        total = number::<usize>(&count)?;
        sample.push(id);
    }
    if sample.is_empty() {
        return Ok(None);
    }
    let others = match total.saturating_sub(sample.len()) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    Ok(Some(format!("{}: {}{others}", rule.broken, sample.join(", "))))
}

/// In pages, so that no number of accounts has to fit in memory.
async fn digest<S: Snapshot>(snapshot: &mut S) -> Result<BalancesDigest, S::Failure> {
    let sql = format!(
        "SELECT account_id, currency, CAST(available_minor AS text), CAST(pending_minor AS text) \
         FROM account_balances WHERE account_id > $1 ORDER BY account_id LIMIT {BALANCES_PER_QUERY}"
    );
    let mut digest = BalancesDigest::default();
    let mut after = String::new();
    loop {
        let rows = snapshot.ask(sql.clone(), Some(&after)).await?;
        let is_last = rows.len() < BALANCES_PER_QUERY;
        for row in rows {
            let [account, currency, available_minor, pending_minor] = columns(row)?;
            // What has no minor unit cannot be written as a decimal; the balances in Redis refuse it as well.
            if let Some(currency) = Currency::parse(&currency) {
                let available = decimal(number(&available_minor)?, currency.exponent());
                let pending = decimal(number(&pending_minor)?, currency.exponent());
                digest.add(&account, &available, &pending);
            }
            after = account;
        }
        if is_last {
            return Ok(digest);
        }
    }
}
