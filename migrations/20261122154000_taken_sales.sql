-- Payments for products that a bank or provider took back.

-- +goose Up

ALTER TABLE reversals
    ADD COLUMN sale_id uuid,
    ADD COLUMN covered bigint NOT NULL DEFAULT 0 CHECK (covered >= 0),
    ADD CONSTRAINT reversals_parts CHECK (owed + covered <= amount AND (covered = 0 OR sale_id IS NOT NULL));
COMMENT ON COLUMN reversals.sale_id IS 'The sale whose price, or whose debt, the payment was of; null: it was of fares.';
COMMENT ON COLUMN reversals.covered IS 'Of a sale: what of the amount nobody had used, so that nobody owes it.';
GRANT UPDATE (sale_id, covered) ON reversals TO citygate_app;

ALTER TABLE reversal_outcomes
    ADD COLUMN to_sale bigint NOT NULL DEFAULT 0 CHECK (to_sale >= 0),
    DROP CONSTRAINT reversal_outcomes_check2,
    ADD CONSTRAINT reversal_outcomes_parts CHECK (to_debt + to_rider + to_suspense + to_sale = CASE WHEN outcome = 'won' AND applied_at IS NOT NULL THEN amount ELSE to_suspense END);
COMMENT ON COLUMN reversal_outcomes.to_sale IS 'What came back to a sale, which is what its rider paid for it again.';
GRANT UPDATE (to_sale) ON reversal_outcomes TO citygate_app;

ALTER TABLE debts ADD COLUMN sale_id uuid;
COMMENT ON COLUMN debts.sale_id IS 'The sale of which the rider used what he owes; null: he owes fares.';
CREATE INDEX debts_sale ON debts (tenant_id, sale_id) WHERE sale_id IS NOT NULL;

CREATE TABLE taken_sales (
    tenant_id  bigint      NOT NULL,
    sale_id    uuid        NOT NULL,
    charge_id  uuid        NOT NULL,
    unsettled  boolean     NOT NULL,
    first_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, sale_id)
);
COMMENT ON TABLE taken_sales IS 'Sales of which a payment was taken back. One that is unsettled is looked at again when no payment of its debts is under way.';
CREATE INDEX taken_sales_unsettled ON taken_sales (tenant_id, sale_id) WHERE unsettled;
ALTER TABLE taken_sales ENABLE ROW LEVEL SECURITY;
ALTER TABLE taken_sales FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON taken_sales USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (unsettled) ON taken_sales TO citygate_app;
GRANT SELECT ON taken_sales TO citygate_auditor;

CREATE TABLE taken_sale_lines (
    tenant_id     bigint      NOT NULL,
    sale_id       uuid        NOT NULL,
    part          int         NOT NULL,
    kind          text        NOT NULL COLLATE "C" CHECK (kind IN ('owed', 'unowed', 'given_up', 'kept')),
    debt_id       uuid,
    charge_id     uuid,
    account_id    uuid        NOT NULL,
    contract      text        NOT NULL COLLATE "C",
    amount        bigint      NOT NULL CHECK (amount <> 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date date        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, sale_id, part),
    CHECK ((kind = 'owed') = (debt_id IS NOT NULL)),
    CHECK ((kind IN ('unowed', 'given_up')) = (charge_id IS NOT NULL)),
    FOREIGN KEY (tenant_id, sale_id) REFERENCES taken_sales (tenant_id, sale_id)
);
COMMENT ON TABLE taken_sale_lines IS 'What was booked of a sale beside its payments: what its rider owes of it (owed, by debt), what was taken beyond what a payment held (unowed, claimed from the provider; given_up when that was lost), and what the seller keeps of a payment that came back (kept). A negative one takes back. Append-only.';
CREATE INDEX taken_sale_lines_debt ON taken_sale_lines (tenant_id, debt_id) WHERE debt_id IS NOT NULL;
ALTER TABLE taken_sale_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE taken_sale_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON taken_sale_lines USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON taken_sale_lines TO citygate_app;
GRANT SELECT ON taken_sale_lines TO citygate_auditor;

ALTER TABLE product_sales
    DROP CONSTRAINT product_sales_state_check,
    DROP CONSTRAINT product_sales_check2,
    ADD COLUMN used bigint NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND price),
    ADD CONSTRAINT product_sales_state_check CHECK (state IN ('asked', 'paid', 'held', 'declined', 'refunding', 'refunded', 'closed', 'reversed')),
    ADD CONSTRAINT product_sales_closed CHECK (CASE state WHEN 'closed' THEN closed_on IS NOT NULL WHEN 'reversed' THEN true ELSE closed_on IS NULL END);
COMMENT ON COLUMN product_sales.used IS 'Of one that is reversed: what of its price rides had used when it was last looked at.';
CREATE INDEX product_sales_reversed ON product_sales (tenant_id, sale_id) WHERE state = 'reversed';
GRANT UPDATE (used) ON product_sales TO citygate_app;

-- +goose Down
-- Irreversible: what riders owe rests on it.
SELECT 1;
