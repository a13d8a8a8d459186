-- Who may do what in a tenant: people, their API keys and where they sign in;
-- proposals that need two persons; pairing codes of terminals.

-- +goose Up

CREATE TABLE platform.access_versions (
    tenant_id bigint NOT NULL CHECK (tenant_id >= 0),
    version   bigint NOT NULL CHECK (version > 0),
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE platform.access_versions IS 'Counts the changes of a tenant''s people, roles, keys and issuers, in the transaction of the change. Every instance looks here once a second. 0 is the platform; no row is version 0.';
GRANT SELECT, INSERT, UPDATE (version) ON platform.access_versions TO citygate_app;
GRANT SELECT ON platform.access_versions TO citygate_auditor;

CREATE TABLE platform.access_revocations (
    subject    text        NOT NULL,
    before     timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (subject)
);
COMMENT ON TABLE platform.access_revocations IS 'Access tokens of the platform that count no more: those of a subject, or of everybody (no subject), issued until then.';
GRANT SELECT, INSERT, DELETE, UPDATE (before, expires_at) ON platform.access_revocations TO citygate_app;
GRANT SELECT ON platform.access_revocations TO citygate_auditor;

CREATE TABLE access_revocations (
    tenant_id  bigint      NOT NULL,
    subject    text        NOT NULL,
    before     timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject)
);
COMMENT ON TABLE access_revocations IS 'Access tokens that count no more: those of a subject, or of everybody (no subject), issued until then. A row may go when every such token has expired.';
ALTER TABLE access_revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_revocations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_revocations USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (before, expires_at) ON access_revocations TO citygate_app;
GRANT SELECT ON access_revocations TO citygate_auditor;

CREATE TABLE access_issuers (
    tenant_id  bigint      NOT NULL,
    name       text        NOT NULL CHECK (name ~ '^[a-z][a-z0-9-]{0,30}$'),
    url        text        NOT NULL CHECK (url <> ''),
    client_id  text        NOT NULL CHECK (client_id <> ''),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, name),
    CONSTRAINT access_issuers_url UNIQUE (tenant_id, url)
);
COMMENT ON TABLE access_issuers IS 'OpenID Connect issuers whose people may sign in to the tenant. The URL never changes under a name: members are of that issuer.';
ALTER TABLE access_issuers ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_issuers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_issuers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (client_id) ON access_issuers TO citygate_app;
GRANT SELECT ON access_issuers TO citygate_auditor;

CREATE TABLE access_members (
    tenant_id  bigint      NOT NULL,
    subject    text        NOT NULL CHECK (subject <> ''),
    issuer     text        NOT NULL,
    external   text        NOT NULL CHECK (external <> ''),
    name       text        NOT NULL,
    roles      text[]      NOT NULL,
    added_by   text        NOT NULL CHECK (added_by <> ''),
    added_at   timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject),
    CONSTRAINT access_members_person UNIQUE (tenant_id, issuer, external)
);
COMMENT ON TABLE access_members IS 'People of a tenant and their roles. An empty issuer has no sign-in: its people are given tokens by command. external is what the issuer calls the person.';
ALTER TABLE access_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_members FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_members USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (name, roles, changed_at) ON access_members TO citygate_app;
GRANT SELECT ON access_members TO citygate_auditor;

CREATE TABLE access_grants (
    tenant_id   bigint      NOT NULL,
    role        text        NOT NULL CHECK (role ~ '^[a-z][a-z0-9_]{1,39}$'),
    permissions text[]      NOT NULL,
    changed_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, role)
);
COMMENT ON TABLE access_grants IS 'Roles of the tenants own making: permissions in the tenant itself.';
ALTER TABLE access_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_grants USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (permissions, changed_at) ON access_grants TO citygate_app;
GRANT SELECT ON access_grants TO citygate_auditor;

CREATE TABLE access_keys (
    tenant_id    bigint      NOT NULL,
    key_id       uuid        NOT NULL,
    name         text        NOT NULL CHECK (name <> ''),
    owner        text        NOT NULL CHECK (owner <> ''),
    scopes       text[]      NOT NULL,
    hash         bytea       NOT NULL CHECK (octet_length(hash) = 32),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    PRIMARY KEY (tenant_id, key_id)
);
COMMENT ON TABLE access_keys IS 'API keys: SHA-256 of 32 random bytes. A key does what its scopes name of what its owner may do at that moment, and nothing when the owner is no member any more. last_used_at is right to five minutes.';
ALTER TABLE access_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_keys USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (last_used_at, revoked_at) ON access_keys TO citygate_app;
GRANT SELECT ON access_keys TO citygate_auditor;

CREATE TABLE access_settings (
    tenant_id  bigint      NOT NULL,
    two_person text[]      NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE access_settings IS 'Which operations need a second person. Without a row: all of them where the tenant is live, none in a sandbox.';
ALTER TABLE access_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_settings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_settings USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (two_person, changed_at) ON access_settings TO citygate_app;
GRANT SELECT ON access_settings TO citygate_auditor;

CREATE TABLE access_proposals (
    tenant_id    bigint      NOT NULL,
    proposal_id  uuid        NOT NULL,
    kind         text        NOT NULL CHECK (kind <> ''),
    operation    text        NOT NULL CHECK (operation <> ''),
    method       text        NOT NULL CHECK (method <> ''),
    path         text        NOT NULL CHECK (path <> ''),
    body         bytea       NOT NULL,
    content_hash bytea       NOT NULL CHECK (octet_length(content_hash) = 32),
    proposer     text        NOT NULL CHECK (proposer <> ''),
    person       text        NOT NULL CHECK (person <> ''),
    credential   jsonb       NOT NULL,
    state        text        NOT NULL CHECK (state IN ('open', 'approved', 'executed', 'refused', 'rejected', 'void', 'expired')),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    second       text,
    decided_at   timestamptz,
    tried_at     timestamptz,
    ended_at     timestamptz,
    status       int,
    answer       text,
    PRIMARY KEY (tenant_id, proposal_id),
    CHECK (state IN ('open', 'expired', 'void') OR second IS NOT NULL),
    CHECK (second IS NULL OR second <> person)
);
COMMENT ON TABLE access_proposals IS 'Requests that wait for a second person, or had one. person is the human behind the proposer: of an API key its owner. What is approved is exactly method, path and body: content_hash.';
CREATE INDEX access_proposals_approved ON access_proposals (tenant_id, decided_at) WHERE state = 'approved';
ALTER TABLE access_proposals ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_proposals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_proposals USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, second, decided_at, tried_at, ended_at, status, answer) ON access_proposals TO citygate_app;
GRANT SELECT ON access_proposals TO citygate_auditor;

CREATE TABLE access_pairings (
    tenant_id   bigint      NOT NULL,
    code_hash   bytea       NOT NULL CHECK (octet_length(code_hash) = 32),
    terminal    jsonb       NOT NULL,
    created_by  text        NOT NULL CHECK (created_by <> ''),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    terminal_id bigint,
    PRIMARY KEY (tenant_id, code_hash),
    CHECK ((used_at IS NULL) = (terminal_id IS NULL))
);
COMMENT ON TABLE access_pairings IS 'Pairing codes of terminals, hashed: each enrols one terminal, within ten minutes.';
CREATE INDEX access_pairings_expiry ON access_pairings (tenant_id, expires_at);
ALTER TABLE access_pairings ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_pairings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_pairings USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (used_at, terminal_id) ON access_pairings TO citygate_app;
GRANT SELECT ON access_pairings TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
