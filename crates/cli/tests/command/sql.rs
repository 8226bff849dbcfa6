//! Questions to read models. Every answer is one column of text.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

pub(crate) fn sqlite(file: &Path, sql: &str) -> Vec<String> {
    block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut connection: SqliteConnection = options.connect().await.expect("connects");
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.expect("answers")
    })
}

pub(crate) fn postgres(url: &str, sql: &str) -> Vec<String> {
    block_on(async {
        let options: PgConnectOptions = url.parse().expect("a Postgres URL");
        let mut connection: PgConnection = options.connect().await.expect("connects");
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.expect("answers")
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// What must hold once everything is processed: each of these questions has no answer.
pub(crate) const VIOLATIONS: [&str; 5] = [
    "SELECT currency FROM ledger_totals WHERE posted_minor <> 0 OR unexplained_minor <> 0",
    "SELECT account_id FROM ledger_entries GROUP BY account_id HAVING max(seq) <> count(*) OR min(seq) <> 1",
    "SELECT account_id FROM (SELECT account_id, amount_minor, balance_after_minor,
     coalesce(lag(balance_after_minor) OVER (PARTITION BY account_id ORDER BY seq), 0) AS balance_before_minor
     FROM ledger_entries) AS lines WHERE balance_before_minor + amount_minor <> balance_after_minor",
    "SELECT currency FROM account_balances WHERE kind = 'in_transit' GROUP BY currency HAVING sum(posted_minor) <> 0",
    "SELECT payment_id FROM payment_statuses WHERE phase = 'outcome' AND code = 'ok'
     GROUP BY source, debit_account, payment_id HAVING count(*) > 1",
];
