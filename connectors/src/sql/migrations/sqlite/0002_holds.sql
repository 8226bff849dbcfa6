-- Holds, what payments refer to, and hierarchies of accounts.

ALTER TABLE payments ADD COLUMN payment_type TEXT;
ALTER TABLE payments ADD COLUMN reference TEXT;
ALTER TABLE payment_statuses ADD COLUMN payment_type TEXT;
ALTER TABLE payment_statuses ADD COLUMN reference TEXT;
ALTER TABLE ledger_entries ADD COLUMN payment_type TEXT NOT NULL DEFAULT 'transfer';
ALTER TABLE ledger_entries ADD COLUMN reference TEXT;
ALTER TABLE ledger_entries ADD COLUMN hold_minor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger_entries ADD COLUMN pending_after_minor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account_balances ADD COLUMN parent TEXT;
ALTER TABLE account_balances ADD COLUMN pending_in_minor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account_requests ADD COLUMN phase TEXT NOT NULL DEFAULT 'outcome';
