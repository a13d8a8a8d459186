-- A tenant's rule sets.

-- +goose Up

CREATE TABLE policies (
    tenant_id    bigint      NOT NULL,
    version      bigint      NOT NULL CHECK (version > 0),
    body         bytea       NOT NULL,
    published_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE policies IS 'Acceptance rules, one immutable version a row, in the canonical form terminals carry.';
ALTER TABLE policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE policies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON policies
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON policies TO citygate_app;
GRANT SELECT ON policies TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
