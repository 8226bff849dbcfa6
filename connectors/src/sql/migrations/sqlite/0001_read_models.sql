-- Read models of the payment pipeline, alike to those in Postgres. Times are ISO 8601 text in UTC, booleans 0 and 1.
-- A published migration never changes; corrections are new files.

CREATE TABLE payments (
    source           TEXT NOT NULL,
    debit_account    TEXT NOT NULL,
    payment_id       TEXT NOT NULL,
    credit_account   TEXT NOT NULL,
    amount_minor     INTEGER NOT NULL,
    currency         TEXT NOT NULL,
    fee_minor        INTEGER NOT NULL,
    status           TEXT NOT NULL,
    code             TEXT NOT NULL,
    reason           TEXT,
    precedence       INTEGER NOT NULL,
    merchant_id      TEXT,
    customer         TEXT,
    channel          TEXT NOT NULL,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source, debit_account, payment_id)
);
CREATE INDEX payments_by_payment_id ON payments (payment_id);
CREATE INDEX payments_by_customer ON payments (customer, event_time);
CREATE INDEX payments_by_event_time ON payments (event_time);

CREATE TABLE payment_statuses (
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    source           TEXT NOT NULL,
    debit_account    TEXT NOT NULL,
    payment_id       TEXT NOT NULL,
    status           TEXT NOT NULL,
    phase            TEXT NOT NULL,
    code             TEXT NOT NULL,
    reason           TEXT,
    amount_minor     INTEGER NOT NULL,
    currency         TEXT NOT NULL,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX payment_statuses_by_payment_id ON payment_statuses (payment_id);
CREATE INDEX payment_statuses_by_event_time ON payment_statuses (event_time);

CREATE TABLE ledger_entries (
    account_id          TEXT NOT NULL,
    seq                 INTEGER NOT NULL,
    payment_id          TEXT NOT NULL,
    source              TEXT NOT NULL,
    kind                TEXT NOT NULL,
    amount_minor        INTEGER NOT NULL,
    currency            TEXT NOT NULL,
    balance_after_minor INTEGER NOT NULL,
    contra_account_id   TEXT NOT NULL,
    leg_no              INTEGER NOT NULL,
    fee_schedule        TEXT,
    event_time          TEXT NOT NULL,
    record_id           TEXT NOT NULL,
    source_topic        TEXT NOT NULL,
    source_partition    INTEGER NOT NULL,
    source_offset       INTEGER NOT NULL,
    recorded_at         TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (account_id, seq)
);
CREATE INDEX ledger_entries_by_payment_id ON ledger_entries (payment_id);
CREATE INDEX ledger_entries_by_event_time ON ledger_entries (event_time);

CREATE TABLE account_balances (
    account_id       TEXT PRIMARY KEY,
    customer         TEXT,
    kind             TEXT NOT NULL,
    currency         TEXT NOT NULL,
    posted_minor     INTEGER NOT NULL,
    pending_minor    INTEGER NOT NULL,
    available_minor  INTEGER NOT NULL,
    limit_minor      INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    debits_frozen    INTEGER NOT NULL,
    credits_frozen   INTEGER NOT NULL,
    closed           INTEGER NOT NULL,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX account_balances_by_customer ON account_balances (customer);

CREATE TABLE account_requests (
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    request_id       TEXT NOT NULL,
    source           TEXT NOT NULL,
    account_id       TEXT NOT NULL,
    action           TEXT NOT NULL,
    status           TEXT NOT NULL,
    code             TEXT NOT NULL,
    reason           TEXT,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX account_requests_by_account_id ON account_requests (account_id, event_time);

CREATE TABLE payment_decisions (
    source           TEXT NOT NULL,
    debit_account    TEXT NOT NULL,
    payment_id       TEXT NOT NULL,
    verdict          TEXT NOT NULL,
    score            INTEGER NOT NULL,
    threshold        INTEGER NOT NULL,
    rule_set         TEXT NOT NULL,
    rules            TEXT NOT NULL,
    payer            TEXT NOT NULL,
    counterparty     TEXT NOT NULL,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    produced_by      TEXT NOT NULL,
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source, debit_account, payment_id)
);
CREATE INDEX payment_decisions_by_payment_id ON payment_decisions (payment_id);
CREATE INDEX payment_decisions_by_event_time ON payment_decisions (event_time);

CREATE TABLE notifications (
    notification_id  TEXT PRIMARY KEY,
    customer         TEXT NOT NULL,
    channel          TEXT NOT NULL,
    category         TEXT NOT NULL,
    template         TEXT NOT NULL,
    subject          TEXT NOT NULL,
    body             TEXT NOT NULL,
    payment_id       TEXT NOT NULL,
    status           TEXT NOT NULL,
    reason           TEXT,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX notifications_by_customer ON notifications (customer, event_time);
CREATE INDEX notifications_by_payment_id ON notifications (payment_id);

CREATE TABLE alerts (
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    subject          TEXT NOT NULL,
    code             TEXT NOT NULL,
    severity         TEXT NOT NULL,
    message          TEXT NOT NULL,
    payment_id       TEXT,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX alerts_by_event_time ON alerts (event_time);
CREATE INDEX alerts_by_subject ON alerts (subject, event_time);

CREATE TABLE dead_letters (
    source_topic           TEXT NOT NULL,
    source_partition       INTEGER NOT NULL,
    source_offset          INTEGER NOT NULL,
    dead_letter_id         TEXT,
    stage                  TEXT,
    class                  TEXT,
    code                   TEXT,
    field                  TEXT,
    message                TEXT,
    origin_topic           TEXT,
    origin_partition       INTEGER,
    origin_offset          INTEGER,
    first_origin_topic     TEXT,
    first_origin_partition INTEGER,
    first_origin_offset    INTEGER,
    replay_count           INTEGER,
    fingerprint            TEXT,
    failed_at              TEXT,
    record_key             TEXT,
    payload                BLOB,
    event_time             TEXT NOT NULL,
    replayed_at            TEXT,
    recorded_at            TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX dead_letters_by_code ON dead_letters (code, event_time);
CREATE INDEX dead_letters_by_first_origin ON dead_letters (first_origin_topic, first_origin_partition, first_origin_offset);

CREATE TABLE read_model_offsets (
    sink        TEXT NOT NULL,
    topic       TEXT NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    event_time  TEXT NOT NULL,
    updated_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (sink, topic, partition)
);

CREATE TABLE read_model_owners (
    sink       TEXT NOT NULL,
    task       INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    claimed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (sink, task)
);

CREATE VIEW payment_outcomes_by_code AS
SELECT status, code, currency, count(*) AS payments, sum(amount_minor) AS amount_minor,
       min(event_time) AS event_time_min, max(event_time) AS event_time_max
FROM payments
GROUP BY status, code, currency;

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

CREATE VIEW read_model_freshness AS
SELECT sink, topic, partition, next_offset, event_time, updated_at,
       CAST((julianday('now') - julianday(event_time)) * 86400 AS INTEGER) AS event_time_lag_s,
       CAST((julianday('now') - julianday(updated_at)) * 86400 AS INTEGER) AS updated_ago_s
FROM read_model_offsets;
