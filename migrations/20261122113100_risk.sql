-- Terms about money that does not come, and which codes riders have proven
-- themselves with.

-- +goose Up

CREATE TABLE risk_terms (
    tenant_id  bigint      NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    valid_from timestamptz NOT NULL,
    body       json        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE risk_terms IS 'Every version of the tenant''s terms about money that does not come: limits of charges by contract, retries, and who bears late, expired and denied records. Versions never change.';
CREATE UNIQUE INDEX risk_terms_valid_from ON risk_terms (tenant_id, valid_from);
ALTER TABLE risk_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE risk_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON risk_terms USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON risk_terms TO citygate_app;
GRANT SELECT ON risk_terms TO citygate_auditor;

CREATE TABLE rider_proofs (
    tenant_id bigint      NOT NULL,
    code      bytea       NOT NULL CHECK (length(code) = 32),
    shown_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, code)
);
COMMENT ON TABLE rider_proofs IS 'Digests of codes that riders asked about their trips with: each proves its rider once. Rows older than a code lives are removed.';
CREATE INDEX rider_proofs_shown_at ON rider_proofs (tenant_id, shown_at);
ALTER TABLE rider_proofs ENABLE ROW LEVEL SECURITY;
ALTER TABLE rider_proofs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rider_proofs USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON rider_proofs TO citygate_app;
GRANT SELECT ON rider_proofs TO citygate_auditor;

-- +goose Down
-- Irreversible: decisions about money are not taken away.
SELECT 1;
