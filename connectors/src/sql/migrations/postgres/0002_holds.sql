-- Holds, what payments refer to, and hierarchies of accounts.

ALTER TABLE payments ADD COLUMN payment_type text;
ALTER TABLE payments ADD COLUMN reference text;
ALTER TABLE payment_statuses ADD COLUMN payment_type text;
ALTER TABLE payment_statuses ADD COLUMN reference text;
ALTER TABLE ledger_entries ADD COLUMN payment_type text NOT NULL DEFAULT 'transfer';
ALTER TABLE ledger_entries ADD COLUMN reference text;
ALTER TABLE ledger_entries ADD COLUMN hold_minor numeric(38, 0) NOT NULL DEFAULT 0;
ALTER TABLE ledger_entries ADD COLUMN pending_after_minor numeric(38, 0) NOT NULL DEFAULT 0;
ALTER TABLE account_balances ADD COLUMN parent text;
ALTER TABLE account_balances ADD COLUMN pending_in_minor numeric(38, 0) NOT NULL DEFAULT 0;
ALTER TABLE account_requests ADD COLUMN phase text NOT NULL DEFAULT 'outcome';

COMMENT ON COLUMN payments.payment_type IS 'What was asked for: transfer, authorise, capture, refund and so on; empty when the request named nothing that is known.';
COMMENT ON COLUMN payments.reference IS 'Identifier of the payment this one is about, on captures, voids, refunds and the like.';
COMMENT ON COLUMN payment_statuses.payment_type IS 'What was asked for: transfer, authorise, capture, refund and so on; empty when the request named nothing that is known.';
COMMENT ON COLUMN payment_statuses.reference IS 'Identifier of the payment this one is about.';
COMMENT ON COLUMN ledger_entries.payment_type IS 'What was asked for: transfer, capture, refund and so on.';
COMMENT ON COLUMN ledger_entries.reference IS 'Identifier of the payment this one is about.';
COMMENT ON COLUMN ledger_entries.hold_minor IS 'Change of what is set aside for others, in minor units; 0 where nothing is held.';
COMMENT ON COLUMN ledger_entries.pending_after_minor IS 'What is set aside for others after this line, in minor units.';
COMMENT ON COLUMN account_balances.parent IS 'Account that this one is added up in.';
COMMENT ON COLUMN account_balances.pending_in_minor IS 'Sum of open holds of others in favour of this account, in minor units; not part of what can be spent.';
COMMENT ON COLUMN account_requests.phase IS 'outcome: the one answer to a request. repeat: answer to a resend or to another request under its id.';
COMMENT ON COLUMN payments.status IS 'ISO 20022 word: ACSC posted, RJCT rejected or returned, PDNG money is held, CANC a hold has ended without a payment.';
COMMENT ON COLUMN payment_statuses.status IS 'ISO 20022 word: ACSC posted, RJCT rejected or returned, PDNG money is held, CANC a hold has ended, RCVD received before.';
COMMENT ON COLUMN payment_statuses.phase IS 'outcome: the one answer to a request. repeat: answer to a resend. update: something happened after the outcome, a return or the end of a hold. Requests = outcomes + repeats.';
COMMENT ON COLUMN ledger_entries.kind IS 'debit, credit, fee, return (money that comes back), hold (money that is set aside) or release (that is no longer).';
COMMENT ON COLUMN ledger_entries.contra_account_id IS 'Internal account that carries the other side; on hold and release the account the money is set aside for.';
COMMENT ON COLUMN account_balances.kind IS 'customer, merchant, external, asset, liability, income, expense, fee, in_transit, suspense or receivable.';
COMMENT ON COLUMN account_requests.action IS 'open, freeze, thaw, change_limit or close.';
