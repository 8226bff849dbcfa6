-- What became of dead letters, and who did what.

ALTER TABLE dead_letters DROP COLUMN replayed_at;
ALTER TABLE dead_letters ADD COLUMN produced_by text;
ALTER TABLE dead_letters ADD COLUMN config_hash text;
ALTER TABLE dead_letters ADD COLUMN schema_id bigint;
CREATE INDEX dead_letters_by_fingerprint ON dead_letters (fingerprint, failed_at);
CREATE INDEX dead_letters_by_key ON dead_letters (record_key);
CREATE INDEX dead_letters_by_stage ON dead_letters (stage, failed_at);
COMMENT ON COLUMN dead_letters.produced_by IS 'Pipeline, version and configuration that could not process it.';
COMMENT ON COLUMN dead_letters.config_hash IS 'Configuration that could not process it.';
COMMENT ON COLUMN dead_letters.schema_id IS 'Registered schema that its value names, if it names one.';

CREATE TABLE dead_letter_resolutions (
    dead_letter_place text NOT NULL,
    resolution        text NOT NULL,
    dead_letter_id    text,
    destination       text,
    plan_hash         text,
    actor             text,
    reason            text,
    resolved_at       timestamptz NOT NULL,
    source_topic      text NOT NULL,
    source_partition  integer NOT NULL,
    source_offset     bigint NOT NULL,
    recorded_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dead_letter_place)
);
CREATE INDEX dead_letter_resolutions_by_time ON dead_letter_resolutions (resolved_at);
COMMENT ON TABLE dead_letter_resolutions IS 'What operators have done with dead letters: a row for each that is resolved.';
COMMENT ON COLUMN dead_letter_resolutions.dead_letter_place IS 'Where the dead letter lies: topic-partition@offset.';
COMMENT ON COLUMN dead_letter_resolutions.resolution IS 'replayed or discarded.';
COMMENT ON COLUMN dead_letter_resolutions.dead_letter_id IS 'Identifier of the dead letter.';
COMMENT ON COLUMN dead_letter_resolutions.destination IS 'Where it was sent: stage, or a topic; empty if nowhere.';
COMMENT ON COLUMN dead_letter_resolutions.plan_hash IS 'Plan that was carried out, on replays.';
COMMENT ON COLUMN dead_letter_resolutions.actor IS 'Who did it.';
COMMENT ON COLUMN dead_letter_resolutions.reason IS 'Why.';
COMMENT ON COLUMN dead_letter_resolutions.resolved_at IS 'When.';
COMMENT ON COLUMN dead_letter_resolutions.source_topic IS 'Topic of the note.';
COMMENT ON COLUMN dead_letter_resolutions.source_partition IS 'Partition of the note.';
COMMENT ON COLUMN dead_letter_resolutions.source_offset IS 'Offset of the note.';
COMMENT ON COLUMN dead_letter_resolutions.recorded_at IS 'When this row was written.';

CREATE TABLE audit_entries (
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    sequence         bigint NOT NULL,
    at               timestamptz NOT NULL,
    actor            text NOT NULL,
    verb             text NOT NULL,
    object           text NOT NULL,
    outcome          text NOT NULL,
    reason           text NOT NULL,
    plan_hash        text,
    counts           jsonb NOT NULL,
    detail           text NOT NULL,
    previous_hash    text NOT NULL,
    hash             text NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_topic, source_partition, source_offset)
);
CREATE INDEX audit_entries_by_time ON audit_entries (at);
COMMENT ON TABLE audit_entries IS 'What operators have done, and what they were refused. The topic is the trail; `tidemill audit verify` judges it.';
COMMENT ON COLUMN audit_entries.source_topic IS 'Topic of the trail.';
COMMENT ON COLUMN audit_entries.source_partition IS 'Its partition.';
COMMENT ON COLUMN audit_entries.source_offset IS 'Offset of the entry.';
COMMENT ON COLUMN audit_entries.sequence IS 'Number of the entry, from 1 without gaps.';
COMMENT ON COLUMN audit_entries.at IS 'When.';
COMMENT ON COLUMN audit_entries.actor IS 'Who.';
COMMENT ON COLUMN audit_entries.verb IS 'What, as command and verb: dlq.apply, txn.abort.';
COMMENT ON COLUMN audit_entries.object IS 'What it was done to.';
COMMENT ON COLUMN audit_entries.outcome IS 'done, or refused by a guard.';
COMMENT ON COLUMN audit_entries.reason IS 'Why.';
COMMENT ON COLUMN audit_entries.plan_hash IS 'Plan that was carried out, if there was one.';
COMMENT ON COLUMN audit_entries.counts IS 'How many, by what.';
COMMENT ON COLUMN audit_entries.detail IS 'What else is to be known: a filter, the guard that refused, hashes of edited values.';
COMMENT ON COLUMN audit_entries.previous_hash IS 'Hash of the entry before.';
COMMENT ON COLUMN audit_entries.hash IS 'Hash of this entry.';
COMMENT ON COLUMN audit_entries.recorded_at IS 'When this row was written.';

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
COMMENT ON VIEW dead_letter_items IS 'Every record that has failed, once, with its last failure and what became of it.';
COMMENT ON COLUMN dead_letter_items.first_origin_topic IS 'Topic the record first came in on.';
COMMENT ON COLUMN dead_letter_items.first_origin_partition IS 'Partition it first came in on.';
COMMENT ON COLUMN dead_letter_items.first_origin_offset IS 'Offset it first came in on.';
COMMENT ON COLUMN dead_letter_items.status IS 'open, replayed (and not failed again), or discarded.';
COMMENT ON COLUMN dead_letter_items.resolved_at IS 'When it was resolved.';
COMMENT ON COLUMN dead_letter_items.actor IS 'Who resolved it.';
COMMENT ON COLUMN dead_letter_items.reason IS 'Why.';
COMMENT ON COLUMN dead_letter_items.stage IS 'Stage that failed last.';
COMMENT ON COLUMN dead_letter_items.class IS 'Class of the last failure.';
COMMENT ON COLUMN dead_letter_items.code IS 'Code of the last failure.';
COMMENT ON COLUMN dead_letter_items.field IS 'JSON pointer to the field at fault, if known.';
COMMENT ON COLUMN dead_letter_items.fingerprint IS 'Same stage, code and field give the same fingerprint.';
COMMENT ON COLUMN dead_letter_items.record_key IS 'Key of the record.';
COMMENT ON COLUMN dead_letter_items.schema_id IS 'Registered schema that its value names, if it names one.';
COMMENT ON COLUMN dead_letter_items.replay_count IS 'How often it has been replayed.';
COMMENT ON COLUMN dead_letter_items.failed_at IS 'When it failed last.';
COMMENT ON COLUMN dead_letter_items.source_topic IS 'Topic of the last dead letter.';
COMMENT ON COLUMN dead_letter_items.source_partition IS 'Partition of the last dead letter.';
COMMENT ON COLUMN dead_letter_items.source_offset IS 'Offset of the last dead letter.';
