-- The hash chains over the audit logs, and the checkpoints that seal them.

-- +goose Up

-- One statement serves both logs: the platform is tenant 0.
ALTER TABLE platform.audit_log ADD COLUMN tenant_id bigint NOT NULL DEFAULT 0 CHECK (tenant_id = 0);
ALTER TABLE platform.audit_log ADD CONSTRAINT audit_log_chained CHECK (num_nulls(seq, prev_hash, hash) IN (0, 3));
CREATE UNIQUE INDEX audit_log_seq ON platform.audit_log (tenant_id, seq);
CREATE INDEX audit_log_waiting ON platform.audit_log (tenant_id, at, entry_id) WHERE seq IS NULL;
GRANT UPDATE (seq, prev_hash, hash) ON platform.audit_log TO citygate_app;
COMMENT ON TABLE platform.audit_log IS 'Who changed what outside any tenant. Rows are added, chained by seq, prev_hash and hash, and then never changed.';

ALTER TABLE audit_log ADD CONSTRAINT audit_log_chained CHECK (num_nulls(seq, prev_hash, hash) IN (0, 3));
CREATE UNIQUE INDEX audit_log_seq ON audit_log (tenant_id, seq);
CREATE INDEX audit_log_waiting ON audit_log (tenant_id, at, entry_id) WHERE seq IS NULL;
CREATE INDEX audit_log_object ON audit_log (tenant_id, object, entry_id);
CREATE INDEX audit_log_actor ON audit_log (tenant_id, actor, entry_id);
GRANT UPDATE (seq, prev_hash, hash) ON audit_log TO citygate_app;
COMMENT ON TABLE audit_log IS 'Who changed what in a tenant. Rows are added, chained by seq, prev_hash and hash, and then never changed.';

CREATE TABLE audit_heads (
    tenant_id bigint NOT NULL,
    seq       bigint NOT NULL CHECK (seq >= 0),
    hash      bytea  NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE audit_heads IS 'The last link of a tenant''s audit chain. Whoever adds links holds its row.';
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_heads USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (seq, hash) ON audit_heads TO citygate_app;
GRANT SELECT ON audit_heads TO citygate_auditor;

CREATE TABLE audit_checkpoints (
    tenant_id bigint      NOT NULL,
    n         bigint      NOT NULL CHECK (n > 0),
    seq       bigint      NOT NULL CHECK (seq > 0),
    root      bytea       NOT NULL CHECK (octet_length(root) = 32),
    prev_root bytea       NOT NULL CHECK (octet_length(prev_root) = 32),
    at        timestamptz NOT NULL,
    kid       smallint    NOT NULL CHECK (kid BETWEEN 1 AND 255),
    signature bytea       NOT NULL,
    PRIMARY KEY (tenant_id, n),
    CONSTRAINT audit_checkpoints_seq UNIQUE (tenant_id, seq)
);
COMMENT ON TABLE audit_checkpoints IS 'Signed seals over a tenant''s audit chain: root is the hash of row seq, and with it of every row before.';
ALTER TABLE audit_checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_checkpoints USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON audit_checkpoints TO citygate_app;
GRANT SELECT ON audit_checkpoints TO citygate_auditor;

CREATE TABLE platform.audit_heads (
    tenant_id bigint NOT NULL CHECK (tenant_id = 0),
    seq       bigint NOT NULL CHECK (seq >= 0),
    hash      bytea  NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE platform.audit_heads IS 'The last link of the platform''s audit chain.';
GRANT SELECT, INSERT, UPDATE (seq, hash) ON platform.audit_heads TO citygate_app;
GRANT SELECT ON platform.audit_heads TO citygate_auditor;

CREATE TABLE platform.audit_checkpoints (
    tenant_id bigint      NOT NULL CHECK (tenant_id = 0),
    n         bigint      NOT NULL CHECK (n > 0),
    seq       bigint      NOT NULL CHECK (seq > 0),
    root      bytea       NOT NULL CHECK (octet_length(root) = 32),
    prev_root bytea       NOT NULL CHECK (octet_length(prev_root) = 32),
    at        timestamptz NOT NULL,
    kid       smallint    NOT NULL CHECK (kid BETWEEN 1 AND 255),
    signature bytea       NOT NULL,
    PRIMARY KEY (tenant_id, n),
    CONSTRAINT audit_checkpoints_seq UNIQUE (tenant_id, seq)
);
COMMENT ON TABLE platform.audit_checkpoints IS 'Signed seals over the platform''s audit chain, by the platform''s audit key.';
GRANT SELECT, INSERT ON platform.audit_checkpoints TO citygate_app;
GRANT SELECT ON platform.audit_checkpoints TO citygate_auditor;

-- The platform's log has a key of its own: a root signs bundles alone, maybe offline, and a token key tokens alone.
ALTER TABLE platform.platform_keys DROP CONSTRAINT platform_keys_purpose_check;
ALTER TABLE platform.platform_keys ADD CONSTRAINT platform_keys_purpose_check CHECK (purpose IN ('root', 'token', 'audit'));
COMMENT ON TABLE platform.platform_keys IS 'Public keys of the platform (tenant 0 to a signer): roots that sign bundles, keys that sign access tokens, keys that seal the audit log.';

-- +goose Down
-- Irreversible: seals are evidence.
SELECT 1;
