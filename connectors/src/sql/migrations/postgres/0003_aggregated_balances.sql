-- Balances added up by customer and by parent account.

CREATE TABLE aggregated_balances (
    scope            text NOT NULL,
    node             text NOT NULL,
    currency         text NOT NULL,
    accounts         bigint NOT NULL,
    posted_minor     numeric(38, 0) NOT NULL,
    pending_minor    numeric(38, 0) NOT NULL,
    available_minor  numeric(38, 0) NOT NULL,
    event_time       timestamptz NOT NULL,
    record_id        text NOT NULL,
    source_topic     text NOT NULL,
    source_partition integer NOT NULL,
    source_offset    bigint NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, node, currency)
);
COMMENT ON TABLE aggregated_balances IS 'Sums of balances. Each balance in a sum is whole; they may be of different moments.';
COMMENT ON COLUMN aggregated_balances.scope IS 'customer: all accounts of one; account: an account and everything below it.';
COMMENT ON COLUMN aggregated_balances.node IS 'Customer, or account.';
COMMENT ON COLUMN aggregated_balances.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN aggregated_balances.accounts IS 'How many accounts the sum is of.';
COMMENT ON COLUMN aggregated_balances.posted_minor IS 'Sum of the posted balances, in minor units.';
COMMENT ON COLUMN aggregated_balances.pending_minor IS 'Sum of what is held, in minor units.';
COMMENT ON COLUMN aggregated_balances.available_minor IS 'Sum of what is available, in minor units.';
COMMENT ON COLUMN aggregated_balances.event_time IS 'The greatest event time among the balances.';
COMMENT ON COLUMN aggregated_balances.record_id IS 'Identifier of the record this row shows.';
COMMENT ON COLUMN aggregated_balances.source_topic IS 'Topic of the record this row shows.';
COMMENT ON COLUMN aggregated_balances.source_partition IS 'Partition of the record this row shows.';
COMMENT ON COLUMN aggregated_balances.source_offset IS 'Offset of the record this row shows.';
COMMENT ON COLUMN aggregated_balances.recorded_at IS 'When this row was last written.';
