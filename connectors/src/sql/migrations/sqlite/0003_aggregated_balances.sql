-- Balances added up by customer and by parent account.

CREATE TABLE aggregated_balances (
    scope            TEXT NOT NULL,
    node             TEXT NOT NULL,
    currency         TEXT NOT NULL,
    accounts         INTEGER NOT NULL,
    posted_minor     INTEGER NOT NULL,
    pending_minor    INTEGER NOT NULL,
    available_minor  INTEGER NOT NULL,
    event_time       TEXT NOT NULL,
    record_id        TEXT NOT NULL,
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (scope, node, currency)
);
