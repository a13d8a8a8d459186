-- The highest sum of a rider's day that roaming terms name.

-- +goose Up

CREATE TABLE roaming_days (
    tenant_id     bigint NOT NULL,
    operator_id   bigint NOT NULL,
    account_id    uuid   NOT NULL,
    business_date date   NOT NULL,
    currency      text   NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    amount        bigint NOT NULL,
    PRIMARY KEY (tenant_id, operator_id, account_id, business_date, currency)
);
COMMENT ON TABLE roaming_days IS 'What was accepted of the fares of operators of other trees, by account and business date: what terms with a highest sum per day are held to. It follows from claims.';
ALTER TABLE roaming_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE roaming_days FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON roaming_days USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (amount) ON roaming_days TO citygate_app;
GRANT SELECT ON roaming_days TO citygate_auditor;

ALTER TABLE claims ADD COLUMN beyond bigint NOT NULL DEFAULT 0 CHECK (beyond >= 0);
COMMENT ON COLUMN claims.beyond IS 'How much of the fare goes beyond the highest sum of the rider''s day in the roaming terms, and is the operator''s risk for that.';
GRANT UPDATE (beyond) ON claims TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
