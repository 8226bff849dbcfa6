-- What became of dead letters, and who did what.

ALTER TABLE dead_letters DROP COLUMN replayed_at;
ALTER TABLE dead_letters ADD COLUMN produced_by TEXT;
ALTER TABLE dead_letters ADD COLUMN config_hash TEXT;
ALTER TABLE dead_letters ADD COLUMN schema_id INTEGER;
CREATE INDEX dead_letters_by_fingerprint ON dead_letters (fingerprint, failed_at);
CREATE INDEX dead_letters_by_key ON dead_letters (record_key);
CREATE INDEX dead_letters_by_stage ON dead_letters (stage, failed_at);

CREATE TABLE dead_letter_resolutions (
    dead_letter_place TEXT NOT NULL,
    resolution        TEXT NOT NULL,
    dead_letter_id    TEXT,
    destination       TEXT,
    plan_hash         TEXT,
    actor             TEXT,
    reason            TEXT,
    resolved_at       TEXT NOT NULL,
    source_topic      TEXT NOT NULL,
    source_partition  INTEGER NOT NULL,
    source_offset     INTEGER NOT NULL,
    recorded_at       TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (dead_letter_place)
);
CREATE INDEX dead_letter_resolutions_by_time ON dead_letter_resolutions (resolved_at);

CREATE TABLE audit_entries (
    source_topic     TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset    INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    at               TEXT NOT NULL,
    actor            TEXT NOT NULL,
    verb             TEXT NOT NULL,
    object           TEXT NOT NULL,
    outcome          TEXT NOT NULL,
    reason           TEXT NOT NULL,
    plan_hash        TEXT,
    counts           TEXT NOT NULL,
    detail           TEXT NOT NULL,
    previous_hash    TEXT NOT NULL,
    hash             TEXT NOT NULL,
    recorded_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX audit_entries_by_time ON audit_entries (at);

CREATE VIEW dead_letter_items AS
WITH numbered AS (
    SELECT d.*, row_number() OVER (
               PARTITION BY COALESCE(first_origin_topic, source_topic),
                            COALESCE(first_origin_partition, source_partition),
                            COALESCE(first_origin_offset, source_offset)
               ORDER BY replay_count DESC, source_offset DESC) AS place_from_last
    FROM dead_letters d
)
SELECT COALESCE(n.first_origin_topic, n.source_topic) AS first_origin_topic,
       COALESCE(n.first_origin_partition, n.source_partition) AS first_origin_partition,
       COALESCE(n.first_origin_offset, n.source_offset) AS first_origin_offset,
       COALESCE(r.resolution, 'open') AS status, r.resolved_at, r.actor, r.reason,
       n.stage, n.class, n.code, n.field, n.fingerprint, n.record_key, n.schema_id, n.replay_count, n.failed_at,
       n.source_topic, n.source_partition, n.source_offset
FROM numbered n
LEFT JOIN dead_letter_resolutions r
    ON r.dead_letter_place = n.source_topic || '-' || n.source_partition || '@' || n.source_offset
WHERE n.place_from_last = 1;
