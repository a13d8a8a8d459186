-- Indices of credentials come from a block of their issue day, in a secret order.

-- +goose Up

CREATE TABLE credential_blocks (
    tenant_id bigint      NOT NULL,
    list      int         NOT NULL,
    first     bigint      NOT NULL CHECK (first BETWEEN 0 AND 4294967295),
    size      bigint      NOT NULL CHECK (size > 0 AND first + size <= 4294967295),
    day       int         NOT NULL CHECK (day >= 0),
    taken     bigint      NOT NULL CHECK (taken BETWEEN 0 AND size),
    order_key bytea       NOT NULL CHECK (octet_length(order_key) = 32),
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, list, first),
    CONSTRAINT credential_blocks_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists (tenant_id, list)
);
COMMENT ON TABLE credential_blocks IS 'Ranges of a list''s indices, one or more a day of issue (days since 1970, UTC), without a gap. The n-th credential of a block has the index first + p(n), p being the permutation order_key names: whoever reads this table reads the order in credentials.created_at too, and who collects codes reads it nowhere.';
ALTER TABLE credential_blocks ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential_blocks FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credential_blocks USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (taken) ON credential_blocks TO citygate_app;
GRANT SELECT ON credential_blocks TO citygate_auditor;
COMMENT ON TABLE credential_lists IS 'Status lists: issued is the number of credentials, expires_at when the last one has run out, read_issued the number when the deny list was last looked at.';
ALTER TABLE credential_lists ADD COLUMN read_issued bigint NOT NULL DEFAULT -1;
GRANT UPDATE (read_issued) ON credential_lists TO citygate_app;

-- +goose Down
-- Irreversible: these are records of what riders hold.
SELECT 1;
