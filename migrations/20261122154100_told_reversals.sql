-- Reversals and outcomes as providers tell of them: without their fee, and outcomes before
-- what they are of.

-- +goose Up

ALTER TABLE reversals
    ADD COLUMN fee_unsaid boolean NOT NULL DEFAULT false,
    ADD COLUMN fee_at timestamptz,
    ADD COLUMN fee_on date,
    ADD CONSTRAINT reversals_fee_said CHECK ((fee_at IS NULL) = (fee_on IS NULL) AND (NOT fee_unsaid OR fee = 0 AND fee_at IS NULL));
COMMENT ON COLUMN reversals.fee_unsaid IS 'Nobody has said yet what the provider keeps for it.';
COMMENT ON COLUMN reversals.fee_at IS 'When the fee was said, if that was after it was booked.';
GRANT UPDATE (fee, fee_unsaid, fee_at, fee_on) ON reversals TO citygate_app;

ALTER TABLE reversal_outcomes
    ADD COLUMN fee_unsaid boolean NOT NULL DEFAULT false,
    ADD COLUMN fee_at timestamptz,
    ADD COLUMN fee_on date,
    ADD CONSTRAINT reversal_outcomes_fee_said CHECK ((fee_at IS NULL) = (fee_on IS NULL) AND (NOT fee_unsaid OR fee = 0 AND fee_at IS NULL));
COMMENT ON COLUMN reversal_outcomes.fee_unsaid IS 'As of reversals.';
COMMENT ON COLUMN reversal_outcomes.fee_at IS 'As of reversals.';
GRANT UPDATE (fee, fee_unsaid, fee_at, fee_on) ON reversal_outcomes TO citygate_app;

CREATE TABLE early_outcomes (
    tenant_id     bigint      NOT NULL,
    contract      text        NOT NULL COLLATE "C",
    of_reference  text        NOT NULL COLLATE "C" CHECK (length(of_reference) BETWEEN 1 AND 64),
    reference     text        NOT NULL COLLATE "C" CHECK (length(reference) BETWEEN 1 AND 64),
    charge_our_id text        NOT NULL COLLATE "C",
    outcome       text        NOT NULL COLLATE "C" CHECK (outcome IN ('won', 'lost')),
    amount        bigint      NOT NULL CHECK (amount >= 0),
    currency      text        NOT NULL COLLATE "C",
    fee           bigint      NOT NULL,
    fee_unsaid    boolean     NOT NULL,
    reason        text        NOT NULL,
    provider_id   text        NOT NULL COLLATE "C",
    digest        bytea       NOT NULL,
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('waiting', 'applied', 'refused')),
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contract, of_reference, reference),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE early_outcomes IS 'Outcomes of disputes that a provider told before anybody told of the reversal they are of. They wait for it, and are recorded with it, once.';
COMMENT ON COLUMN early_outcomes.digest IS 'With provider_id: the notice that told it, which says what became of it.';
CREATE INDEX early_outcomes_waiting ON early_outcomes (tenant_id, contract, of_reference) WHERE state = 'waiting';
ALTER TABLE early_outcomes ENABLE ROW LEVEL SECURITY;
ALTER TABLE early_outcomes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON early_outcomes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state) ON early_outcomes TO citygate_app;
GRANT SELECT ON early_outcomes TO citygate_auditor;

ALTER TABLE provider_notices DROP CONSTRAINT provider_notices_verdict_check;
ALTER TABLE provider_notices ADD CONSTRAINT provider_notices_verdict_check CHECK (verdict IN ('applied', 'known', 'asked', 'noted', 'held', 'waiting', 'unknown_order', 'mismatch', 'contradiction'));
COMMENT ON COLUMN provider_notices.verdict IS 'What was done about it. unknown_order, mismatch and contradiction changed nothing and are open until somebody has looked; held came for a tenant that is closed; waiting tells the outcome of what nobody has told yet.';
GRANT UPDATE (verdict, detail) ON provider_notices TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
