-- What payers paid in their own currency where the provider tells with the payment.

-- +goose Up

CREATE TABLE payment_exchanges (
    tenant_id     bigint      NOT NULL,
    our_id        text        NOT NULL COLLATE "C" CHECK (length(our_id) BETWEEN 1 AND 64),
    paid          bigint      NOT NULL CHECK (paid > 0),
    paid_currency text        NOT NULL COLLATE "C" CHECK (paid_currency ~ '^[A-Z]{3}$'),
    pair          text        NOT NULL COLLATE "C" CHECK (length(pair) <= 16),
    price         text        NOT NULL COLLATE "C" CHECK (length(price) <= 40),
    told_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, our_id)
);
COMMENT ON TABLE payment_exchanges IS 'What payers paid in a currency other than the charge''s, as the provider told with the payment. Payments that were quoted have what was agreed on in payment_quotes.';
COMMENT ON COLUMN payment_exchanges.our_id IS 'Of the charge.';
COMMENT ON COLUMN payment_exchanges.paid IS 'Minor units of the payer''s currency.';
COMMENT ON COLUMN payment_exchanges.price IS 'Decimal text: units of the pair''s second currency for one of the first; empty, as the pair is, where the provider names no rate.';
ALTER TABLE payment_exchanges ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_exchanges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payment_exchanges USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON payment_exchanges TO citygate_app;
GRANT SELECT ON payment_exchanges TO citygate_auditor;
