-- Routing: which contract collects a payment and why, under what name a payer is
-- known at further contracts, and which providers do not answer.

-- +goose Up

ALTER TABLE charges DROP CONSTRAINT charges_state_check;
ALTER TABLE charges ADD CONSTRAINT charges_state_check CHECK (state IN ('created', 'sent', 'unknown', 'succeeded', 'declined', 'moved'));
ALTER TABLE charges ADD CONSTRAINT charges_moved_check CHECK (state <> 'moved' OR NOT ever_unknown);
ALTER TABLE charges ADD COLUMN route_version bigint NOT NULL DEFAULT 0 CHECK (route_version >= 0);
ALTER TABLE charges ADD COLUMN route_rule text NOT NULL DEFAULT '' COLLATE "C";
ALTER TABLE charges ADD COLUMN route_finding text NOT NULL DEFAULT '';
ALTER TABLE charges ALTER COLUMN route_version DROP DEFAULT;
ALTER TABLE charges ALTER COLUMN route_rule DROP DEFAULT;
ALTER TABLE charges ALTER COLUMN route_finding DROP DEFAULT;
COMMENT ON COLUMN charges.state IS 'moved: it was certainly never sent, and the next attempt of the aggregation goes to another contract.';
COMMENT ON COLUMN charges.route_version IS 'The rule set that chose the contract; 0 = the tenant has none for the time of the rides.';
COMMENT ON COLUMN charges.route_rule IS 'Its rule that did; empty = none, and the contract is the payer''s own.';
COMMENT ON COLUMN charges.route_finding IS 'Why rules that matched were not followed to the letter.';

CREATE TABLE account_payers (
    tenant_id  bigint      NOT NULL,
    account_id uuid        NOT NULL,
    contract   text        NOT NULL COLLATE "C",
    rider_ref  text        NOT NULL COLLATE "C" CHECK (rider_ref <> '' AND length(rider_ref) <= 200),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id, contract),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE account_payers IS 'Further contracts that a payer has agreed to be charged under, beside the account''s own, and the name the provider has for him there.';
ALTER TABLE account_payers ENABLE ROW LEVEL SECURITY;
ALTER TABLE account_payers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON account_payers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON account_payers TO citygate_app;
GRANT SELECT ON account_payers TO citygate_auditor;

CREATE TABLE provider_breakers (
    tenant_id  bigint      NOT NULL,
    contract   text        NOT NULL COLLATE "C",
    failures   integer     NOT NULL CHECK (failures >= 0),
    opened_at  timestamptz,
    probe_at   timestamptz,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contract),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract),
    CHECK ((opened_at IS NULL) = (probe_at IS NULL))
);
COMMENT ON TABLE provider_breakers IS 'Contracts whose provider did not answer lately; one without a row always did.';
COMMENT ON COLUMN provider_breakers.failures IS 'Calls in a row that the provider did not answer.';
COMMENT ON COLUMN provider_breakers.opened_at IS 'Since when routing takes it to be down; none: it is up.';
COMMENT ON COLUMN provider_breakers.probe_at IS 'From when on one payment is routed to it again, to try.';
ALTER TABLE provider_breakers ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_breakers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_breakers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (failures, opened_at, probe_at, changed_at) ON provider_breakers TO citygate_app;
GRANT SELECT ON provider_breakers TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
