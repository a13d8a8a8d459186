-- Payments that a bank or provider took back after they were collected.

-- +goose Up

CREATE TABLE reversals (
    tenant_id     bigint      NOT NULL,
    reversal_id   uuid        NOT NULL,
    contract      text        NOT NULL COLLATE "C",
    reference     text        NOT NULL COLLATE "C" CHECK (length(reference) BETWEEN 1 AND 64),
    charge_our_id text        NOT NULL COLLATE "C",
    charge_id     uuid,
    debt_id       uuid,
    amount        bigint      NOT NULL CHECK (amount > 0),
    fee           bigint      NOT NULL CHECK (fee >= 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    owed          bigint      NOT NULL DEFAULT 0 CHECK (owed >= 0),
    returned      bigint      NOT NULL DEFAULT 0 CHECK (returned >= 0),
    account_id    uuid,
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('waiting', 'open', 'won', 'lost')),
    reason        text        NOT NULL,
    source        text        NOT NULL COLLATE "C" CHECK (source IN ('bill', 'notice', 'person')),
    recorded_by   text        NOT NULL,
    recorded_at   timestamptz NOT NULL,
    applied_at    timestamptz,
    business_date date,
    closed_at     timestamptz,
    PRIMARY KEY (tenant_id, reversal_id),
    UNIQUE (tenant_id, contract, reference),
    CHECK (owed <= amount AND returned <= amount),
    CHECK ((state = 'waiting') = (applied_at IS NULL)),
    CHECK ((applied_at IS NULL) = (charge_id IS NULL) AND (applied_at IS NULL) = (account_id IS NULL) AND (applied_at IS NULL) = (business_date IS NULL)),
    CHECK ((debt_id IS NULL) = (owed = 0)),
    CHECK ((state IN ('won', 'lost')) = (closed_at IS NOT NULL))
);
COMMENT ON TABLE reversals IS 'Collected payments, or parts of them, that the provider of a contract took back. One that waits speaks of a payment that is not known to have succeeded yet. owed is what riders owe again by it, the rest was not theirs any more when it was taken.';
COMMENT ON COLUMN reversals.reference IS 'What the provider calls the reversal: the same again is the same.';
COMMENT ON COLUMN reversals.fee IS 'What the provider keeps for it, in minor units.';
COMMENT ON COLUMN reversals.returned IS 'What the provider gave back of it since.';
CREATE INDEX reversals_waiting ON reversals (tenant_id, charge_our_id) WHERE state = 'waiting';
CREATE INDEX reversals_charge ON reversals (tenant_id, charge_id) WHERE charge_id IS NOT NULL;
ALTER TABLE reversals ENABLE ROW LEVEL SECURITY;
ALTER TABLE reversals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON reversals USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (charge_id, debt_id, owed, returned, account_id, state, applied_at, business_date, closed_at) ON reversals TO citygate_app;
GRANT SELECT ON reversals TO citygate_auditor;

CREATE TABLE reversal_outcomes (
    tenant_id     bigint      NOT NULL,
    reversal_id   uuid        NOT NULL,
    reference     text        NOT NULL COLLATE "C" CHECK (length(reference) BETWEEN 1 AND 64),
    outcome_id    uuid        NOT NULL,
    outcome       text        NOT NULL COLLATE "C" CHECK (outcome IN ('won', 'lost')),
    amount        bigint      NOT NULL CHECK (amount >= 0),
    fee           bigint      NOT NULL,
    to_debt       bigint      NOT NULL DEFAULT 0 CHECK (to_debt >= 0),
    to_rider      bigint      NOT NULL DEFAULT 0 CHECK (to_rider >= 0),
    to_suspense   bigint      NOT NULL DEFAULT 0 CHECK (to_suspense >= 0),
    reason        text        NOT NULL,
    source        text        NOT NULL COLLATE "C" CHECK (source IN ('bill', 'notice', 'person')),
    recorded_by   text        NOT NULL,
    recorded_at   timestamptz NOT NULL,
    applied_at    timestamptz,
    business_date date,
    PRIMARY KEY (tenant_id, reversal_id, reference),
    CHECK (outcome = 'lost' OR amount > 0),
    CHECK ((applied_at IS NULL) = (business_date IS NULL)),
    CHECK (to_debt + to_rider + to_suspense = CASE WHEN outcome = 'won' AND applied_at IS NOT NULL THEN amount ELSE to_suspense END),
    FOREIGN KEY (tenant_id, reversal_id) REFERENCES reversals (tenant_id, reversal_id)
);
COMMENT ON TABLE reversal_outcomes IS 'What became of reversals that were disputed with the provider: won is money that came back (off the debt, to the rider who had paid it meanwhile, or off the suspense account), lost ends it. One that is not applied waits for a payment under way.';
CREATE INDEX reversal_outcomes_waiting ON reversal_outcomes (tenant_id, reversal_id) WHERE applied_at IS NULL;
ALTER TABLE reversal_outcomes ENABLE ROW LEVEL SECURITY;
ALTER TABLE reversal_outcomes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON reversal_outcomes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (to_debt, to_rider, to_suspense, applied_at, business_date) ON reversal_outcomes TO citygate_app;
GRANT SELECT ON reversal_outcomes TO citygate_auditor;

CREATE TABLE reversal_shares (
    tenant_id   bigint      NOT NULL,
    reversal_id uuid        NOT NULL,
    operator_id bigint      NOT NULL,
    journey_id  uuid        NOT NULL,
    part        int         NOT NULL,
    charge_id   uuid        NOT NULL,
    amount      bigint      NOT NULL CHECK (amount <> 0),
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, reversal_id, operator_id, journey_id, part),
    FOREIGN KEY (tenant_id, reversal_id) REFERENCES reversals (tenant_id, reversal_id)
);
COMMENT ON TABLE reversal_shares IS 'What of a reversal is whose fare; negative: came back.';
CREATE INDEX reversal_shares_charge ON reversal_shares (tenant_id, charge_id);
ALTER TABLE reversal_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE reversal_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON reversal_shares USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON reversal_shares TO citygate_app;
GRANT SELECT ON reversal_shares TO citygate_auditor;

ALTER TABLE debts
    ADD COLUMN reversal_id uuid,
    ADD COLUMN blocks boolean NOT NULL DEFAULT true;
COMMENT ON TABLE debts IS 'What riders owe after a declined charge, or after a payment was taken back; amount is what is still owed, of one that is written off what was given up and not paid since.';
COMMENT ON COLUMN debts.reversal_id IS 'The reversal that opened it; null: a charge was declined.';
COMMENT ON COLUMN debts.blocks IS 'Whether its rider is on the deny list while it is open, by the risk terms when it was opened.';

ALTER TABLE claim_lines
    DROP CONSTRAINT claim_lines_kind_check,
    DROP CONSTRAINT claim_lines_check1,
    ADD CONSTRAINT claim_lines_kind_check CHECK (kind IN ('fare', 'refund', 'debt', 'reversal')),
    ADD CONSTRAINT claim_lines_check1 CHECK (kind IN ('fare', 'reversal') OR delta < 0);
COMMENT ON TABLE claim_lines IS 'Every change of what is accepted, and the aggregation, refund or debt it went to. Lines of kind reversal move a fare between the aggregation that collected it and that of the debt which a reversal opened; together they are zero.';

-- +goose Down
-- Irreversible: what riders owe rests on it.
SELECT 1;
