-- Root sets, bundles that wait for offline roots, and since when a terminal
-- acknowledged which bundle.

-- +goose Up

-- Bundles signed under the former format cannot be read any more. They are
-- dropped, and numbers begin again: publish each operator's policy once to give
-- its terminals a new one. What terminals acknowledged is forgotten with them.
TRUNCATE bundles;
DELETE FROM platform.platform_keys WHERE purpose = 'root';
ALTER TABLE terminals NO FORCE ROW LEVEL SECURITY;
UPDATE terminals SET bundle_floor = 0;
ALTER TABLE terminals FORCE ROW LEVEL SECURITY;

CREATE TABLE platform.root_sets (
    version     bigint      NOT NULL PRIMARY KEY CHECK (version > 0),
    body        bytea       NOT NULL,
    recorded_at timestamptz NOT NULL
);
COMMENT ON TABLE platform.root_sets IS 'Who signs bundles, one signed root set (TR1) a row, verbatim: each signed by a threshold of the set before and of its own. Private keys are never here.';
GRANT SELECT, INSERT ON platform.root_sets TO citygate_app;
GRANT SELECT ON platform.root_sets TO citygate_auditor;

CREATE TABLE bundle_drafts (
    tenant_id   bigint      NOT NULL PRIMARY KEY,
    version     bigint      NOT NULL CHECK (version > 0),
    body        bytea       NOT NULL,
    prepared_at timestamptz NOT NULL
);
COMMENT ON TABLE bundle_drafts IS 'The next bundle of an operator while too few roots have signed it: the payload, or the signatures that are there. Not in force.';
ALTER TABLE bundle_drafts ENABLE ROW LEVEL SECURITY;
ALTER TABLE bundle_drafts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bundle_drafts
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (version, body, prepared_at), DELETE ON bundle_drafts TO citygate_app;
GRANT SELECT ON bundle_drafts TO citygate_auditor;

ALTER TABLE terminals ADD COLUMN floor_seq bigint;
ALTER TABLE terminals ADD COLUMN floor_at timestamptz;
ALTER TABLE terminals ADD COLUMN seen_at timestamptz;
COMMENT ON COLUMN terminals.bundle_floor IS 'The highest bundle that a tap named. A later tap that names a lower one shows a terminal set back to an old copy of its memory.';
COMMENT ON COLUMN terminals.floor_seq IS 'Number of the first tap known that named bundle_floor.';
COMMENT ON COLUMN terminals.floor_at IS 'Event time of that tap.';
COMMENT ON COLUMN terminals.seen_at IS 'Last upload, to within ten minutes.';
GRANT UPDATE (floor_seq, floor_at, seen_at) ON terminals TO citygate_app;

-- +goose Down
-- Irreversible: the root sets are what terminals trust.
