-- What payers pay in their own currency, by which rate, and what bills say of it.

-- +goose Up

CREATE TABLE payment_quotes (
    tenant_id      bigint      NOT NULL,
    our_id         text        NOT NULL COLLATE "C" CHECK (length(our_id) BETWEEN 1 AND 64),
    n              int         NOT NULL CHECK (n > 0),
    charge_our_id  text        NOT NULL COLLATE "C",
    asked          bigint      NOT NULL CHECK (asked > 0),
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    pays           bigint      NOT NULL CHECK (pays >= 0),
    pays_currency  text        NOT NULL COLLATE "C" CHECK (pays_currency ~ '^[A-Z]{3}$'),
    quote_id       text        NOT NULL COLLATE "C",
    pair           text        NOT NULL COLLATE "C",
    price          text        NOT NULL COLLATE "C" CHECK (price ~ '^[0-9]+(\.[0-9]+)?$'),
    valid_from     timestamptz,
    valid_until    timestamptz,
    guaranteed     boolean     NOT NULL,
    made_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, our_id, n),
    CHECK (currency <> pays_currency)
);
CREATE INDEX payment_quotes_charge ON payment_quotes (tenant_id, charge_our_id);
COMMENT ON TABLE payment_quotes IS 'Rates that providers offered for charges, and what of them goes back with refunds. The highest n of a payment holds; there is a further one only while the payment was certainly not performed.';
COMMENT ON COLUMN payment_quotes.our_id IS 'Of the charge or of the refund.';
COMMENT ON COLUMN payment_quotes.charge_our_id IS 'Of the charge; of a refund the one it gives back of.';
COMMENT ON COLUMN payment_quotes.asked IS 'Minor units in the charge''s currency.';
COMMENT ON COLUMN payment_quotes.pays IS 'Minor units in the payer''s currency; of a refund what he gets back, at the rate of his payment.';
COMMENT ON COLUMN payment_quotes.price IS 'Decimal text as the provider wrote it: units of the pair''s second currency for one of the first.';
ALTER TABLE payment_quotes ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_quotes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payment_quotes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON payment_quotes TO citygate_app;
GRANT SELECT ON payment_quotes TO citygate_auditor;

CREATE TABLE bill_exchanges (
    tenant_id        bigint  NOT NULL,
    contract         text    NOT NULL COLLATE "C",
    day              date    NOT NULL,
    line_no          int     NOT NULL,
    our_id           text    NOT NULL COLLATE "C",
    paid             bigint  NOT NULL,
    paid_currency    text    NOT NULL COLLATE "C",
    settled          bigint  NOT NULL,
    settled_currency text    NOT NULL COLLATE "C",
    pair             text    NOT NULL COLLATE "C",
    price            text    NOT NULL COLLATE "C",
    PRIMARY KEY (tenant_id, contract, day, line_no),
    FOREIGN KEY (tenant_id, contract, day, line_no) REFERENCES external_lines (tenant_id, contract, day, line_no)
);
CREATE INDEX bill_exchanges_payment ON bill_exchanges (tenant_id, our_id);
COMMENT ON TABLE bill_exchanges IS 'What rows of bills say of payments between two currencies, signed as the rows are.';
COMMENT ON COLUMN bill_exchanges.our_id IS 'Of the charge, or of the refund.';
COMMENT ON COLUMN bill_exchanges.paid IS 'Minor units of the payer''s currency.';
COMMENT ON COLUMN bill_exchanges.settled IS 'Minor units of what the provider settles, before its fee.';
ALTER TABLE bill_exchanges ENABLE ROW LEVEL SECURITY;
ALTER TABLE bill_exchanges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bill_exchanges USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON bill_exchanges TO citygate_app;
GRANT SELECT ON bill_exchanges TO citygate_auditor;

-- +goose Down
-- Irreversible: at which rate riders paid is not forgotten.
SELECT 1;
