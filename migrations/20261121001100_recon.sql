-- Reconciliation: providers' bills as they came, and what became of every row
-- and of every payment that should have had one.

-- +goose Up

CREATE TABLE external_files (
    tenant_id    bigint      NOT NULL,
    contract     text        NOT NULL COLLATE "C" CHECK (contract <> ''),
    day          date        NOT NULL,
    name         text        NOT NULL,
    sha256       bytea       NOT NULL CHECK (length(sha256) = 32),
    lines        int         NOT NULL CHECK (lines >= 0),
    state        text        NOT NULL COLLATE "C" CHECK (state IN ('stored', 'processed')),
    matched_to   int         NOT NULL CHECK (matched_to >= 0),
    imported_at  timestamptz NOT NULL,
    processed_at timestamptz,
    PRIMARY KEY (tenant_id, contract, day),
    CHECK ((state = 'processed') = (processed_at IS NOT NULL))
);
COMMENT ON TABLE external_files IS 'Providers'' bills: one for each contract and day of the provider. A bill never changes; matched_to is how far matching came.';
ALTER TABLE external_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE external_files FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON external_files USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, matched_to, processed_at) ON external_files TO citygate_app;
GRANT SELECT ON external_files TO citygate_auditor;

CREATE TABLE external_lines (
    tenant_id    bigint      NOT NULL,
    contract     text        NOT NULL COLLATE "C",
    day          date        NOT NULL,
    line_no      int         NOT NULL CHECK (line_no > 0),
    is_refund    boolean     NOT NULL,
    our_id       text        NOT NULL COLLATE "C",
    refund_id    text        NOT NULL COLLATE "C",
    provider_ref text        NOT NULL,
    amount       bigint      NOT NULL,
    currency     text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    fee          bigint      NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contract, day, line_no),
    FOREIGN KEY (tenant_id, contract, day) REFERENCES external_files (tenant_id, contract, day)
);
COMMENT ON TABLE external_lines IS 'The rows of providers'' bills, as they were read. Append-only.';
CREATE INDEX external_lines_our_id ON external_lines (tenant_id, our_id);
ALTER TABLE external_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE external_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON external_lines USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON external_lines TO citygate_app;
GRANT SELECT ON external_lines TO citygate_auditor;

CREATE TABLE recon_items (
    tenant_id    bigint      NOT NULL,
    contract     text        NOT NULL COLLATE "C",
    item         text        NOT NULL COLLATE "C" CHECK (item <> ''),
    kind         text        NOT NULL COLLATE "C" CHECK (kind IN ('matched', 'missing_provider', 'missing_ledger', 'amount_diff',
                                                                  'currency_diff', 'refund_unexpected', 'duplicate', 'date_diff')),
    state        text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'matched', 'resolved')),
    owner        text        NOT NULL COLLATE "C" CHECK (owner IN ('', 'provider', 'finance', 'operator')),
    charge_id    uuid,
    refund_id    uuid,
    our_id       text        NOT NULL COLLATE "C",
    day          date        NOT NULL,
    line_no      int,
    currency     text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    expected     bigint      NOT NULL,
    expected_fee bigint      NOT NULL,
    actual       bigint      NOT NULL,
    actual_fee   bigint      NOT NULL,
    diff         bigint      NOT NULL,
    resolution   text        NOT NULL DEFAULT '' COLLATE "C" CHECK (resolution IN ('', 'accept_provider', 'accept_ours', 'write_off')),
    note         text        NOT NULL,
    opened_at    timestamptz NOT NULL,
    resolved_at  timestamptz,
    PRIMARY KEY (tenant_id, contract, item),
    CHECK ((kind = 'matched') = (state = 'matched')),
    CHECK ((kind = 'matched') = (owner = '')),
    CHECK ((state = 'open') = (resolved_at IS NULL)),
    CHECK (state = 'resolved' OR resolution = ''),
    CHECK ((kind = 'missing_provider') = (line_no IS NULL)),
    CHECK (diff = actual - expected)
);
COMMENT ON TABLE recon_items IS 'What became of every row of every bill and of every payment without a row: matched, or an exception with an owner.';
COMMENT ON COLUMN recon_items.resolution IS 'How a person ended the exception; its transfers follow from it.';
-- A row of a bill has one outcome.
CREATE UNIQUE INDEX recon_items_line ON recon_items (tenant_id, contract, day, line_no) WHERE line_no IS NOT NULL;
CREATE INDEX recon_items_open ON recon_items (tenant_id, opened_at, contract, item) WHERE state = 'open';
CREATE INDEX recon_items_charge ON recon_items (tenant_id, charge_id) WHERE charge_id IS NOT NULL;
ALTER TABLE recon_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE recon_items FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON recon_items USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (kind, state, owner, day, line_no, actual, actual_fee, diff, resolution, note, resolved_at) ON recon_items TO citygate_app;
GRANT SELECT ON recon_items TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
