-- When the lists of providers were last read, and when they are due again.

-- +goose Up

CREATE TABLE provider_feeds (
    tenant_id bigint      NOT NULL,
    contract  text        NOT NULL COLLATE "C",
    feed      text        NOT NULL COLLATE "C" CHECK (feed IN ('deny')),
    due_at    timestamptz NOT NULL,
    pulled_at timestamptz,
    items     int         CHECK (items >= 0),
    failures  int         NOT NULL CHECK (failures >= 0),
    PRIMARY KEY (tenant_id, contract, feed),
    CHECK ((pulled_at IS NULL) = (items IS NULL)),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE provider_feeds IS 'The lists of a provider that the tenant follows. Deny entries that come of one have the reason provider_list.';
COMMENT ON COLUMN provider_feeds.due_at IS 'When the list is read again.';
COMMENT ON COLUMN provider_feeds.pulled_at IS 'When it was last read whole; none: never.';
COMMENT ON COLUMN provider_feeds.items IS 'Riders on it then, of whom the tenant may know few.';
COMMENT ON COLUMN provider_feeds.failures IS 'Readings in a row that failed; nothing was changed by them.';
ALTER TABLE provider_feeds ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_feeds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_feeds USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (due_at, pulled_at, items, failures) ON provider_feeds TO citygate_app;
GRANT SELECT ON provider_feeds TO citygate_auditor;

-- +goose Down
-- Irreversible: who is refused, and why, is not forgotten.
SELECT 1;
