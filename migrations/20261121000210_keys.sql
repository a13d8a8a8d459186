-- The key ring: which public keys were announced to verifiers, and their state.
-- Private keys are never here.

-- +goose Up

CREATE TABLE tenant_keys (
    tenant_id        bigint      NOT NULL,
    purpose          text        NOT NULL CHECK (purpose ~ '^[a-z][a-z0-9-]{0,39}$'),
    kid              smallint    NOT NULL CHECK (kid BETWEEN 1 AND 255),
    version          int         NOT NULL CHECK (version > 0),
    algorithm        text        NOT NULL CHECK (algorithm IN ('ed25519', 'ecdsa-p256', 'rsa-2048')),
    public_key       bytea       NOT NULL CHECK (octet_length(public_key) > 0),
    state            text        NOT NULL CHECK (state IN ('published', 'active', 'retiring', 'revoked')),
    not_before       timestamptz NOT NULL,
    expires          timestamptz NOT NULL CHECK (expires > not_before),
    not_issued_after timestamptz,
    published_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, purpose, kid),
    CONSTRAINT tenant_keys_version UNIQUE (tenant_id, purpose, version)
);
COMMENT ON TABLE tenant_keys IS 'Public keys of a tenant by purpose. kid is the byte on a code, version the signer''s number; one key per purpose is active.';
CREATE UNIQUE INDEX tenant_keys_active ON tenant_keys (tenant_id, purpose) WHERE state = 'active';
ALTER TABLE tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenant_keys
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
-- What was announced is never unsaid: only the state moves.
GRANT SELECT, INSERT, UPDATE (state, not_issued_after) ON tenant_keys TO citygate_app;
GRANT SELECT ON tenant_keys TO citygate_auditor;

CREATE TABLE platform.platform_keys (
    tenant_id        bigint      NOT NULL CHECK (tenant_id = 0),
    purpose          text        NOT NULL CHECK (purpose IN ('root', 'token')),
    kid              smallint    NOT NULL CHECK (kid BETWEEN 1 AND 255),
    version          int         NOT NULL CHECK (version > 0),
    algorithm        text        NOT NULL CHECK (algorithm IN ('ed25519', 'ecdsa-p256')),
    public_key       bytea       NOT NULL CHECK (octet_length(public_key) > 0),
    state            text        NOT NULL CHECK (state IN ('published', 'active', 'retiring', 'revoked')),
    not_before       timestamptz NOT NULL,
    expires          timestamptz NOT NULL CHECK (expires > not_before),
    not_issued_after timestamptz,
    published_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, purpose, kid),
    CONSTRAINT platform_keys_version UNIQUE (tenant_id, purpose, version)
);
COMMENT ON TABLE platform.platform_keys IS 'Public keys of the platform (tenant 0 to a signer): roots that sign bundles, keys that sign access tokens.';
CREATE UNIQUE INDEX platform_keys_active ON platform.platform_keys (tenant_id, purpose) WHERE state = 'active';
GRANT SELECT, INSERT, UPDATE (state, not_issued_after) ON platform.platform_keys TO citygate_app;
GRANT SELECT ON platform.platform_keys TO citygate_auditor;

-- +goose Down
-- Irreversible: the ring says what verifiers were told.
