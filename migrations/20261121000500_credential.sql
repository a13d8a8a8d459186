-- The issuer's riders: accounts, the credentials they were given, and who is denied.

-- +goose Up

CREATE TABLE accounts (
    tenant_id  bigint      NOT NULL,
    account_id uuid        NOT NULL,
    contract   text        NOT NULL COLLATE "C" CHECK (contract <> ''),
    rider_ref  text        NOT NULL COLLATE "C" CHECK (rider_ref <> '' AND length(rider_ref) <= 200),
    category   text        NOT NULL COLLATE "C" CHECK (length(category) <= 40),
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('active', 'closed')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id),
    CONSTRAINT accounts_rider UNIQUE (tenant_id, contract, rider_ref)
);
COMMENT ON TABLE accounts IS 'Who pays: rider_ref is the provider''s name for the payer under the contract. Nothing else about a person is kept.';
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON accounts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (category, state) ON accounts TO citygate_app;
GRANT SELECT ON accounts TO citygate_auditor;

CREATE TABLE credential_lists (
    tenant_id  bigint      NOT NULL,
    list       int         NOT NULL CHECK (list BETWEEN 0 AND 65535),
    issued     bigint      NOT NULL CHECK (issued BETWEEN 0 AND 4294967295),
    expires_at timestamptz NOT NULL,
    opened_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, list)
);
COMMENT ON TABLE credential_lists IS 'Status lists: issued is the next free index, expires_at when the last credential of the list has run out.';
ALTER TABLE credential_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credential_lists USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (issued, expires_at) ON credential_lists TO citygate_app;
GRANT SELECT ON credential_lists TO citygate_auditor;

CREATE TABLE credentials (
    tenant_id  bigint      NOT NULL,
    list       int         NOT NULL,
    idx        bigint      NOT NULL CHECK (idx BETWEEN 0 AND 4294967294),
    issuer     int         NOT NULL CHECK (issuer BETWEEN 1 AND 65535),
    account_id uuid        NOT NULL,
    kid        smallint    NOT NULL CHECK (kid BETWEEN 1 AND 255),
    suite      smallint    NOT NULL CHECK (suite BETWEEN 0 AND 7),
    medium     smallint    NOT NULL CHECK (medium BETWEEN 0 AND 3),
    device_key bytea       NOT NULL CHECK (octet_length(device_key) BETWEEN 32 AND 33),
    issued_at  timestamptz NOT NULL,
    ttl_hours  int         NOT NULL CHECK (ttl_hours BETWEEN 1 AND 65535),
    product    int         NOT NULL CHECK (product BETWEEN 0 AND 65535),
    cap        int         NOT NULL CHECK (cap BETWEEN 0 AND 65535),
    taps       smallint    NOT NULL CHECK (taps BETWEEN 0 AND 255),
    win        smallint    NOT NULL CHECK (win BETWEEN 1 AND 255),
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('reserved', 'issued')),
    part_a     bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT credentials_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id),
    CONSTRAINT credentials_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists (tenant_id, list),
    CHECK ((state = 'issued') = (part_a IS NOT NULL))
);
COMMENT ON TABLE credentials IS 'Every credential ever signed, as (list, idx) on codes; part_a is the credential as the device holds it. A reserved one was never handed out.';
CREATE INDEX credentials_of_account ON credentials (tenant_id, account_id);
ALTER TABLE credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credentials USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
-- What was issued is never changed or taken back: it is denied.
GRANT SELECT, INSERT, UPDATE (state, part_a) ON credentials TO citygate_app;
GRANT SELECT ON credentials TO citygate_auditor;

CREATE TABLE deny_entries (
    tenant_id  bigint      NOT NULL,
    entry_id   uuid        NOT NULL,
    account_id uuid,
    list       int,
    idx        bigint,
    reason     text        NOT NULL COLLATE "C" CHECK (reason ~ '^[a-z][a-z_]{0,39}$'),
    actor      text        NOT NULL CHECK (actor <> ''),
    since      timestamptz NOT NULL,
    lifted_at  timestamptz,
    lifted_by  text        CHECK (lifted_by <> ''),
    PRIMARY KEY (tenant_id, entry_id),
    CONSTRAINT deny_entries_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id),
    CONSTRAINT deny_entries_credential FOREIGN KEY (tenant_id, list, idx) REFERENCES credentials (tenant_id, list, idx),
    CHECK ((account_id IS NULL) = (list IS NOT NULL) AND (list IS NULL) = (idx IS NULL)),
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL) AND lifted_at >= since)
);
COMMENT ON TABLE deny_entries IS 'Who must be refused, and why: an account with all its credentials, or one credential. A lifted entry stays as history.';
CREATE UNIQUE INDEX deny_entries_open_account ON deny_entries (tenant_id, account_id, reason) WHERE lifted_at IS NULL AND account_id IS NOT NULL;
CREATE UNIQUE INDEX deny_entries_open_credential ON deny_entries (tenant_id, list, idx, reason) WHERE lifted_at IS NULL AND list IS NOT NULL;
ALTER TABLE deny_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_entries USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (lifted_at, lifted_by) ON deny_entries TO citygate_app;
GRANT SELECT ON deny_entries TO citygate_auditor;

CREATE TABLE deny_snapshots (
    tenant_id   bigint      NOT NULL,
    list        int         NOT NULL,
    seq         bigint      NOT NULL CHECK (seq BETWEEN 1 AND 4294967295),
    issued      bigint      NOT NULL CHECK (issued BETWEEN 0 AND 4294967295),
    denied      int         NOT NULL CHECK (denied >= 0),
    set_hash    bytea       NOT NULL CHECK (octet_length(set_hash) = 32),
    kid         smallint    NOT NULL CHECK (kid BETWEEN 1 AND 255),
    built_at    timestamptz NOT NULL,
    valid_until timestamptz NOT NULL CHECK (valid_until > built_at),
    body        bytea       NOT NULL,
    sha256      bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (tenant_id, list, seq),
    CONSTRAINT deny_snapshots_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists (tenant_id, list)
);
COMMENT ON TABLE deny_snapshots IS 'Signed deny lists as validators fetch them. The highest seq of a list is the one to use; the others are evidence of what validators knew.';
ALTER TABLE deny_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_snapshots USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON deny_snapshots TO citygate_app;
GRANT SELECT ON deny_snapshots TO citygate_auditor;

-- +goose Down
-- Irreversible: these are records of what riders hold.
SELECT 1;
