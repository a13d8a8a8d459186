-- Who bears what a rider owes of a fare, and by which rule.

-- +goose Up

CREATE TABLE debt_bearers (
    tenant_id      bigint      NOT NULL,
    aggregation_id uuid        NOT NULL,
    operator_id    bigint      NOT NULL,
    journey_id     uuid        NOT NULL,
    owed           bigint      NOT NULL CHECK (owed > 0),
    issuer_bears   bigint      NOT NULL CHECK (issuer_bears BETWEEN 0 AND owed),
    basis          text        NOT NULL CHECK (basis IN ('rule', 'terms', 'default')),
    rules_version  bigint      NOT NULL CHECK (rules_version >= 0),
    rule           text        NOT NULL,
    finding        text        NOT NULL,
    decided_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, aggregation_id, operator_id, journey_id)
);
COMMENT ON TABLE debt_bearers IS 'Of each fare of another operator that a declined charge left owed: how much of it the issuer bears, which is not passed back to the operator; the operator bears the rest. basis: a liability rule of the issuer''s rule set at the ride''s time, terms between two cities, or neither.';
ALTER TABLE debt_bearers ENABLE ROW LEVEL SECURITY;
ALTER TABLE debt_bearers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON debt_bearers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (owed, issuer_bears, basis, rules_version, rule, finding, decided_at) ON debt_bearers TO citygate_app;
GRANT SELECT ON debt_bearers TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
