-- What onboarding by a file and by the API needs: stops, names of provider
-- secrets, which file manages what, and the authorities an operator serves.

-- +goose Up

CREATE TABLE stops (
    tenant_id bigint NOT NULL,
    stop      text   COLLATE "C" NOT NULL CHECK (stop <> '' AND length(stop) <= 80),
    name      text   NOT NULL CHECK (name <> '' AND length(name) <= 200),
    area      text   COLLATE "C" NOT NULL CHECK (length(area) <= 80),
    PRIMARY KEY (tenant_id, stop)
);
COMMENT ON TABLE stops IS 'Stops and stations of an operator by the ids that taps and tariffs use; area groups them, or is empty.';
ALTER TABLE stops ENABLE ROW LEVEL SECURITY;
ALTER TABLE stops FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON stops USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (name, area) ON stops TO citygate_app;
GRANT SELECT ON stops TO citygate_auditor;

CREATE TABLE contract_secrets (
    tenant_id bigint      NOT NULL,
    contract  text        COLLATE "C" NOT NULL,
    name      text        COLLATE "C" NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'),
    version   int         NOT NULL CHECK (version > 0),
    set_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contract, name),
    CONSTRAINT contract_secrets_contract FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE contract_secrets IS 'Which secrets a provider contract has: their names and the secret store''s version. The values are in the secret store alone.';
ALTER TABLE contract_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE contract_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON contract_secrets USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (version, set_at) ON contract_secrets TO citygate_app;
GRANT SELECT ON contract_secrets TO citygate_auditor;

CREATE TABLE managed (
    tenant_id bigint      NOT NULL,
    kind      text        COLLATE "C" NOT NULL CHECK (kind <> ''),
    name      text        COLLATE "C" NOT NULL,
    file      text        NOT NULL CHECK (file <> ''),
    since     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
);
COMMENT ON TABLE managed IS 'What a file manages (citygate apply): the API refuses to change it.';
ALTER TABLE managed ENABLE ROW LEVEL SECURITY;
ALTER TABLE managed FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON managed USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (file, since) ON managed TO citygate_app;
GRANT SELECT ON managed TO citygate_auditor;

CREATE TABLE platform.memberships (
    tenant_id    bigint      NOT NULL REFERENCES platform.tenants (tenant_id),
    authority_id bigint      NOT NULL REFERENCES platform.tenants (tenant_id),
    since        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, authority_id),
    CONSTRAINT memberships_check CHECK (tenant_id <> authority_id)
);
COMMENT ON TABLE platform.memberships IS 'The authorities an operator serves besides the one that owns it.';
GRANT SELECT, INSERT, DELETE ON platform.memberships TO citygate_app;
GRANT SELECT ON platform.memberships TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
