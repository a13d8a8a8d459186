-- Who is told to bear a shortfall may dispute it, and pays what it bears.

-- +goose Up

CREATE TABLE liability_disputes (
    tenant_id     bigint      NOT NULL,
    dispute_id    uuid        NOT NULL,
    debt_id       uuid        NOT NULL,
    bearer        text        NOT NULL COLLATE "C" CHECK (bearer IN ('issuer', 'provider', 'platform')),
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'upheld', 'rejected')),
    reason        text        NOT NULL,
    evidence      text        NOT NULL,
    opened_by     text        NOT NULL,
    opened_at     timestamptz NOT NULL,
    bears_instead text        NOT NULL DEFAULT '' COLLATE "C" CHECK (bears_instead IN ('', 'operator', 'issuer')),
    decision      text        NOT NULL DEFAULT '',
    decided_by    text        NOT NULL DEFAULT '',
    decided_at    timestamptz,
    PRIMARY KEY (tenant_id, dispute_id),
    UNIQUE (tenant_id, debt_id, bearer),
    CHECK ((state = 'open') = (decided_at IS NULL) AND (state = 'open') = (decided_by = '') AND (state = 'upheld') = (bears_instead <> '')),
    CHECK (bears_instead <> bearer)
);
COMMENT ON TABLE liability_disputes IS 'Disputes of who bears what of a debt, each once for a debt and bearer. While one is open nothing of that is paid; one that is upheld moves it to who bears it instead.';
ALTER TABLE liability_disputes ENABLE ROW LEVEL SECURITY;
ALTER TABLE liability_disputes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON liability_disputes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, bears_instead, decision, decided_by, decided_at) ON liability_disputes TO citygate_app;
GRANT SELECT ON liability_disputes TO citygate_auditor;

CREATE TABLE bearer_payments (
    tenant_id     bigint      NOT NULL,
    payment_id    uuid        NOT NULL,
    n             int         NOT NULL CHECK (n > 0),
    bearer        text        NOT NULL COLLATE "C" CHECK (bearer IN ('provider', 'platform')),
    contract      text        NOT NULL COLLATE "C",
    reference     text        NOT NULL COLLATE "C" CHECK (length(reference) BETWEEN 1 AND 64),
    amount        bigint      NOT NULL CHECK (amount <> 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    reason        text        NOT NULL,
    recorded_by   text        NOT NULL,
    at            timestamptz NOT NULL,
    business_date date        NOT NULL,
    PRIMARY KEY (tenant_id, payment_id),
    UNIQUE (tenant_id, n),
    UNIQUE (tenant_id, bearer, contract, reference),
    CHECK ((bearer = 'platform') = (contract = ''))
);
COMMENT ON TABLE bearer_payments IS 'What provider or platform paid of what they bear, by the reference of the payment; negative: given back, as riders paid after all.';
COMMENT ON COLUMN bearer_payments.n IS 'Counts the payments of the tenant, so that two are never recorded against one look at what is owed.';
ALTER TABLE bearer_payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE bearer_payments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bearer_payments USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON bearer_payments TO citygate_app;
GRANT SELECT ON bearer_payments TO citygate_auditor;

ALTER TABLE debt_bearers
    DROP CONSTRAINT debt_bearers_basis_check,
    ADD CONSTRAINT debt_bearers_basis_check CHECK (basis IN ('rule', 'terms', 'default', 'dispute'));

-- +goose Down
-- Irreversible: what was paid rests on it.
SELECT 1;
