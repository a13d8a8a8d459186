-- +goose Up
CREATE TABLE transfers (
    tenant_id     bigint      NOT NULL,
    transfer_id   uuid        NOT NULL,
    debit         text        NOT NULL COLLATE "C",
    credit        text        NOT NULL COLLATE "C",
    amount        bigint      NOT NULL,
    currency      text        NOT NULL COLLATE "C",
    code          text        NOT NULL COLLATE "C",
    event         text        NOT NULL COLLATE "C",
    interbook_id  uuid,
    link_id       uuid,
    phase         text        NOT NULL COLLATE "C",
    pending_id    uuid,
    effective_at  timestamptz NOT NULL,
    business_date date        NOT NULL,
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, transfer_id),
    CONSTRAINT transfers_amount CHECK (amount > 0),
    CONSTRAINT transfers_accounts CHECK (debit <> credit AND debit <> '' AND credit <> ''),
    CONSTRAINT transfers_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT transfers_phase CHECK (phase IN ('posted', 'pending', 'post', 'void') AND (phase IN ('post', 'void')) = (pending_id IS NOT NULL))
);
COMMENT ON TABLE transfers IS 'The books: one row moves an amount from one account to another. Append-only.';
-- A pending transfer is ended once.
CREATE UNIQUE INDEX transfers_ends ON transfers (tenant_id, pending_id) WHERE pending_id IS NOT NULL;
CREATE INDEX transfers_interbook ON transfers (tenant_id, interbook_id) WHERE interbook_id IS NOT NULL;
ALTER TABLE transfers ENABLE ROW LEVEL SECURITY;
ALTER TABLE transfers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON transfers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON transfers TO citygate_app;
GRANT SELECT ON transfers TO citygate_auditor;

CREATE TABLE balances (
    tenant_id    bigint NOT NULL,
    account      text   NOT NULL COLLATE "C",
    currency     text   NOT NULL COLLATE "C",
    debit_total  bigint NOT NULL,
    credit_total bigint NOT NULL,
    PRIMARY KEY (tenant_id, account, currency),
    CONSTRAINT balances_totals CHECK (debit_total >= 0 AND credit_total >= 0)
) WITH (fillfactor = 60);
COMMENT ON TABLE balances IS 'Totals of every account: a cache of transfers that can be rebuilt. Room is left on each page so that an update stays on it.';
ALTER TABLE balances ENABLE ROW LEVEL SECURITY;
ALTER TABLE balances FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON balances USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (debit_total, credit_total) ON balances TO citygate_app;
GRANT SELECT ON balances TO citygate_auditor;

-- +goose Down
-- Irreversible: the books are not taken away.
SELECT 1;
