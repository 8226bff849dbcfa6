-- Exchanges, dates of posting, and a proof of every balance, those of the ledger's own accounts included.

ALTER TABLE payments ADD COLUMN quote TEXT;
ALTER TABLE payments ADD COLUMN sold_minor INTEGER;
ALTER TABLE payments ADD COLUMN sold_currency TEXT;
ALTER TABLE payments ADD COLUMN bought_minor INTEGER;
ALTER TABLE payments ADD COLUMN bought_currency TEXT;
ALTER TABLE payments ADD COLUMN spread_minor INTEGER;
ALTER TABLE payment_statuses ADD COLUMN quote TEXT;
ALTER TABLE payment_statuses ADD COLUMN sold_minor INTEGER;
ALTER TABLE payment_statuses ADD COLUMN sold_currency TEXT;
ALTER TABLE payment_statuses ADD COLUMN bought_minor INTEGER;
ALTER TABLE payment_statuses ADD COLUMN bought_currency TEXT;
ALTER TABLE payment_statuses ADD COLUMN spread_minor INTEGER;
ALTER TABLE ledger_entries ADD COLUMN quote TEXT;
ALTER TABLE ledger_entries ADD COLUMN booking_date TEXT;
ALTER TABLE ledger_entries ADD COLUMN value_date TEXT;
CREATE INDEX payments_by_quote ON payments (quote) WHERE quote IS NOT NULL;
CREATE INDEX ledger_entries_by_booking_date ON ledger_entries (booking_date) WHERE booking_date IS NOT NULL;

DROP VIEW ledger_totals;

CREATE VIEW balance_proofs AS
SELECT account_id, currency, sum(posted_minor) AS posted_minor, sum(entries_minor) AS entries_minor,
       sum(posted_minor) - sum(entries_minor) AS unexplained_minor
FROM (
    SELECT account_id, currency, posted_minor, 0 AS entries_minor FROM account_balances
    UNION ALL
    SELECT account_id, currency, 0, amount_minor FROM ledger_entries
    UNION ALL
    SELECT contra_account_id, currency, 0, -amount_minor FROM ledger_entries WHERE kind NOT IN ('hold', 'release')
) AS sides
GROUP BY account_id, currency;

CREATE VIEW ledger_totals AS
SELECT currency, count(*) AS accounts, sum(posted_minor) AS posted_minor,
       sum(CASE WHEN unexplained_minor <> 0 THEN 1 ELSE 0 END) AS unexplained_accounts,
       sum(abs(unexplained_minor)) AS unexplained_minor
FROM balance_proofs
GROUP BY currency;
