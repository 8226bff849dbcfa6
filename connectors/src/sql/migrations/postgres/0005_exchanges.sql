-- Exchanges, dates of posting, and a proof of every balance, those of the ledger's own accounts included.

ALTER TABLE payments ADD COLUMN quote text;
ALTER TABLE payments ADD COLUMN sold_minor numeric(38, 0);
ALTER TABLE payments ADD COLUMN sold_currency text;
ALTER TABLE payments ADD COLUMN bought_minor numeric(38, 0);
ALTER TABLE payments ADD COLUMN bought_currency text;
ALTER TABLE payments ADD COLUMN spread_minor numeric(38, 0);
ALTER TABLE payment_statuses ADD COLUMN quote text;
ALTER TABLE payment_statuses ADD COLUMN sold_minor numeric(38, 0);
ALTER TABLE payment_statuses ADD COLUMN sold_currency text;
ALTER TABLE payment_statuses ADD COLUMN bought_minor numeric(38, 0);
ALTER TABLE payment_statuses ADD COLUMN bought_currency text;
ALTER TABLE payment_statuses ADD COLUMN spread_minor numeric(38, 0);
ALTER TABLE ledger_entries ADD COLUMN quote text;
ALTER TABLE ledger_entries ADD COLUMN booking_date date;
ALTER TABLE ledger_entries ADD COLUMN value_date date;
CREATE INDEX payments_by_quote ON payments (quote) WHERE quote IS NOT NULL;
CREATE INDEX ledger_entries_by_booking_date ON ledger_entries (booking_date) WHERE booking_date IS NOT NULL;

COMMENT ON COLUMN payments.quote IS 'Quote that an exchange was made by; on its reversal, that the exchange was made by. Empty for all other payments, like the columns that follow.';
COMMENT ON COLUMN payments.sold_minor IS 'What the exchange sold, in minor units of sold_currency.';
COMMENT ON COLUMN payments.sold_currency IS 'Currency that the exchange sold.';
COMMENT ON COLUMN payments.bought_minor IS 'What the customer got, in minor units of bought_currency.';
COMMENT ON COLUMN payments.bought_currency IS 'Currency that the exchange bought.';
COMMENT ON COLUMN payments.spread_minor IS 'What the house kept, in minor units of bought_currency.';
COMMENT ON COLUMN payment_statuses.quote IS 'Quote that an exchange was made by; empty for all other payments, like the columns that follow.';
COMMENT ON COLUMN payment_statuses.sold_minor IS 'What the exchange sold, in minor units of sold_currency.';
COMMENT ON COLUMN payment_statuses.sold_currency IS 'Currency that the exchange sold.';
COMMENT ON COLUMN payment_statuses.bought_minor IS 'What the customer got, in minor units of bought_currency.';
COMMENT ON COLUMN payment_statuses.bought_currency IS 'Currency that the exchange bought.';
COMMENT ON COLUMN payment_statuses.spread_minor IS 'What the house kept, in minor units of bought_currency.';
COMMENT ON COLUMN ledger_entries.quote IS 'Quote that an exchange goes by, on all of its lines.';
COMMENT ON COLUMN ledger_entries.booking_date IS 'Business day whose books the line is in; empty where no calendar is kept.';
COMMENT ON COLUMN ledger_entries.value_date IS 'Day from which on the amount bears interest; empty where no calendar is kept.';
COMMENT ON COLUMN payments.fee_minor IS 'Fee charged to the payer, in minor units: on top of amount_minor, or deducted from it where the schedule says so.';
COMMENT ON COLUMN account_requests.action IS 'open, freeze, thaw, change_limit, change_segment or close.';
COMMENT ON COLUMN payments.status IS 'ISO 20022 word: ACSC posted, RJCT rejected or returned, PDNG money is held, or the payment waits, CANC what was pending has ended without a payment, PART one leg of a journal came back.';
COMMENT ON COLUMN payment_statuses.status IS 'ISO 20022 word: ACSC posted, RJCT rejected or returned, PDNG money is held, or the payment waits, CANC what was pending has ended, RCVD received before, PART one leg of a journal came back.';
COMMENT ON COLUMN payment_statuses.phase IS 'outcome: the one answer to a request. repeat: answer to a resend. update: something happened after the outcome: a return, the end of a hold, what became of a payment that waited. Requests = outcomes + repeats.';
COMMENT ON COLUMN ledger_entries.seq IS 'Number of the line on the account, from 1 and without gaps; with gaps on fx_position and clearing accounts, which also change as contra accounts.';
COMMENT ON COLUMN ledger_entries.kind IS 'debit, credit, fee, return (money that comes back), hold (money that is set aside), release (that is no longer), exchange (the house gives what is bought) or spread (what it keeps of it).';
COMMENT ON COLUMN account_balances.account_id IS 'Account; internal ones are named in_transit, fees, suspense, fx_position, fx_spread or clearing, and then .<p>.<CCY>.';
COMMENT ON COLUMN account_balances.kind IS 'customer, merchant, external, asset, liability, income, expense, receivable, or internal: fee, in_transit, suspense, fx_position, fx_spread or clearing.';

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
COMMENT ON VIEW balance_proofs IS 'Proof of every balance: it is what the entries of the account, less those that name it as contra account, add up to, once the read model has caught up.';
COMMENT ON COLUMN balance_proofs.account_id IS 'Account, internal ones included.';
COMMENT ON COLUMN balance_proofs.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN balance_proofs.posted_minor IS 'Posted balance in minor units; 0 where there is none.';
COMMENT ON COLUMN balance_proofs.entries_minor IS 'Sum of the entries of the account, less the sum of those against it.';
COMMENT ON COLUMN balance_proofs.unexplained_minor IS 'The difference. Must be 0.';

CREATE VIEW ledger_totals AS
SELECT currency, count(*) AS accounts, sum(posted_minor) AS posted_minor,
       sum(CASE WHEN unexplained_minor <> 0 THEN 1 ELSE 0 END) AS unexplained_accounts,
       sum(abs(unexplained_minor)) AS unexplained_minor
FROM balance_proofs
GROUP BY currency;
COMMENT ON VIEW ledger_totals IS 'Proof of balance per currency: posted_minor and unexplained_minor are 0 when the read model has caught up.';
COMMENT ON COLUMN ledger_totals.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN ledger_totals.accounts IS 'Number of accounts.';
COMMENT ON COLUMN ledger_totals.posted_minor IS 'Sum of all posted balances, internal accounts included. Must be 0.';
COMMENT ON COLUMN ledger_totals.unexplained_accounts IS 'Accounts whose balance is not what the entries say; see balance_proofs.';
COMMENT ON COLUMN ledger_totals.unexplained_minor IS 'By how much, all of them together. Must be 0.';
