-- Flags of taps that cannot be one person's, as rows.

-- +goose Up

CREATE TABLE risk_flags (
    tenant_id  bigint      NOT NULL,
    flag_id    uuid        NOT NULL,
    kind       text        NOT NULL COLLATE "C" CHECK (kind IN ('clone', 'impossible_travel', 'velocity')),
    name       text        NOT NULL COLLATE "C",
    issuer     integer     NOT NULL,
    list       integer     NOT NULL,
    idx        bigint      NOT NULL,
    terminals  bigint[]    NOT NULL,
    seqs       bigint[]    NOT NULL CHECK (cardinality(seqs) = cardinality(terminals) AND cardinality(seqs) >= 2),
    at         timestamptz NOT NULL,
    found_at   timestamptz NOT NULL,
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'acknowledged', 'closed')),
    blocks     boolean     NOT NULL,
    reason     text        NOT NULL CHECK (length(reason) <= 500),
    changed_by text        NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, flag_id),
    CHECK (state <> 'closed' OR reason <> '')
);
COMMENT ON TABLE risk_flags IS 'Taps that cannot be one person''s, with the taps. A flag blocks nobody unless the tenant''s risk terms say so (blocks). name is the natural key: kind and the taps it was found by.';
CREATE UNIQUE INDEX risk_flags_name ON risk_flags (tenant_id, name);
CREATE INDEX risk_flags_rider ON risk_flags (tenant_id, issuer, list, idx);
CREATE INDEX risk_flags_at ON risk_flags (tenant_id, at);
CREATE INDEX risk_flags_open ON risk_flags (tenant_id, flag_id) WHERE state <> 'closed';
ALTER TABLE risk_flags ENABLE ROW LEVEL SECURITY;
ALTER TABLE risk_flags FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON risk_flags USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (terminals, seqs, at, state, blocks, reason, changed_by, changed_at) ON risk_flags TO citygate_app;
GRANT SELECT ON risk_flags TO citygate_auditor;

CREATE TABLE risk_scans (
    tenant_id   bigint      NOT NULL,
    received_at timestamptz NOT NULL,
    scanned_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE risk_scans IS 'Up to which receipt a tenant''s taps were looked at for flags. Looking again finds the same.';
ALTER TABLE risk_scans ENABLE ROW LEVEL SECURITY;
ALTER TABLE risk_scans FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON risk_scans USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (received_at, scanned_at) ON risk_scans TO citygate_app;
GRANT SELECT ON risk_scans TO citygate_auditor;

CREATE INDEX tap_batches_received ON tap_batches (tenant_id, received_at, terminal, first_seq);

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
