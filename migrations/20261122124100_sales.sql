-- Sales of products: who bought what, what became of the money, and when it ends.

-- +goose Up

COMMENT ON COLUMN charges.aggregation_id IS 'What is collected; of a purchase the sale.';

CREATE TABLE product_sales (
    tenant_id  bigint      NOT NULL,
    sale_id    uuid        NOT NULL,
    issuer     int         NOT NULL,
    list       int         NOT NULL,
    idx        bigint      NOT NULL,
    order_key  text        NOT NULL COLLATE "C" CHECK (length(order_key) BETWEEN 1 AND 64),
    account_id uuid        NOT NULL,
    product    text        NOT NULL COLLATE "C",
    catalogue  bigint      NOT NULL,
    offer      json        NOT NULL,
    price      bigint      NOT NULL CHECK (price >= 0),
    currency   text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    contract   text        NOT NULL COLLATE "C",
    sold_by    text        NOT NULL COLLATE "C" CHECK (sold_by IN ('rider', 'operator')),
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('asked', 'paid', 'held', 'declined', 'refunding', 'refunded', 'closed')),
    asked_at   timestamptz NOT NULL,
    paid_at    timestamptz,
    held_at    timestamptz,
    ended_at   timestamptz,
    closes_at  timestamptz,
    refund     bigint      NOT NULL CHECK (refund BETWEEN 0 AND price),
    left_over  bigint      NOT NULL CHECK (left_over BETWEEN 0 AND price),
    closed_on  date,
    CHECK ((state = 'closed') = (closed_on IS NOT NULL)),
    PRIMARY KEY (tenant_id, sale_id),
    UNIQUE (tenant_id, issuer, list, idx, order_key)
);
COMMENT ON TABLE product_sales IS 'Products that riders bought. The charge and the right have the sale''s id; the right is there from the state held on.';
COMMENT ON COLUMN product_sales.order_key IS 'The buyer''s own name for the order: asked for again under it, nothing is bought twice.';
COMMENT ON COLUMN product_sales.offer IS 'The product as the catalogue said it then.';
COMMENT ON COLUMN product_sales.refund IS 'What goes back, or went back, through the provider, in minor units.';
COMMENT ON COLUMN product_sales.left_over IS 'What was left when it ended and is the seller''s.';
CREATE INDEX product_sales_paid ON product_sales (tenant_id, sale_id) WHERE state = 'paid';
CREATE INDEX product_sales_closing ON product_sales (tenant_id, closes_at) WHERE state = 'held' AND closes_at IS NOT NULL;
ALTER TABLE product_sales ENABLE ROW LEVEL SECURITY;
ALTER TABLE product_sales FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON product_sales USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, paid_at, held_at, ended_at, closes_at, refund, left_over, closed_on) ON product_sales TO citygate_app;
GRANT SELECT ON product_sales TO citygate_auditor;

-- +goose Down
-- Irreversible: what riders paid rests on it.
SELECT 1;
