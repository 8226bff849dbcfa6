//! What must hold of the tables: each rule is a query for what breaks it, in words that both databases understand.
//!
//! Rules about payments go by source and id where the rows do not name the payer: payments of two payers may share them,
//! and what holds of each holds of their sum.

use tidemill_schemas::AccountKind;

use super::internal::{is_numbered, is_of_kind};
use super::precedence::VALIDATION_CODES;

pub(super) struct Rule {
    /// What is the case when it is broken; what breaks it is listed behind.
    pub(super) broken: &'static str,
    /// Selects `id` of everything that breaks it. What stands in braces is put in by [`Rule::query`].
    sql: &'static str,
}

impl Rule {
    pub(super) fn query(&self) -> String {
        let codes: Vec<String> = VALIDATION_CODES.iter().map(|code| format!("'{code}'")).collect();
        let conditions = [
            ("{validation_codes}", codes.join(", ")),
            ("{account_is_numbered}", is_numbered("account_id")),
            ("{account_is_clearing}", is_of_kind("account_id", AccountKind::Clearing)),
            ("{contra_is_clearing}", is_of_kind("contra_account_id", AccountKind::Clearing)),
            ("{contra_is_in_transit}", is_of_kind("contra_account_id", AccountKind::InTransit)),
        ];
        conditions.iter().fold(self.sql.to_owned(), |sql, (name, condition)| sql.replace(name, condition))
    }
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        broken: "posted balances do not add up to zero",
        sql: "SELECT currency || ' by ' || CAST(posted_minor AS text) AS id FROM ledger_totals WHERE posted_minor <> 0",
    },
    Rule {
        broken: "a balance is not what the entries of the account and those against it add up to",
        sql: "SELECT account_id || ' by ' || CAST(unexplained_minor AS text) AS id FROM balance_proofs \
              WHERE unexplained_minor <> 0",
    },
    Rule {
        broken: "entries are not numbered from 1 without gaps",
        sql: "SELECT account_id AS id FROM ledger_entries WHERE {account_is_numbered} GROUP BY account_id \
              HAVING min(seq) <> 1 OR max(seq) <> count(*)",
    },
    Rule {
        broken: "a balance does not follow from the entry before",
        sql: "SELECT account_id || ' at ' || CAST(min(seq) AS text) AS id FROM ( \
                  SELECT account_id, seq, amount_minor, balance_after_minor, \
                         lag(balance_after_minor) OVER (PARTITION BY account_id ORDER BY seq) AS balance_before_minor \
                  FROM ledger_entries WHERE {account_is_numbered}) AS chain \
              WHERE balance_after_minor <> COALESCE(balance_before_minor, 0) + amount_minor GROUP BY account_id",
    },
    Rule {
        broken: "the balance is not the one after the last entry",
        sql: "SELECT COALESCE(b.account_id, e.account_id) AS id FROM ( \
                  SELECT account_id FROM ledger_entries WHERE {account_is_numbered} \
                  UNION SELECT account_id FROM account_balances WHERE {account_is_numbered}) AS a \
              LEFT JOIN account_balances b ON b.account_id = a.account_id \
              LEFT JOIN ( \
                  SELECT account_id, balance_after_minor, \
                         row_number() OVER (PARTITION BY account_id ORDER BY seq DESC) AS place \
                  FROM ledger_entries) AS e ON e.account_id = a.account_id AND e.place = 1 \
              WHERE b.account_id IS NULL OR b.posted_minor <> COALESCE(e.balance_after_minor, 0)",
    },
    // What had to wait is posted by the update that says so. A journal debits several accounts and has a rule of its own.
    Rule {
        broken: "a payment was posted without exactly one debit, or debited without being posted",
        sql: "SELECT source || '/' || payment_id AS id FROM ( \
                  SELECT source, debit_account AS account_id, payment_id, 1 AS posted, 0 AS debits \
                  FROM payment_statuses WHERE status = 'ACSC' AND ( \
                      phase = 'outcome' AND COALESCE(payment_type, 'transfer') <> 'journal' \
                      OR phase = 'update' AND payment_type IN ('transfer', 'deposit', 'withdrawal')) \
                  UNION ALL \
                  SELECT source, account_id, payment_id, 0, 1 FROM ledger_entries \
                  WHERE kind = 'debit' AND payment_type <> 'journal') AS either \
              GROUP BY source, account_id, payment_id HAVING sum(posted) = 0 OR sum(debits) <> 1",
    },
    // Its further payers have no answer of their own.
    Rule {
        broken: "a journal was accepted without a debit of its leader, or somebody debited for one that was not",
        sql: "SELECT s.source || '/' || s.payment_id AS id FROM payment_statuses s \
              WHERE s.payment_type = 'journal' AND s.phase = 'outcome' AND s.status IN ('ACSC', 'PDNG') \
                AND NOT EXISTS (SELECT 1 FROM ledger_entries e \
                                WHERE e.payment_id = s.payment_id AND e.source = s.source AND e.kind = 'debit' \
                                  AND e.account_id = s.debit_account AND e.payment_type = 'journal') \
              UNION \
              SELECT e.source || '/' || e.payment_id FROM ledger_entries e \
              WHERE e.payment_type = 'journal' AND e.kind = 'debit' \
                AND NOT EXISTS (SELECT 1 FROM payment_statuses s \
                                WHERE s.payment_id = e.payment_id AND s.source = e.source AND s.phase = 'outcome' \
                                  AND s.payment_type = 'journal' AND s.status IN ('ACSC', 'PDNG'))",
    },
    Rule {
        broken: "a journal that collected was not concluded once",
        sql: "SELECT source || '/' || payment_id AS id FROM payment_statuses WHERE payment_type = 'journal' \
              GROUP BY source, debit_account, payment_id \
              HAVING sum(CASE WHEN phase = 'outcome' AND status = 'PDNG' THEN 1 ELSE 0 END) \
                  <> sum(CASE WHEN phase = 'update' AND status IN ('ACSC', 'RJCT') THEN 1 ELSE 0 END)",
    },
    Rule {
        broken: "money of a payment has gone into transit or clearing and not come out, or the other way round",
        sql: "SELECT DISTINCT source || '/' || payment_id AS id FROM ( \
                  SELECT source, payment_id, currency, 'in_transit' AS place, amount_minor FROM ledger_entries \
                  WHERE {contra_is_in_transit} \
                  UNION ALL \
                  SELECT source, payment_id, currency, 'clearing', amount_minor FROM ledger_entries \
                  WHERE {contra_is_clearing} \
                  UNION ALL \
                  SELECT source, payment_id, currency, 'clearing', -amount_minor FROM ledger_entries \
                  WHERE {account_is_clearing}) AS moved \
              GROUP BY source, payment_id, currency, place HAVING sum(amount_minor) <> 0",
    },
    // What was refused after it had waited was never posted, and nothing came back. Of a journal its legs come back.
    Rule {
        broken: "a payment came back without its sender being told, or was told to have and did not",
        sql: "SELECT source || '/' || payment_id AS id FROM ( \
                  SELECT source, payment_id, CASE WHEN sum(posted) > 0 THEN sum(refused) ELSE 0 END AS told, \
                         0 AS returns FROM ( \
                      SELECT source, debit_account, payment_id, \
                             CASE WHEN status = 'ACSC' THEN 1 ELSE 0 END AS posted, \
                             CASE WHEN phase = 'update' AND status = 'RJCT' THEN 1 ELSE 0 END AS refused \
                      FROM payment_statuses WHERE phase IN ('outcome', 'update') \
                        AND COALESCE(payment_type, 'transfer') NOT IN ('journal', 'authorise')) AS answers \
                  GROUP BY source, debit_account, payment_id \
                  UNION ALL \
                  SELECT source, payment_id, 0, 1 FROM ledger_entries \
                  WHERE kind = 'return' AND payment_type <> 'journal') AS either \
              GROUP BY source, payment_id HAVING sum(told) <> sum(returns)",
    },
    // The house's lines of an exchange, or of one that is undone, stand beside the debit and move what the answer says.
    Rule {
        broken: "an exchange was not booked at the amounts of its answer",
        sql: "SELECT source || '/' || payment_id AS id FROM ( \
                  SELECT source, payment_id, \
                         CASE WHEN payment_type = 'reverse' THEN sold_minor ELSE bought_minor END AS given_minor, \
                         CASE WHEN payment_type = 'reverse' THEN -spread_minor ELSE spread_minor END AS kept_minor \
                  FROM payment_statuses WHERE phase = 'outcome' AND status = 'ACSC' AND quote IS NOT NULL \
                  UNION ALL \
                  SELECT source, payment_id, CASE WHEN kind = 'exchange' THEN amount_minor ELSE 0 END, \
                         CASE WHEN kind = 'spread' THEN amount_minor ELSE 0 END \
                  FROM ledger_entries WHERE kind IN ('exchange', 'spread') AND leg_no = 1) AS either \
              GROUP BY source, payment_id HAVING sum(given_minor) <> 0 OR sum(kept_minor) <> 0",
    },
    // A request that was refused for its form is not remembered: it may be sent again, before and after a payment.
    Rule {
        broken: "a payment has more than one final outcome",
        sql: "SELECT source || '/' || payment_id AS id FROM payment_statuses \
              WHERE phase = 'outcome' AND code NOT IN ({validation_codes}) \
              GROUP BY source, debit_account, payment_id HAVING count(*) > 1",
    },
];
