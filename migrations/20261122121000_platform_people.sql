-- People of the platform itself: members, where they sign in, API keys, what needs
-- two of them, and the answers to their requests. The tables are twins of those of
-- tenants, so that the same statements serve both; tenant_id is 0.

-- +goose Up

CREATE TABLE platform.access_issuers (
    tenant_id  bigint      NOT NULL CHECK (tenant_id = 0),
    name       text        NOT NULL CHECK (name ~ '^[a-z][a-z0-9-]{0,30}$'),
    url        text        NOT NULL CHECK (url <> ''),
    client_id  text        NOT NULL CHECK (client_id <> ''),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, name),
    CONSTRAINT access_issuers_url UNIQUE (tenant_id, url)
);
COMMENT ON TABLE platform.access_issuers IS 'OpenID Connect issuers whose people may sign in to the platform. The URL never changes under a name: members are of that issuer.';
GRANT SELECT, INSERT, DELETE, UPDATE (client_id) ON platform.access_issuers TO citygate_app;
GRANT SELECT ON platform.access_issuers TO citygate_auditor;

CREATE TABLE platform.access_members (
    tenant_id  bigint      NOT NULL CHECK (tenant_id = 0),
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
COMMENT ON TABLE platform.access_members IS 'People of the platform and their roles. An empty issuer has no sign-in: its people are given tokens by command. external is what the issuer calls the person.';
GRANT SELECT, INSERT, DELETE, UPDATE (name, roles, changed_at) ON platform.access_members TO citygate_app;
GRANT SELECT ON platform.access_members TO citygate_auditor;

CREATE TABLE platform.access_keys (
    tenant_id    bigint      NOT NULL CHECK (tenant_id = 0),
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
COMMENT ON TABLE platform.access_keys IS 'API keys of the platform: SHA-256 of 32 random bytes. A key does what its scopes name of what its owner may do at that moment, and nothing when the owner is no member any more.';
GRANT SELECT, INSERT, UPDATE (last_used_at, revoked_at) ON platform.access_keys TO citygate_app;
GRANT SELECT ON platform.access_keys TO citygate_auditor;

CREATE TABLE platform.access_settings (
    tenant_id  bigint      NOT NULL CHECK (tenant_id = 0),
    two_person text[]      NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE platform.access_settings IS 'Which operations of the platform need a second person. Without a row: all of them while it has two administrators or more.';
GRANT SELECT, INSERT, UPDATE (two_person, changed_at) ON platform.access_settings TO citygate_app;
GRANT SELECT ON platform.access_settings TO citygate_auditor;

CREATE TABLE platform.access_proposals (
    tenant_id    bigint      NOT NULL CHECK (tenant_id = 0),
    proposal_id  uuid        NOT NULL,
    kind         text        NOT NULL CHECK (kind <> ''),
    operation    text        NOT NULL CHECK (operation <> ''),
    method       text        NOT NULL CHECK (method <> ''),
    path         text        NOT NULL CHECK (path <> ''),
    body         bytea       NOT NULL,
    content_hash bytea       NOT NULL CHECK (octet_length(content_hash) = 32),
    proposer     text        NOT NULL CHECK (proposer <> ''),
    person       text        NOT NULL CHECK (person <> ''),
    state        text        NOT NULL CHECK (state IN ('open', 'approved', 'executed', 'refused', 'withdrawn', 'void', 'expired')),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    second       text,
    decided_at   timestamptz,
    tried_at     timestamptz,
    ended_at     timestamptz,
    status       int,
    holder       uuid,
    done         text[]      NOT NULL,
    PRIMARY KEY (tenant_id, proposal_id),
    CHECK (state IN ('open', 'withdrawn', 'expired', 'void') OR second IS NOT NULL),
    CHECK (second IS NULL OR second <> person)
);
COMMENT ON TABLE platform.access_proposals IS 'Requests to the platform that wait for a second person, or had one: as access_proposals.';
CREATE INDEX access_proposals_approved ON platform.access_proposals (tenant_id, decided_at) WHERE state = 'approved';
GRANT SELECT, INSERT, UPDATE (state, second, decided_at, tried_at, ended_at, status, holder, done) ON platform.access_proposals TO citygate_app;
GRANT SELECT ON platform.access_proposals TO citygate_auditor;

CREATE TABLE platform.idempotency_keys (
    tenant_id    bigint      NOT NULL CHECK (tenant_id = 0),
    route        text        NOT NULL CHECK (route <> ''),
    key          text        NOT NULL CHECK (key <> ''),
    request_hash bytea       NOT NULL CHECK (octet_length(request_hash) = 32),
    state        text        NOT NULL CHECK (state IN ('running', 'done')),
    holder       uuid        NOT NULL,
    status       int,
    content_type text,
    body         bytea,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, route, key)
);
COMMENT ON TABLE platform.idempotency_keys IS 'Answers to unsafe requests that are about no tenant, kept so that the same request again gets the same answer.';
CREATE INDEX idempotency_keys_age ON platform.idempotency_keys (tenant_id, created_at);
GRANT SELECT, INSERT, DELETE, UPDATE (state, status, content_type, body) ON platform.idempotency_keys TO citygate_app;
GRANT SELECT ON platform.idempotency_keys TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
