-- How long a tenant keeps taps and rider detail, and what erasing takes: after it
-- no row joins a rider's token to a tap, and every amount stays.

-- +goose Up

CREATE TABLE retention (
    tenant_id     bigint      NOT NULL,
    keep_days     int         NOT NULL CHECK (keep_days BETWEEN 120 AND 3660),
    automatic     boolean     NOT NULL,
    erased_before timestamptz,
    taps          bigint      NOT NULL CHECK (taps >= 0),
    journeys      bigint      NOT NULL CHECK (journeys >= 0),
    changed_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE retention IS 'How long taps and rider detail are kept, and how far they are erased: everything with an event time before erased_before, but what open work held back. Without a row: 120 days, erased by command only.';
COMMENT ON COLUMN retention.automatic IS 'Erased by the work that is due; else by command only.';
COMMENT ON COLUMN retention.taps IS 'Taps erased so far.';
COMMENT ON COLUMN retention.journeys IS 'Journeys whose taps, rider and explanation were erased so far; their fares stay.';
ALTER TABLE retention ENABLE ROW LEVEL SECURITY;
ALTER TABLE retention FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON retention USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (keep_days, automatic, erased_before, taps, journeys, changed_at) ON retention TO citygate_app;
GRANT SELECT ON retention TO citygate_auditor;

-- Rows of several tenants share a month's partition, so rows go and no partition.
GRANT DELETE ON taps, tap_evidence, tap_seen, tap_uses, tap_verdicts, tap_conflicts, foreign_taps, code_use, code_conflicts, foreign_codes TO citygate_app;
GRANT UPDATE (issuer, list, idx) ON journeys TO citygate_app;
GRANT UPDATE (taps, explanation, inputs_hash) ON fare_decisions TO citygate_app;
GRANT UPDATE (list, idx) ON claims TO citygate_app;
GRANT UPDATE (body) ON outbox TO citygate_app;
COMMENT ON COLUMN journeys.issuer IS '0: the rider and the taps are erased.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
