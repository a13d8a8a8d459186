-- Which deny lists terminals used, and how old they were.

-- +goose Up

CREATE TABLE terminal_lists (
    tenant_id   bigint      NOT NULL,
    terminal_id bigint      NOT NULL,
    issuer      int         NOT NULL CHECK (issuer BETWEEN 1 AND 65535),
    list        int         NOT NULL CHECK (list BETWEEN 0 AND 65535),
    seq         bigint      NOT NULL CHECK (seq BETWEEN 1 AND 4294967295),
    proven_at   timestamptz NOT NULL,
    used_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal_id, issuer, list),
    CONSTRAINT terminal_lists_terminal FOREIGN KEY (tenant_id, terminal_id) REFERENCES terminals (tenant_id, terminal_id)
);
COMMENT ON TABLE terminal_lists IS 'The deny list a terminal last decided by, as its taps say: used_at is the tap, proven_at when that list was last known to be the newest.';
ALTER TABLE terminal_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminal_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminal_lists
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (seq, proven_at, used_at), DELETE ON terminal_lists TO citygate_app;
GRANT SELECT ON terminal_lists TO citygate_auditor;

-- +goose Down
-- Irreversible: what terminals reported is evidence.
SELECT 1;
