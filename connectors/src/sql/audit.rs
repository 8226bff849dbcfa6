//! The audit of the relational read model: what it says about itself, and which of its rules do not hold.
//!
//! A rule is a query for the things that break it, in words that both databases understand; no row means that it holds.
//! Rules that span tables hold when the sink has caught up, since the topics behind the tables advance independently.

use tidemill_core::Currency;
use tidemill_core::money::decimal;
use tidemill_core::sink::{BalancesDigest, SinkAudit};

use super::precedence::VALIDATION_CODES;
use super::snapshot::{Snapshot, columns, number};

/// Longest time an audit may take: it reads everything.
pub(crate) const AUDIT_TIMEOUT_MS: u64 = 600_000;

const SAMPLE_MAX: usize = 3;
const BALANCES_PER_QUERY: usize = 10_000;

struct Rule {
    /// What is the case when it is broken; what breaks it is listed behind.
    broken: &'static str,
    /// Selects `id` of everything that breaks it.
    sql: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        broken: "posted balances do not add up to zero",
        sql: "SELECT currency || ' by ' || CAST(posted_minor AS text) AS id FROM ledger_totals WHERE posted_minor <> 0",
    },
    Rule {
        broken: "entries do not explain all balances",
        sql: "SELECT currency || ' by ' || CAST(unexplained_minor AS text) AS id FROM ledger_totals \
              WHERE unexplained_minor <> 0",
    },
    Rule {
        broken: "entries are not numbered from 1 without gaps",
        sql: "SELECT account_id AS id FROM ledger_entries GROUP BY account_id \
              HAVING min(seq) <> 1 OR max(seq) <> count(*)",
    },
    Rule {
        broken: "a balance does not follow from the entry before",
        sql: "SELECT account_id || ' at ' || CAST(min(seq) AS text) AS id FROM ( \
                  SELECT account_id, seq, amount_minor, balance_after_minor, \
                         lag(balance_after_minor) OVER (PARTITION BY account_id ORDER BY seq) AS balance_before_minor \
                  FROM ledger_entries) AS chain \
              WHERE balance_after_minor <> COALESCE(balance_before_minor, 0) + amount_minor GROUP BY account_id",
    },
    // The balances of internal accounts that only carry the other side of entries are explained by their sum.
    Rule {
        broken: "the balance is not the one after the last entry",
        sql: "SELECT COALESCE(b.account_id, e.account_id) AS id FROM ( \
                  SELECT account_id FROM ledger_entries \
                  UNION SELECT account_id FROM account_balances WHERE kind NOT IN ('fee', 'in_transit')) AS a \
              LEFT JOIN account_balances b ON b.account_id = a.account_id \
              LEFT JOIN ( \
                  SELECT account_id, balance_after_minor, \
                         row_number() OVER (PARTITION BY account_id ORDER BY seq DESC) AS place \
                  FROM ledger_entries) AS e ON e.account_id = a.account_id AND e.place = 1 \
              WHERE b.account_id IS NULL OR b.posted_minor <> COALESCE(e.balance_after_minor, 0)",
    },
    Rule {
        broken: "a payment was posted without exactly one debit, or debited without being posted",
        sql: "SELECT source || '/' || payment_id AS id FROM ( \
                  SELECT source, debit_account AS account_id, payment_id, 1 AS posted, 0 AS debits \
                  FROM payment_statuses WHERE phase = 'outcome' AND status = 'ACSC' \
                  UNION ALL \
                  SELECT source, account_id, payment_id, 0, 1 FROM ledger_entries WHERE kind = 'debit') AS either \
              GROUP BY source, account_id, payment_id HAVING sum(posted) = 0 OR sum(debits) <> 1",
    },
    // By source and id alone: a credit does not name its payer, and payments of two payers may share them.
    Rule {
        broken: "a debit has arrived nowhere, neither as a credit nor as a return, or more than once",
        sql: "SELECT source || '/' || payment_id AS id FROM ( \
                  SELECT source, payment_id, 1 AS debits, 0 AS arrivals FROM ledger_entries WHERE kind = 'debit' \
                  UNION ALL \
                  SELECT source, payment_id, 0, 1 FROM ledger_entries WHERE kind IN ('credit', 'return')) AS either \
              GROUP BY source, payment_id HAVING sum(debits) <> sum(arrivals)",
    },
    // A request that was refused for its form is not remembered: it may be sent again, before and after a payment.
    Rule {
        broken: "a payment has more than one final outcome",
        sql: "SELECT source || '/' || payment_id AS id FROM payment_statuses \
              WHERE phase = 'outcome' AND code NOT IN (VALIDATION_CODES) \
              GROUP BY source, debit_account, payment_id HAVING count(*) > 1",
    },
];

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
    let codes: Vec<String> = VALIDATION_CODES.iter().map(|code| format!("'{code}'")).collect();
    let broken_by = rule.sql.replace("VALIDATION_CODES", &codes.join(", "));
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
