-- When a tenant's settlement windows close and are paid.

-- +goose Up

CREATE TABLE settlement_terms (
    tenant_id     bigint      NOT NULL,
    version       int         NOT NULL CHECK (version > 0),
    from_date     date        NOT NULL,
    close_minutes int         NOT NULL CHECK (close_minutes BETWEEN 0 AND 10080),
    pay_minutes   int         NOT NULL CHECK (pay_minutes BETWEEN 0 AND 44640),
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version),
    CONSTRAINT settlement_terms_order CHECK (close_minutes <= pay_minutes)
);
COMMENT ON TABLE settlement_terms IS 'Immutable versions of how long after its business date a window closes and is paid, in minutes. The highest version that is not from later than the date holds; without any it is 2 and 32 hours.';
ALTER TABLE settlement_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON settlement_terms USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON settlement_terms TO citygate_app;
GRANT SELECT ON settlement_terms TO citygate_auditor;

ALTER TABLE windows ADD COLUMN terms_version int NOT NULL DEFAULT 0 CHECK (terms_version >= 0);
ALTER TABLE windows ALTER COLUMN terms_version DROP DEFAULT;
COMMENT ON COLUMN windows.terms_version IS 'The settlement terms its instants follow from; 0 = those of a tenant that has set none.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
