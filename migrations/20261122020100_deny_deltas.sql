-- Deny lists by delta, heartbeats, and how long an entry takes to be published.

-- +goose Up

ALTER TABLE deny_entries ADD COLUMN announced_at timestamptz;
ALTER TABLE deny_entries ADD COLUMN lift_announced_at timestamptz;
COMMENT ON TABLE deny_entries IS 'Who must be refused, and why: an account with all its credentials, or one credential. A lifted entry stays as history. announced_at and lift_announced_at say when a published list first knew.';
CREATE INDEX deny_entries_pending ON deny_entries (tenant_id, entry_id) WHERE announced_at IS NULL OR (lifted_at IS NOT NULL AND lift_announced_at IS NULL);
CREATE INDEX deny_entries_announced ON deny_entries (tenant_id, announced_at);
GRANT UPDATE (announced_at, lift_announced_at) ON deny_entries TO citygate_app;

-- Of all but the last publications only the record stays: the entries give the set again.
ALTER TABLE deny_snapshots ALTER COLUMN body DROP NOT NULL;
COMMENT ON TABLE deny_snapshots IS 'Signed deny lists as validators fetch them. The highest seq of a list is the one to use; the others are evidence of what validators knew, and those long replaced have lost their body.';
GRANT UPDATE (body) ON deny_snapshots TO citygate_app;

CREATE TABLE deny_changes (
    tenant_id bigint NOT NULL,
    list      int    NOT NULL,
    idx       bigint NOT NULL,
    seq       bigint NOT NULL CHECK (seq BETWEEN 1 AND 4294967295),
    PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT deny_changes_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists (tenant_id, list)
);
COMMENT ON TABLE deny_changes IS 'The publication in which an index last came onto or left a deny list. Deltas are made of it; it is a cache that the snapshots could give again.';
CREATE INDEX deny_changes_seq ON deny_changes (tenant_id, list, seq);
ALTER TABLE deny_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_changes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (seq), DELETE ON deny_changes TO citygate_app;
GRANT SELECT ON deny_changes TO citygate_auditor;

CREATE TABLE deny_deltas (
    tenant_id bigint NOT NULL,
    list      int    NOT NULL,
    to_seq    bigint NOT NULL CHECK (to_seq BETWEEN 1 AND 4294967295),
    from_seq  bigint NOT NULL CHECK (from_seq BETWEEN 0 AND to_seq - 1),
    body      bytea  NOT NULL,
    sha256    bytea  NOT NULL CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (tenant_id, list, to_seq, from_seq),
    CONSTRAINT deny_deltas_snapshot FOREIGN KEY (tenant_id, list, to_seq) REFERENCES deny_snapshots (tenant_id, list, seq)
);
COMMENT ON TABLE deny_deltas IS 'Signed deltas of deny lists as validators fetch them: each leads from every publication from from_seq on to to_seq. Old ones are removed.';
ALTER TABLE deny_deltas ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_deltas FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_deltas USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON deny_deltas TO citygate_app;
GRANT SELECT ON deny_deltas TO citygate_auditor;

CREATE TABLE deny_heartbeats (
    tenant_id   bigint      NOT NULL,
    at          timestamptz NOT NULL,
    valid_until timestamptz NOT NULL CHECK (valid_until > at),
    body        bytea       NOT NULL,
    sha256      bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (tenant_id, at)
);
COMMENT ON TABLE deny_heartbeats IS 'Signed heartbeats: which lists an issuer has and that there was nothing newer at that time. Only the last ones are kept.';
ALTER TABLE deny_heartbeats ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_heartbeats FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_heartbeats USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON deny_heartbeats TO citygate_app;
GRANT SELECT ON deny_heartbeats TO citygate_auditor;

-- +goose Down
-- Irreversible: announced_at is evidence.
SELECT 1;
