-- Key lists of providers: what a contract's provider published of the keys of its own
-- codes, so that readers verify those offline. Keys are never deleted: that a key was
-- out of force once is how a list that was rolled back is known.

-- +goose Up

CREATE TABLE provider_keys (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    key_id bigint NOT NULL CHECK (key_id BETWEEN 0 AND 4294967295),
    since timestamptz NOT NULL,
    material bytea NOT NULL CHECK (length(material) BETWEEN 1 AND 2048),
    missed_at timestamptz,
    until timestamptz,
    PRIMARY KEY (tenant_id, contract, key_id, since),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE provider_keys IS 'Keys of a provider''s own codes as its list gave them, those in force and those that were.';
COMMENT ON COLUMN provider_keys.since IS 'When a list had it first.';
COMMENT ON COLUMN provider_keys.missed_at IS 'When the list came without it; one more such list later takes it out of force. None: it is on the newest list.';
COMMENT ON COLUMN provider_keys.until IS 'When it went out of force; none: it is in force.';
ALTER TABLE provider_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_keys
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (missed_at, until) ON provider_keys TO citygate_app;
GRANT SELECT ON provider_keys TO citygate_auditor;

ALTER TABLE provider_feeds DROP CONSTRAINT provider_feeds_feed_check;
ALTER TABLE provider_feeds ADD CONSTRAINT provider_feeds_feed_check CHECK (feed IN ('deny', 'keys'));
ALTER TABLE provider_feeds ADD COLUMN failed_at timestamptz;
ALTER TABLE provider_feeds ADD COLUMN error text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(error) <= 500);
ALTER TABLE provider_feeds ADD COLUMN carried boolean NOT NULL DEFAULT true;
ALTER TABLE provider_feeds ADD COLUMN let_through boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN provider_feeds.failed_at IS 'When the list last could not be read or was refused; none: never.';
COMMENT ON COLUMN provider_feeds.error IS 'Why, then; empty since the list was read again.';
COMMENT ON COLUMN provider_feeds.carried IS 'False while readers'' bundles do not have what the list changed.';
COMMENT ON COLUMN provider_feeds.let_through IS 'Somebody looked: the next list is taken as it is, also with keys that were out of force.';
GRANT UPDATE (failed_at, error, carried, let_through) ON provider_feeds TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
