-- Payments by payment codes: what a customer's wallet shows at a counter or a gate.

-- +goose Up

ALTER TABLE charges DROP CONSTRAINT charges_kind_check;
ALTER TABLE charges ADD CONSTRAINT charges_kind_check CHECK (kind IN ('charge', 'recovery', 'first_ride', 'purchase', 'till'));
COMMENT ON COLUMN charges.aggregation_id IS 'What is collected; of a purchase the sale, of a payment at a till the payment.';

ALTER TABLE refunds ADD COLUMN bill_name text NOT NULL DEFAULT '' COLLATE "C" CHECK (length(bill_name) <= 160);
COMMENT ON COLUMN refunds.bill_name IS 'What bills call it where that is not our_id: the provider named it, as the money of a reversed payment went back without a refund of ours.';
CREATE UNIQUE INDEX refunds_bill_name ON refunds (tenant_id, bill_name) WHERE bill_name <> '';
GRANT UPDATE (bill_name) ON refunds TO citygate_app;

CREATE TABLE till_payments (
    tenant_id     bigint      NOT NULL,
    payment_id    uuid        NOT NULL,
    order_key     text        NOT NULL COLLATE "C" CHECK (length(order_key) BETWEEN 1 AND 64),
    amount        bigint      NOT NULL CHECK (amount > 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    subject       text        NOT NULL CHECK (length(subject) BETWEEN 1 AND 120),
    contract      text        NOT NULL COLLATE "C",
    named         text        NOT NULL COLLATE "C",
    till          text        NOT NULL CHECK (length(till) <= 64),
    payee         text        NOT NULL COLLATE "C" CHECK (length(payee) BETWEEN 1 AND 128),
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('asked', 'paying', 'paid', 'declined', 'reversing', 'closed', 'refunded')),
    reason        text        NOT NULL CHECK (length(reason) <= 200),
    our_id        text        NOT NULL COLLATE "C" CHECK (length(our_id) BETWEEN 1 AND 32),
    business_date date        NOT NULL,
    asked_by      text        NOT NULL,
    asked_at      timestamptz NOT NULL,
    wait_until    timestamptz NOT NULL CHECK (wait_until > asked_at),
    next_at       timestamptz,
    reversing_for text        NOT NULL COLLATE "C" CHECK (reversing_for IN ('', 'timeout', 'cancelled')),
    reversals     int         NOT NULL CHECK (reversals >= 0),
    reversed_at   timestamptz,
    reversal_said text        NOT NULL COLLATE "C" CHECK (reversal_said IN ('', 'closed', 'returned', 'refused')),
    paid_at       timestamptz,
    ended_at      timestamptz,
    refunded      bigint      NOT NULL CHECK (refunded BETWEEN 0 AND amount),
    returned      bigint      NOT NULL CHECK (returned BETWEEN 0 AND amount),
    cleared_at    timestamptz,
    cleared_on    date,
    cleared       bigint,
    CHECK ((cleared_at IS NULL) = (cleared_on IS NULL) AND (cleared_at IS NULL) = (cleared IS NULL)),
    CHECK ((state = 'reversing') <= (reversing_for <> '')),
    CHECK ((state IN ('declined', 'closed')) = (ended_at IS NOT NULL)),
    PRIMARY KEY (tenant_id, payment_id),
    UNIQUE (tenant_id, order_key)
);
COMMENT ON TABLE till_payments IS 'Payments that a customer''s wallet was asked for by the code it showed. The code itself is nowhere. The charge has the payment''s id.';
COMMENT ON COLUMN till_payments.order_key IS 'The shop''s own name for the order: asked for again under it, nothing is charged twice.';
COMMENT ON COLUMN till_payments.named IS 'The contract that the request named; empty = it was told from the code.';
COMMENT ON COLUMN till_payments.till IS 'Which counter or gate, as the shop calls it.';
COMMENT ON COLUMN till_payments.payee IS 'Who earns it.';
COMMENT ON COLUMN till_payments.wait_until IS 'Until when the customer may confirm; then the payment is reversed.';
COMMENT ON COLUMN till_payments.next_at IS 'When the provider is asked next; NULL = nothing is open.';
COMMENT ON COLUMN till_payments.reversing_for IS 'Why it is taken back; from then on it is never paid, and money that moved goes back.';
COMMENT ON COLUMN till_payments.reversed_at IS 'When a reversal was last asked for.';
COMMENT ON COLUMN till_payments.refunded IS 'What is given back or to be given back by refunds, in minor units.';
COMMENT ON COLUMN till_payments.returned IS 'What of it is certain.';
COMMENT ON COLUMN till_payments.cleared_at IS 'When its bill had it and it became the payee''s to be paid out.';
COMMENT ON COLUMN till_payments.cleared IS 'What was cleared: the amount less fee and what had gone back.';
CREATE INDEX till_payments_due ON till_payments (tenant_id, next_at) WHERE next_at IS NOT NULL;
ALTER TABLE till_payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE till_payments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON till_payments USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, reason, next_at, reversing_for, reversals, reversed_at, reversal_said, paid_at, ended_at, refunded, returned, cleared_at, cleared_on, cleared) ON till_payments TO citygate_app;
GRANT SELECT ON till_payments TO citygate_auditor;

CREATE TABLE till_refunds (
    tenant_id  bigint      NOT NULL,
    payment_id uuid        NOT NULL,
    ordinal    int         NOT NULL CHECK (ordinal > 0),
    kind       text        NOT NULL COLLATE "C" CHECK (kind IN ('asked', 'reversal', 'late')),
    name       text        NOT NULL COLLATE "C" CHECK (length(name) <= 64 AND (kind = 'asked') = (name <> '')),
    amount     bigint      NOT NULL CHECK (amount > 0),
    reason     text        NOT NULL CHECK (length(reason) <= 500),
    asked_by   text        NOT NULL,
    asked_at   timestamptz NOT NULL,
    uncleared  boolean,
    PRIMARY KEY (tenant_id, payment_id, ordinal)
);
COMMENT ON TABLE till_refunds IS 'Why money of a payment at a till goes back. What becomes of it is in refunds, under the same ordinal.';
COMMENT ON COLUMN till_refunds.kind IS 'asked: somebody did; reversal: the provider returned it as the payment was reversed; late: it was paid although it was being reversed.';
COMMENT ON COLUMN till_refunds.name IS 'The shop''s own name for it, once per payment.';
COMMENT ON COLUMN till_refunds.uncleared IS 'Whether it went back before the payment was cleared; NULL = it has not yet.';
CREATE UNIQUE INDEX till_refunds_name ON till_refunds (tenant_id, payment_id, name) WHERE name <> '';
ALTER TABLE till_refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE till_refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON till_refunds USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (uncleared) ON till_refunds TO citygate_app;
GRANT SELECT ON till_refunds TO citygate_auditor;

-- +goose Down
-- Irreversible: what customers paid rests on it.
SELECT 1;
