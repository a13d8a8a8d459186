-- What riders hold beside money: products given to them, and proofs of category.

-- +goose Up

CREATE TABLE fare_rights (
    tenant_id   bigint      NOT NULL,
    right_id    uuid        NOT NULL,
    issuer      int         NOT NULL,
    list        int         NOT NULL,
    idx         bigint      NOT NULL,
    kind        text        NOT NULL COLLATE "C" CHECK (kind IN ('holding', 'proof')),
    name        text        NOT NULL COLLATE "C",
    body        json        NOT NULL,
    evidence    text        NOT NULL,
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz,
    granted_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, right_id),
    CONSTRAINT fare_rights_times CHECK (valid_until IS NULL OR valid_until >= valid_from)
);
COMMENT ON TABLE fare_rights IS 'Products that riders hold and categories they have proved. A ride goes by the rights that hold at the event time of its first tap; what rides have used up of a holding follows from the rides.';
COMMENT ON COLUMN fare_rights.name IS 'The product, or the category.';
COMMENT ON COLUMN fare_rights.body IS 'The holding as it was given: what the product said on that day.';
COMMENT ON COLUMN fare_rights.evidence IS 'What was shown for it: a reference of the tenant''s own, not a document.';
CREATE INDEX fare_rights_rider ON fare_rights (tenant_id, issuer, list, idx);
ALTER TABLE fare_rights ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_rights FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_rights USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (valid_until) ON fare_rights TO citygate_app;
GRANT SELECT ON fare_rights TO citygate_auditor;

-- +goose Down
-- Irreversible: what riders paid rests on it.
SELECT 1;
