-- Read models of the payment pipeline. A published migration never changes; corrections are new files.

CREATE TABLE payments (
    source           text NOT NULL,
    debit_account    text NOT NULL,
    payment_id       text NOT NULL,
    credit_account   text NOT NULL,
    amount_minor     numeric(38, 0) NOT NULL,
    currency         text NOT NULL,
    fee_minor        numeric(38, 0) NOT NULL,
    status           text NOT NULL,
    code             text NOT NULL,
    reason           text,
    precedence       smallint NOT NULL,
    merchant_id      text,
    customer         text,
    channel          text NOT NULL,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, debit_account, payment_id)
);
CREATE INDEX payments_by_payment_id ON payments (payment_id);
CREATE INDEX payments_by_customer ON payments (customer, event_time);
CREATE INDEX payments_by_event_time ON payments (event_time);
COMMENT ON TABLE payments IS 'One row per payment: what became of it. A return changes the row; a resend never does.';
COMMENT ON COLUMN payments.source IS 'System that sent the payment. With debit_account and payment_id it identifies the payment.';
COMMENT ON COLUMN payments.debit_account IS 'Account the money is taken from.';
COMMENT ON COLUMN payments.payment_id IS 'Identifier the sender gave the payment.';
COMMENT ON COLUMN payments.credit_account IS 'Account the money goes to.';
COMMENT ON COLUMN payments.amount_minor IS 'Amount in minor units of the currency (cents for EUR, whole yen for JPY).';
COMMENT ON COLUMN payments.currency IS 'ISO 4217 code; empty when the request named none that is known.';
COMMENT ON COLUMN payments.fee_minor IS 'Fee charged to the payer, in minor units; not part of amount_minor.';
COMMENT ON COLUMN payments.status IS 'ISO 20022 word: ACSC posted, RJCT rejected or returned, PDNG pending.';
COMMENT ON COLUMN payments.code IS 'Stable code: ok, or why the payment was rejected or returned.';
COMMENT ON COLUMN payments.reason IS 'The code in a sentence; empty when posted.';
COMMENT ON COLUMN payments.precedence IS 'Which answer the row shows: 2 carried out, or returned later; 1 refused by the ledger, final; 0 refused by validation, may be corrected under the same id. A lower one never replaces a higher one.';
COMMENT ON COLUMN payments.merchant_id IS 'Merchant that is paid, if one was named.';
COMMENT ON COLUMN payments.customer IS 'Customer who pays, if named.';
COMMENT ON COLUMN payments.channel IS 'Channel the payment came through: web, card, branch and so on.';
COMMENT ON COLUMN payments.event_time IS 'When the payment was created, as its sender says.';
COMMENT ON COLUMN payments.record_id IS 'Identifier of the status record this row shows.';
COMMENT ON COLUMN payments.source_topic IS 'Topic of the record this row shows.';
COMMENT ON COLUMN payments.source_partition IS 'Partition of the record this row shows.';
COMMENT ON COLUMN payments.source_offset IS 'Offset of the record this row shows.';
COMMENT ON COLUMN payments.recorded_at IS 'When this row was last written; the difference to event_time is how late it came.';

CREATE TABLE payment_statuses (
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    source           text NOT NULL,
    debit_account    text NOT NULL,
    payment_id       text NOT NULL,
    status           text NOT NULL,
    phase            text NOT NULL,
    code             text NOT NULL,
    reason           text,
    amount_minor     numeric(38, 0) NOT NULL,
    currency         text NOT NULL,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX payment_statuses_by_payment_id ON payment_statuses (payment_id);
CREATE INDEX payment_statuses_by_event_time ON payment_statuses (event_time);
COMMENT ON TABLE payment_statuses IS 'Every answer ever given to a payment request, one row each: the history behind payments, and the counts for reconciliation.';
COMMENT ON COLUMN payment_statuses.source_topic IS 'Topic of the status record.';
COMMENT ON COLUMN payment_statuses.source_partition IS 'Partition of the status record.';
COMMENT ON COLUMN payment_statuses.source_offset IS 'Offset of the status record; within a partition, the order of the answers.';
COMMENT ON COLUMN payment_statuses.source IS 'System that sent the payment.';
COMMENT ON COLUMN payment_statuses.debit_account IS 'Account the money is taken from.';
COMMENT ON COLUMN payment_statuses.payment_id IS 'Identifier the sender gave the payment; empty when the request had none.';
COMMENT ON COLUMN payment_statuses.status IS 'ISO 20022 word: ACSC posted, RJCT rejected or returned, PDNG pending, RCVD received before.';
COMMENT ON COLUMN payment_statuses.phase IS 'outcome: the one answer to a request. repeat: answer to a resend. update: something happened after the outcome, a return. Requests = outcomes + repeats.';
COMMENT ON COLUMN payment_statuses.code IS 'Stable code: ok, or why.';
COMMENT ON COLUMN payment_statuses.reason IS 'The code in a sentence, if there is more to say.';
COMMENT ON COLUMN payment_statuses.amount_minor IS 'Amount in minor units of the currency.';
COMMENT ON COLUMN payment_statuses.currency IS 'ISO 4217 code; empty when the request named none that is known.';
COMMENT ON COLUMN payment_statuses.event_time IS 'When the payment was created, as its sender says.';
COMMENT ON COLUMN payment_statuses.record_id IS 'Identifier of the status record.';
COMMENT ON COLUMN payment_statuses.recorded_at IS 'When this row was written.';

CREATE TABLE ledger_entries (
    account_id          text NOT NULL,
    seq                 bigint NOT NULL,
    payment_id          text NOT NULL,
    source              text NOT NULL,
    kind                text NOT NULL,
    amount_minor        numeric(38, 0) NOT NULL,
    currency            text NOT NULL,
    balance_after_minor numeric(38, 0) NOT NULL,
    contra_account_id   text NOT NULL,
    leg_no              integer NOT NULL,
    fee_schedule        text,
    event_time          timestamptz NOT NULL,
    record_id           text NOT NULL,
    source_topic        text NOT NULL,
    source_partition    integer NOT NULL,
    source_offset       bigint NOT NULL,
    recorded_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, seq)
);
CREATE INDEX ledger_entries_by_payment_id ON ledger_entries (payment_id);
CREATE INDEX ledger_entries_by_event_time ON ledger_entries (event_time);
COMMENT ON TABLE ledger_entries IS 'The journal: each row changes account_id by amount_minor and contra_account_id by the opposite.';
COMMENT ON COLUMN ledger_entries.account_id IS 'Account whose statement this line is on.';
COMMENT ON COLUMN ledger_entries.seq IS 'Number of the line on the account, from 1 and without gaps.';
COMMENT ON COLUMN ledger_entries.payment_id IS 'Payment that caused it.';
COMMENT ON COLUMN ledger_entries.source IS 'System that sent the payment.';
COMMENT ON COLUMN ledger_entries.kind IS 'debit, credit, fee, or return (money that comes back).';
COMMENT ON COLUMN ledger_entries.amount_minor IS 'Change in minor units; negative takes from the account.';
COMMENT ON COLUMN ledger_entries.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN ledger_entries.balance_after_minor IS 'Posted balance of the account after this line, in minor units.';
COMMENT ON COLUMN ledger_entries.contra_account_id IS 'Internal account that carries the other side.';
COMMENT ON COLUMN ledger_entries.leg_no IS '1 the payer''s side, 2 the payee''s, 3 a return.';
COMMENT ON COLUMN ledger_entries.fee_schedule IS 'Name and version of the schedule that set the price, on a fee.';
COMMENT ON COLUMN ledger_entries.event_time IS 'When the payment was created, as its sender says.';
COMMENT ON COLUMN ledger_entries.record_id IS 'Identifier of the entry record.';
COMMENT ON COLUMN ledger_entries.source_topic IS 'Topic of the entry record.';
COMMENT ON COLUMN ledger_entries.source_partition IS 'Partition of the entry record.';
COMMENT ON COLUMN ledger_entries.source_offset IS 'Offset of the entry record.';
COMMENT ON COLUMN ledger_entries.recorded_at IS 'When this row was written.';

CREATE TABLE account_balances (
    account_id       text PRIMARY KEY,
    customer         text,
    kind             text NOT NULL,
    currency         text NOT NULL,
    posted_minor     numeric(38, 0) NOT NULL,
    pending_minor    numeric(38, 0) NOT NULL,
    available_minor  numeric(38, 0) NOT NULL,
    limit_minor      numeric(38, 0) NOT NULL,
    seq              bigint NOT NULL,
    debits_frozen    boolean NOT NULL,
    credits_frozen   boolean NOT NULL,
    closed           boolean NOT NULL,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX account_balances_by_customer ON account_balances (customer);
COMMENT ON TABLE account_balances IS 'One row per account, internal ones included: its balance now.';
COMMENT ON COLUMN account_balances.account_id IS 'Account; internal ones are named in_transit.<p>.<CCY>, fees.<p>.<CCY>, suspense.<p>.<CCY>.';
COMMENT ON COLUMN account_balances.customer IS 'Customer who owns the account; empty for internal accounts.';
COMMENT ON COLUMN account_balances.kind IS 'customer, merchant, fee, in_transit, suspense, receivable or external.';
COMMENT ON COLUMN account_balances.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN account_balances.posted_minor IS 'Posted balance in minor units.';
COMMENT ON COLUMN account_balances.pending_minor IS 'Sum of open holds on outgoing money, in minor units.';
COMMENT ON COLUMN account_balances.available_minor IS 'What can be spent: posted - pending + limit, in minor units.';
COMMENT ON COLUMN account_balances.limit_minor IS 'Overdraft limit in minor units.';
COMMENT ON COLUMN account_balances.seq IS 'Number of the last line in ledger_entries; for internal accounts the count of their changes.';
COMMENT ON COLUMN account_balances.debits_frozen IS 'No money may leave.';
COMMENT ON COLUMN account_balances.credits_frozen IS 'No money may arrive.';
COMMENT ON COLUMN account_balances.closed IS 'The account is closed for good.';
COMMENT ON COLUMN account_balances.event_time IS 'Event time of the last change.';
COMMENT ON COLUMN account_balances.record_id IS 'Identifier of the balance record.';
COMMENT ON COLUMN account_balances.source_topic IS 'Topic of the balance record.';
COMMENT ON COLUMN account_balances.source_partition IS 'Partition of the balance record.';
COMMENT ON COLUMN account_balances.source_offset IS 'Offset of the balance record: the version of the balance.';
COMMENT ON COLUMN account_balances.recorded_at IS 'When this row was last written.';

CREATE TABLE account_requests (
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    request_id       text NOT NULL,
    source           text NOT NULL,
    account_id       text NOT NULL,
    action           text NOT NULL,
    status           text NOT NULL,
    code             text NOT NULL,
    reason           text,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX account_requests_by_account_id ON account_requests (account_id, event_time);
COMMENT ON TABLE account_requests IS 'Every answer to a request to open, freeze, thaw or close an account.';
COMMENT ON COLUMN account_requests.source_topic IS 'Topic of the answer.';
COMMENT ON COLUMN account_requests.source_partition IS 'Partition of the answer.';
COMMENT ON COLUMN account_requests.source_offset IS 'Offset of the answer.';
COMMENT ON COLUMN account_requests.request_id IS 'Identifier the sender gave the request.';
COMMENT ON COLUMN account_requests.source IS 'System that sent the request.';
COMMENT ON COLUMN account_requests.account_id IS 'Account it is about.';
COMMENT ON COLUMN account_requests.action IS 'open, freeze, thaw or close.';
COMMENT ON COLUMN account_requests.status IS 'done or refused.';
COMMENT ON COLUMN account_requests.code IS 'Stable code: ok, or why it was refused.';
COMMENT ON COLUMN account_requests.reason IS 'The code in a sentence, if there is more to say.';
COMMENT ON COLUMN account_requests.event_time IS 'When the request was created, as its sender says.';
COMMENT ON COLUMN account_requests.record_id IS 'Identifier of the answer.';
COMMENT ON COLUMN account_requests.recorded_at IS 'When this row was written.';

CREATE TABLE payment_decisions (
    source           text NOT NULL,
    debit_account    text NOT NULL,
    payment_id       text NOT NULL,
    verdict          text NOT NULL,
    score            bigint NOT NULL,
    threshold        bigint NOT NULL,
    rule_set         text NOT NULL,
    rules            jsonb NOT NULL,
    payer            jsonb NOT NULL,
    counterparty     jsonb NOT NULL,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    produced_by      text NOT NULL,
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, debit_account, payment_id)
);
CREATE INDEX payment_decisions_by_payment_id ON payment_decisions (payment_id);
CREATE INDEX payment_decisions_by_event_time ON payment_decisions (event_time);
COMMENT ON TABLE payment_decisions IS 'Why each payment was let through or declined by the fraud rules.';
COMMENT ON COLUMN payment_decisions.source IS 'System that sent the payment.';
COMMENT ON COLUMN payment_decisions.debit_account IS 'Account the money is taken from.';
COMMENT ON COLUMN payment_decisions.payment_id IS 'Identifier the sender gave the payment.';
COMMENT ON COLUMN payment_decisions.verdict IS 'accept or decline.';
COMMENT ON COLUMN payment_decisions.score IS 'Sum of the points of all rules that hit.';
COMMENT ON COLUMN payment_decisions.threshold IS 'At this score a payment is declined.';
COMMENT ON COLUMN payment_decisions.rule_set IS 'Name and version of the rule set that was applied.';
COMMENT ON COLUMN payment_decisions.rules IS 'The rules that hit, with their points: [{"rule": ..., "points": ...}].';
COMMENT ON COLUMN payment_decisions.payer IS 'What was known of the payer at that moment, this payment included.';
COMMENT ON COLUMN payment_decisions.counterparty IS 'What was known of the counterparty at that moment.';
COMMENT ON COLUMN payment_decisions.event_time IS 'When the payment was created, as its sender says.';
COMMENT ON COLUMN payment_decisions.record_id IS 'Identifier of the decision record.';
COMMENT ON COLUMN payment_decisions.produced_by IS 'Pipeline, version and configuration hash that decided.';
COMMENT ON COLUMN payment_decisions.source_topic IS 'Topic of the decision record.';
COMMENT ON COLUMN payment_decisions.source_partition IS 'Partition of the decision record.';
COMMENT ON COLUMN payment_decisions.source_offset IS 'Offset of the decision record.';
COMMENT ON COLUMN payment_decisions.recorded_at IS 'When this row was written.';

CREATE TABLE notifications (
    notification_id  text PRIMARY KEY,
    customer         text NOT NULL,
    channel          text NOT NULL,
    category         text NOT NULL,
    template         text NOT NULL,
    subject          text NOT NULL,
    body             text NOT NULL,
    payment_id       text NOT NULL,
    status           text NOT NULL,
    reason           text,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notifications_by_customer ON notifications (customer, event_time);
CREATE INDEX notifications_by_payment_id ON notifications (payment_id);
COMMENT ON TABLE notifications IS 'Every message to a customer, one row per message and channel.';
COMMENT ON COLUMN notifications.notification_id IS 'Identifier of the message; the same payment, category and channel give the same one.';
COMMENT ON COLUMN notifications.customer IS 'Customer it is for.';
COMMENT ON COLUMN notifications.channel IS 'email, sms, push or webhook.';
COMMENT ON COLUMN notifications.category IS 'payment_posted, payment_rejected or payment_returned.';
COMMENT ON COLUMN notifications.template IS 'Template the text was made from.';
COMMENT ON COLUMN notifications.subject IS 'Subject line.';
COMMENT ON COLUMN notifications.body IS 'Text.';
COMMENT ON COLUMN notifications.payment_id IS 'Payment it is about.';
COMMENT ON COLUMN notifications.status IS 'requested, or suppressed.';
COMMENT ON COLUMN notifications.reason IS 'Why it was suppressed.';
COMMENT ON COLUMN notifications.event_time IS 'Event time of what the customer is told.';
COMMENT ON COLUMN notifications.record_id IS 'Identifier of the notification record.';
COMMENT ON COLUMN notifications.source_topic IS 'Topic of the notification record.';
COMMENT ON COLUMN notifications.source_partition IS 'Partition of the notification record.';
COMMENT ON COLUMN notifications.source_offset IS 'Offset of the notification record.';
COMMENT ON COLUMN notifications.recorded_at IS 'When this row was last written.';

CREATE TABLE alerts (
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    subject          text NOT NULL,
    code             text NOT NULL,
    severity         text NOT NULL,
    message          text NOT NULL,
    payment_id       text,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX alerts_by_event_time ON alerts (event_time);
CREATE INDEX alerts_by_subject ON alerts (subject, event_time);
COMMENT ON TABLE alerts IS 'What a person should look at.';
COMMENT ON COLUMN alerts.source_topic IS 'Topic of the alert.';
COMMENT ON COLUMN alerts.source_partition IS 'Partition of the alert.';
COMMENT ON COLUMN alerts.source_offset IS 'Offset of the alert.';
COMMENT ON COLUMN alerts.subject IS 'Account or counterparty it is about.';
COMMENT ON COLUMN alerts.code IS 'Stable code: fraud_declined, money_in_suspense and so on.';
COMMENT ON COLUMN alerts.severity IS 'info, warning or critical.';
COMMENT ON COLUMN alerts.message IS 'What is the case, in a sentence.';
COMMENT ON COLUMN alerts.payment_id IS 'Payment it is about, if it is about one.';
COMMENT ON COLUMN alerts.event_time IS 'Event time of what raised it.';
COMMENT ON COLUMN alerts.record_id IS 'Identifier of the alert record.';
COMMENT ON COLUMN alerts.recorded_at IS 'When this row was written.';

CREATE TABLE dead_letters (
    source_topic           text NOT NULL,
    source_partition       integer NOT NULL,
    source_offset          bigint NOT NULL,
    dead_letter_id         text,
    stage                  text,
    class                  text,
    code                   text,
    field                  text,
    message                text,
    origin_topic           text,
    origin_partition       integer,
    origin_offset          bigint,
    first_origin_topic     text,
    first_origin_partition integer,
    first_origin_offset    bigint,
    replay_count           bigint,
    fingerprint            text,
    failed_at              timestamptz,
    record_key             text,
    payload                bytea,
    event_time             timestamptz NOT NULL,
    replayed_at            timestamptz,
    recorded_at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX dead_letters_by_code ON dead_letters (code, event_time);
CREATE INDEX dead_letters_by_first_origin ON dead_letters (first_origin_topic, first_origin_partition, first_origin_offset);
COMMENT ON TABLE dead_letters IS 'Records that could not be understood or processed. record_key and payload hold what the sender wrote, personal data included: grant with care.';
COMMENT ON COLUMN dead_letters.source_topic IS 'Dead letter topic.';
COMMENT ON COLUMN dead_letters.source_partition IS 'Partition in the dead letter topic.';
COMMENT ON COLUMN dead_letters.source_offset IS 'Offset in the dead letter topic.';
COMMENT ON COLUMN dead_letters.dead_letter_id IS 'Identifier, the same however often the failing work is repeated.';
COMMENT ON COLUMN dead_letters.stage IS 'Stage that failed.';
COMMENT ON COLUMN dead_letters.class IS 'decode, schema, validation, business, dependency, bug or poison.';
COMMENT ON COLUMN dead_letters.code IS 'Stable code of the failure.';
COMMENT ON COLUMN dead_letters.field IS 'JSON pointer to the field at fault, if known.';
COMMENT ON COLUMN dead_letters.message IS 'What was wrong, without values of the record.';
COMMENT ON COLUMN dead_letters.origin_topic IS 'Topic the record was read from when it failed.';
COMMENT ON COLUMN dead_letters.origin_partition IS 'Partition it was read from when it failed.';
COMMENT ON COLUMN dead_letters.origin_offset IS 'Offset it was read from when it failed.';
COMMENT ON COLUMN dead_letters.first_origin_topic IS 'Topic the record first came in on; survives replays. Count by first origin to count a record once.';
COMMENT ON COLUMN dead_letters.first_origin_partition IS 'Partition it first came in on.';
COMMENT ON COLUMN dead_letters.first_origin_offset IS 'Offset it first came in on.';
COMMENT ON COLUMN dead_letters.replay_count IS 'How often it had been replayed before it failed this time.';
COMMENT ON COLUMN dead_letters.fingerprint IS 'Same stage, code and field give the same fingerprint.';
COMMENT ON COLUMN dead_letters.failed_at IS 'When it failed, as the stage wrote it.';
COMMENT ON COLUMN dead_letters.record_key IS 'Key of the record: text where it is readable, 0x and hexadecimal digits otherwise.';
COMMENT ON COLUMN dead_letters.payload IS 'Value of the record, byte for byte.';
COMMENT ON COLUMN dead_letters.event_time IS 'Timestamp of the dead letter.';
COMMENT ON COLUMN dead_letters.replayed_at IS 'When it was replayed, if whoever replayed it noted so here. The sink never writes this column.';
COMMENT ON COLUMN dead_letters.recorded_at IS 'When this row was written.';

CREATE TABLE read_model_offsets (
    sink        text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    event_time  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, topic, partition)
);
COMMENT ON TABLE read_model_offsets IS 'How far these tables have come, per sink, topic and partition. Written in one transaction with the rows.';
COMMENT ON COLUMN read_model_offsets.sink IS 'Name of the sink in topology.toml.';
COMMENT ON COLUMN read_model_offsets.topic IS 'Topic the sink reads.';
COMMENT ON COLUMN read_model_offsets.partition IS 'Partition of the topic.';
COMMENT ON COLUMN read_model_offsets.next_offset IS 'First offset that is not in the tables yet.';
COMMENT ON COLUMN read_model_offsets.event_time IS 'How far in event time the tables have come.';
COMMENT ON COLUMN read_model_offsets.updated_at IS 'When this position was last written.';

CREATE TABLE read_model_owners (
    sink       text NOT NULL,
    task       integer NOT NULL,
    owner      text NOT NULL,
    epoch      bigint NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, task)
);
COMMENT ON TABLE read_model_owners IS 'Who may write for a task. A writer with another owner or epoch is refused.';
COMMENT ON COLUMN read_model_owners.sink IS 'Name of the sink in topology.toml.';
COMMENT ON COLUMN read_model_owners.task IS 'Task, which is the partition number of the topics it reads.';
COMMENT ON COLUMN read_model_owners.owner IS 'Worker that claimed the task last.';
COMMENT ON COLUMN read_model_owners.epoch IS 'Grows by one with every claim.';
COMMENT ON COLUMN read_model_owners.claimed_at IS 'When it was claimed.';

CREATE VIEW payment_outcomes_by_code AS
SELECT status, code, currency, count(*) AS payments, sum(amount_minor) AS amount_minor,
       min(event_time) AS event_time_min, max(event_time) AS event_time_max
FROM payments
GROUP BY status, code, currency;
COMMENT ON VIEW payment_outcomes_by_code IS 'How many payments, and how much money, by what became of them.';
COMMENT ON COLUMN payment_outcomes_by_code.status IS 'ISO 20022 word.';
COMMENT ON COLUMN payment_outcomes_by_code.code IS 'Stable code: ok, or why.';
COMMENT ON COLUMN payment_outcomes_by_code.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN payment_outcomes_by_code.payments IS 'Number of payments.';
COMMENT ON COLUMN payment_outcomes_by_code.amount_minor IS 'Sum of their amounts in minor units.';
COMMENT ON COLUMN payment_outcomes_by_code.event_time_min IS 'The earliest of them.';
COMMENT ON COLUMN payment_outcomes_by_code.event_time_max IS 'The latest of them.';

CREATE VIEW ledger_totals AS
WITH numbered AS (
    SELECT currency, sum(amount_minor) AS entries_minor FROM ledger_entries GROUP BY currency
), balances AS (
    SELECT currency, count(*) AS accounts, sum(posted_minor) AS posted_minor,
           sum(CASE WHEN EXISTS (SELECT 1 FROM ledger_entries e WHERE e.account_id = b.account_id)
                    THEN posted_minor ELSE 0 END) AS numbered_posted_minor
    FROM account_balances b
    GROUP BY currency
)
SELECT currency, accounts, posted_minor, numbered_posted_minor, COALESCE(entries_minor, 0) AS entries_minor,
       numbered_posted_minor - COALESCE(entries_minor, 0) AS unexplained_minor
FROM balances LEFT JOIN numbered USING (currency);
COMMENT ON VIEW ledger_totals IS 'Proof of balance per currency: posted_minor and unexplained_minor are 0 when the read model has caught up.';
COMMENT ON COLUMN ledger_totals.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN ledger_totals.accounts IS 'Number of accounts.';
COMMENT ON COLUMN ledger_totals.posted_minor IS 'Sum of all posted balances, internal accounts included. Must be 0.';
COMMENT ON COLUMN ledger_totals.numbered_posted_minor IS 'Sum of the posted balances of accounts that have entries.';
COMMENT ON COLUMN ledger_totals.entries_minor IS 'Sum of all entries.';
COMMENT ON COLUMN ledger_totals.unexplained_minor IS 'Balances that no entry explains. Must be 0.';

CREATE VIEW read_model_freshness AS
SELECT sink, topic, partition, next_offset, event_time, updated_at,
       extract(epoch FROM now() - event_time)::bigint AS event_time_lag_s,
       extract(epoch FROM now() - updated_at)::bigint AS updated_ago_s
FROM read_model_offsets;
COMMENT ON VIEW read_model_freshness IS 'How fresh the tables are: everything before event_time is in them.';
COMMENT ON COLUMN read_model_freshness.sink IS 'Name of the sink in topology.toml.';
COMMENT ON COLUMN read_model_freshness.topic IS 'Topic the sink reads.';
COMMENT ON COLUMN read_model_freshness.partition IS 'Partition of the topic.';
COMMENT ON COLUMN read_model_freshness.next_offset IS 'First offset that is not in the tables yet.';
COMMENT ON COLUMN read_model_freshness.event_time IS 'How far in event time the tables have come.';
COMMENT ON COLUMN read_model_freshness.updated_at IS 'When the position was last written.';
COMMENT ON COLUMN read_model_freshness.event_time_lag_s IS 'Seconds between event_time and now; large as well when nothing has happened.';
COMMENT ON COLUMN read_model_freshness.updated_ago_s IS 'Seconds since the position was written.';
