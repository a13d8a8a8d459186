-- What others than the operator bear of a debt is paid to the operator, and debts are
-- written off.

-- +goose Up

ALTER TABLE debt_bearers
    ADD COLUMN provider_bears bigint NOT NULL DEFAULT 0 CHECK (provider_bears >= 0),
    ADD COLUMN platform_bears bigint NOT NULL DEFAULT 0 CHECK (platform_bears >= 0),
    ADD COLUMN pay_days int NOT NULL DEFAULT 30 CHECK (pay_days BETWEEN 0 AND 366),
    ADD CONSTRAINT debt_bearers_parts CHECK (issuer_bears + provider_bears + platform_bears <= owed);
COMMENT ON TABLE debt_bearers IS 'Of each fare that a declined charge left owed: how much of it issuer, provider and platform bear, which is not passed back to the operator and is paid to it pay_days after the decline; the operator bears the rest. basis: a liability rule of the issuer''s rule set at the ride''s time, terms between two cities, or neither.';
GRANT UPDATE (provider_bears, platform_bears, pay_days) ON debt_bearers TO citygate_app;

ALTER TABLE advices
    DROP CONSTRAINT advices_kind_check,
    ADD CONSTRAINT advices_kind_check CHECK (kind IN ('fee', 'uncollected', 'recovered', 'cleared', 'borne', 'provider_claim', 'platform_claim', 'own_fee'));
COMMENT ON TABLE advices IS 'What was passed back to operators, item by item; each was sent once. provider_claim, platform_claim and own_fee stay in the own book and are sent to nobody.';

ALTER TABLE debts
    DROP CONSTRAINT debts_state_check,
    DROP CONSTRAINT debts_check,
    ADD COLUMN bear_at timestamptz,
    ADD COLUMN repaid_at timestamptz,
    ADD CONSTRAINT debts_state_check CHECK (state IN ('open', 'recovered', 'corrected', 'written_off')),
    ADD CONSTRAINT debts_check CHECK (CASE state WHEN 'open' THEN amount > 0 WHEN 'written_off' THEN true ELSE amount = 0 END),
    ADD CONSTRAINT debts_repaid CHECK (repaid_at IS NULL OR state = 'written_off' AND amount = 0);
COMMENT ON TABLE debts IS 'What riders owe after a declined charge; amount is what is still owed, of one that is written off what was given up and not paid since.';
COMMENT ON COLUMN debts.bear_at IS 'When others than the operator pay it what they bear; null: there is nothing to pay, or it is paid.';
COMMENT ON COLUMN debts.repaid_at IS 'When the rider paid a debt that had been written off.';
CREATE INDEX debts_bear ON debts (tenant_id, bear_at) WHERE bear_at IS NOT NULL;
GRANT UPDATE (bear_at, repaid_at) ON debts TO citygate_app;
-- What was borne before this was never paid: it is due by the usual period now.
UPDATE debts d SET bear_at = d.opened_at + interval '30 days' WHERE d.state = 'open' AND EXISTS (
    SELECT FROM debt_bearers b WHERE b.tenant_id = d.tenant_id AND b.aggregation_id = d.aggregation_id AND b.issuer_bears > 0);

ALTER TABLE aggregations
    DROP CONSTRAINT aggregations_state_check,
    ADD CONSTRAINT aggregations_state_check CHECK (state IN ('open', 'charging', 'settled', 'in_debt', 'recovered', 'corrected', 'written_off', 'closed_zero'));

CREATE TABLE debt_write_offs (
    tenant_id      bigint      NOT NULL,
    aggregation_id uuid        NOT NULL,
    operator_id    bigint      NOT NULL,
    journey_id     uuid        NOT NULL,
    bearer         text        NOT NULL COLLATE "C" CHECK (bearer IN ('operator', 'issuer', 'provider', 'platform', 'recovered')),
    part           int         NOT NULL,
    account_id     uuid        NOT NULL,
    amount         bigint      NOT NULL CHECK (amount <> 0),
    contract       text        NOT NULL COLLATE "C",
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date  date        NOT NULL,
    at             timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, aggregation_id, operator_id, journey_id, bearer, part)
);
COMMENT ON TABLE debt_write_offs IS 'What of a debt was written off to whom that bears it, as differences: negative when a fare is corrected or paid after all. recovered is the issuer''s income from debts that it had written off.';
ALTER TABLE debt_write_offs ENABLE ROW LEVEL SECURITY;
ALTER TABLE debt_write_offs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON debt_write_offs USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON debt_write_offs TO citygate_app;
GRANT SELECT ON debt_write_offs TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
