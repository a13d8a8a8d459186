-- What fares that depend on a rider's other rides keep, and who bears discounts.

-- +goose Up

CREATE TABLE fare_states (
    tenant_id  bigint NOT NULL,
    journey_id uuid   NOT NULL,
    state      json   NOT NULL,
    PRIMARY KEY (tenant_id, journey_id)
);
COMMENT ON TABLE fare_states IS 'What a journey leaves behind for the rider''s next one: periods of caps, the chain of transfers. A late tap begins again after the journey before it. Rebuildable from the taps; erased with the journey''s rider.';
COMMENT ON COLUMN fare_states.state IS 'The state of package fare after this journey, in event order.';
ALTER TABLE fare_states ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_states FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_states USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state), DELETE ON fare_states TO citygate_app;
GRANT SELECT ON fare_states TO citygate_auditor;

CREATE TABLE fare_adjustments (
    tenant_id  bigint  NOT NULL,
    journey_id uuid    NOT NULL,
    n          int     NOT NULL CHECK (n > 0),
    line       int     NOT NULL CHECK (line > 0),
    kind       text    NOT NULL COLLATE "C",
    rule       text    NOT NULL COLLATE "C",
    amount     bigint  NOT NULL,
    funder     text    NOT NULL COLLATE "C",
    applied    boolean NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, n, line),
    FOREIGN KEY (tenant_id, journey_id, n) REFERENCES fare_decisions (tenant_id, journey_id, n)
);
COMMENT ON TABLE fare_adjustments IS 'The lines between the nominal price of a decision and what is paid, in order. Append-only.';
COMMENT ON COLUMN fare_adjustments.amount IS 'What the line takes off, in minor units of the decision''s currency; one that adds is negative.';
COMMENT ON COLUMN fare_adjustments.funder IS 'Who bears it beside the operator (city, programme or provider, a colon and a name); empty is the operator.';
COMMENT ON COLUMN fare_adjustments.applied IS 'False of a cap or transfer that was possible when another was better.';
ALTER TABLE fare_adjustments ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_adjustments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_adjustments USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON fare_adjustments TO citygate_app;
GRANT SELECT ON fare_adjustments TO citygate_auditor;

-- +goose Down
-- Irreversible: decisions about money are not taken away.
SELECT 1;
