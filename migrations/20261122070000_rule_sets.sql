-- Rule sets: the file a policy version was made of, from when it holds, and which
-- rule decided on a tap.

-- +goose Up

ALTER TABLE policies ADD COLUMN effective_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00';
ALTER TABLE policies ALTER COLUMN effective_at DROP DEFAULT;
COMMENT ON COLUMN policies.effective_at IS 'The event time from which the version holds. Of those that are not from later than a tap, the highest version decides on it.';

CREATE TABLE rule_sets (
    tenant_id    bigint      NOT NULL,
    version      bigint      NOT NULL,
    source       bytea       NOT NULL CHECK (octet_length(source) BETWEEN 1 AND 65536),
    hash         bytea       NOT NULL CHECK (octet_length(hash) = 32),
    restores     bigint      CHECK (restores < version),
    published_by text        NOT NULL,
    PRIMARY KEY (tenant_id, version),
    FOREIGN KEY (tenant_id, version) REFERENCES policies (tenant_id, version)
);
COMMENT ON TABLE rule_sets IS 'The file that a version of the policy was compiled from, as it was written. A version without a row was made by the gateway''s own code and has no rules beyond its fields.';
COMMENT ON COLUMN rule_sets.hash IS 'SHA-256 of what the file says in its canonical form.';
COMMENT ON COLUMN rule_sets.restores IS 'The earlier version whose file this is again.';
ALTER TABLE rule_sets ENABLE ROW LEVEL SECURITY;
ALTER TABLE rule_sets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rule_sets USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON rule_sets TO citygate_app;
GRANT SELECT ON rule_sets TO citygate_auditor;

ALTER TABLE taps ADD COLUMN rule text NOT NULL DEFAULT '' COLLATE "C";
ALTER TABLE taps ALTER COLUMN rule DROP DEFAULT;
COMMENT ON COLUMN taps.rule IS 'The rule of the policy version that decided beyond its fixed checks; empty = none did.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
