-- Products that riders buy: the catalogue, sales, and what of a price rides use up.

-- +goose Up

CREATE TABLE product_catalogues (
    tenant_id  bigint      NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    valid_from timestamptz NOT NULL,
    body       json        NOT NULL,
    digest     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version),
    UNIQUE (tenant_id, valid_from)
);
COMMENT ON TABLE product_catalogues IS 'Versions of what the tenant sells and gives. A sale goes by the version in force when it was asked for.';
ALTER TABLE product_catalogues ENABLE ROW LEVEL SECURITY;
ALTER TABLE product_catalogues FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON product_catalogues USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON product_catalogues TO citygate_app;
GRANT SELECT ON product_catalogues TO citygate_auditor;

ALTER TABLE fare_adjustments ADD COLUMN prepaid bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN fare_adjustments.prepaid IS 'Of a product that was bought: what of its price the ride used up, in minor units. The rule is the sale''s id.';
CREATE INDEX fare_adjustments_holding ON fare_adjustments (tenant_id, rule) WHERE kind IN ('product', 'stored_value');

GRANT UPDATE (body) ON fare_rights TO citygate_app;
COMMENT ON COLUMN fare_rights.body IS 'The holding as it was given: what the product said on that day. When the rest of a bought product is given back or ends, what may be used of it is lowered to what was used.';

-- +goose Down
-- Irreversible: what riders paid rests on it.
SELECT 1;
