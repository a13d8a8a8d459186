-- Payments at tills that a bank or provider took back.

-- +goose Up

ALTER TABLE reversals
    ADD COLUMN till_payment_id uuid,
    ADD COLUMN borne bigint NOT NULL DEFAULT 0 CHECK (borne >= 0),
    DROP CONSTRAINT reversals_parts,
    ADD CONSTRAINT reversals_parts CHECK (owed + covered + borne <= amount AND (covered = 0 OR sale_id IS NOT NULL) AND (borne = 0 OR till_payment_id IS NOT NULL));
COMMENT ON COLUMN reversals.till_payment_id IS 'The payment at a till that was taken back; null: it was none.';
COMMENT ON COLUMN reversals.borne IS 'Of a payment at a till: what of the amount it still held when it was taken, borne by its payee or the tenant.';
GRANT UPDATE (till_payment_id, borne) ON reversals TO citygate_app;

ALTER TABLE reversal_outcomes
    ADD COLUMN to_till bigint NOT NULL DEFAULT 0 CHECK (to_till >= 0),
    DROP CONSTRAINT reversal_outcomes_parts,
    ADD CONSTRAINT reversal_outcomes_parts CHECK (to_debt + to_rider + to_suspense + to_sale + to_till = CASE WHEN outcome = 'won' AND applied_at IS NOT NULL THEN amount ELSE to_suspense END);
COMMENT ON COLUMN reversal_outcomes.to_till IS 'What came back to a payment at a till.';
GRANT UPDATE (to_till) ON reversal_outcomes TO citygate_app;

ALTER TABLE till_payments
    ADD COLUMN taken bigint NOT NULL DEFAULT 0 CHECK (taken >= 0),
    ADD COLUMN taken_bearer text NOT NULL DEFAULT '' COLLATE "C" CHECK (taken_bearer IN ('', 'payee', 'tenant')),
    ADD CONSTRAINT till_payments_taken CHECK (taken = 0 OR taken_bearer <> '');
COMMENT ON COLUMN till_payments.taken IS 'What its provider took back of it and has not returned.';
COMMENT ON COLUMN till_payments.taken_bearer IS 'Who bears what is taken back, by the tenant''s terms when it was first; empty = nothing was.';
GRANT UPDATE (taken, taken_bearer) ON till_payments TO citygate_app;

CREATE TABLE till_taking_lines (
    tenant_id     bigint      NOT NULL,
    payment_id    uuid        NOT NULL,
    part          int         NOT NULL CHECK (part > 0),
    kind          text        NOT NULL COLLATE "C" CHECK (kind IN ('borne', 'unowed', 'given_up', 'fee')),
    on_payee      text        NOT NULL COLLATE "C" CHECK (on_payee IN ('', 'uncleared', 'payable') AND (on_payee = '' OR kind IN ('borne', 'fee'))),
    amount        bigint      NOT NULL CHECK (amount <> 0),
    business_date date        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, payment_id, part),
    FOREIGN KEY (tenant_id, payment_id) REFERENCES till_payments (tenant_id, payment_id)
);
COMMENT ON TABLE till_taking_lines IS 'What was booked of payments at tills that were taken back: what their bearer bears (borne), what was taken beyond what the payment held (unowed, claimed from the provider; given_up when that was lost), and the provider''s fees for it that the payee bears (fee). A negative one takes back. Append-only.';
COMMENT ON COLUMN till_taking_lines.on_payee IS 'Which account of the payee bears it: of what no bill has shown, or of what is to be paid out; empty = none.';
ALTER TABLE till_taking_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE till_taking_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON till_taking_lines USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON till_taking_lines TO citygate_app;
GRANT SELECT ON till_taking_lines TO citygate_auditor;

-- +goose Down
-- Irreversible: what payees bear rests on it.
SELECT 1;
