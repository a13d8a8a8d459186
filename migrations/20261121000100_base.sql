-- The platform's directory, the audit log and the idempotency keys.

-- +goose Up

CREATE SCHEMA platform;
COMMENT ON SCHEMA platform IS 'What no single tenant owns: the directory of tenants and the log of who changed it. No row-level security.';
GRANT USAGE ON SCHEMA platform TO citygate_app, citygate_auditor;

CREATE TABLE platform.tenants (
    tenant_id        bigint      NOT NULL CHECK (tenant_id > 0),
    slug             text        NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
    name             text        NOT NULL CHECK (name <> ''),
    kind             text        NOT NULL CHECK (kind <> ''),
    parent_id        bigint      REFERENCES platform.tenants (tenant_id) CHECK (parent_id <> tenant_id),
    mode             text        NOT NULL CHECK (mode IN ('sandbox', 'live')),
    issuer           int         UNIQUE CHECK (issuer BETWEEN 1 AND 65535),
    currency         text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    time_zone        text        NOT NULL CHECK (time_zone <> ''),
    cut_minutes      int         NOT NULL CHECK (cut_minutes BETWEEN 0 AND 1439),
    calendar_version int         NOT NULL CHECK (calendar_version > 0),
    cap_unit         bigint      NOT NULL CHECK (cap_unit >= 0),
    state            text        NOT NULL CHECK (state IN ('draft', 'active', 'suspended', 'closed')),
    created_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE platform.tenants IS 'Every tenant there is or was. Numbers are never reused; mode, slug and issuer number never change.';
-- The number, the slug, the mode, the issuer number and the currency are the
-- tenant's identity: no grant lets the gateway change them.
GRANT SELECT, INSERT, UPDATE (name, kind, parent_id, time_zone, cut_minutes, calendar_version, cap_unit, state)
    ON platform.tenants TO citygate_app;
GRANT SELECT ON platform.tenants TO citygate_auditor;

CREATE TABLE platform.audit_log (
    entry_id  uuid        NOT NULL,
    actor     text        NOT NULL CHECK (actor <> ''),
    verb      text        NOT NULL CHECK (verb <> ''),
    object    text        NOT NULL,
    before    jsonb,
    after     jsonb,
    at        timestamptz NOT NULL,
    seq       bigint,
    prev_hash bytea,
    hash      bytea,
    PRIMARY KEY (entry_id)
);
COMMENT ON TABLE platform.audit_log IS 'Who changed what outside any tenant. Append-only; seq and the hashes are the sealer''s.';
CREATE INDEX audit_log_at ON platform.audit_log (at, entry_id);
GRANT SELECT, INSERT ON platform.audit_log TO citygate_app;
GRANT SELECT ON platform.audit_log TO citygate_auditor;

CREATE TABLE audit_log (
    tenant_id bigint      NOT NULL,
    entry_id  uuid        NOT NULL,
    actor     text        NOT NULL CHECK (actor <> ''),
    verb      text        NOT NULL CHECK (verb <> ''),
    object    text        NOT NULL,
    before    jsonb,
    after     jsonb,
    at        timestamptz NOT NULL,
    seq       bigint,
    prev_hash bytea,
    hash      bytea,
    PRIMARY KEY (tenant_id, entry_id)
);
COMMENT ON TABLE audit_log IS 'Who changed what in a tenant. Append-only; seq and the hashes are the sealer''s, whose migration grants them.';
CREATE INDEX audit_log_at ON audit_log (tenant_id, at, entry_id);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_log
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON audit_log TO citygate_app;
GRANT SELECT ON audit_log TO citygate_auditor;

CREATE TABLE idempotency_keys (
    tenant_id    bigint      NOT NULL,
    key          text        NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    route        text        NOT NULL,
    request_hash bytea       NOT NULL,
    state        text        NOT NULL CHECK (state IN ('running', 'done')),
    status       int,
    body         bytea,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key),
    CHECK ((state = 'done') = (status IS NOT NULL))
);
COMMENT ON TABLE idempotency_keys IS 'Answers to unsafe requests, kept so that the same request again gets the same answer. A cache: natural keys keep money single for ever.';
CREATE INDEX idempotency_keys_age ON idempotency_keys (tenant_id, created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_keys
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (state, status, body) ON idempotency_keys TO citygate_app;
GRANT SELECT ON idempotency_keys TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
