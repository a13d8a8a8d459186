-- A provider may issue the bill of a day again. Every issue is kept; what an item was
-- before an issue corrected it is history, with its transfers and their reversal.

-- +goose Up

ALTER TABLE bill_exchanges DROP CONSTRAINT bill_exchanges_tenant_id_contract_day_line_no_fkey;
ALTER TABLE bill_exchanges DROP CONSTRAINT bill_exchanges_pkey;
-- Rows are written in the transaction that writes their file's, and neither goes away:
-- to look for the file again for each row cost a quarter of storing it.
ALTER TABLE external_lines DROP CONSTRAINT external_lines_tenant_id_contract_day_fkey;
ALTER TABLE external_lines DROP CONSTRAINT external_lines_pkey;
ALTER TABLE external_files DROP CONSTRAINT external_files_pkey;

ALTER TABLE external_files
    ADD COLUMN issue integer NOT NULL DEFAULT 1 CHECK (issue > 0),
    ADD COLUMN issued_at timestamptz,
    ADD COLUMN content bytea NOT NULL DEFAULT '',
    ADD COLUMN checked_at timestamptz,
    ADD PRIMARY KEY (tenant_id, contract, day, issue);
COMMENT ON TABLE external_files IS 'Providers'' bills, each issue of one for itself. A bill never changes; matched_to is how far the joining of a first issue came.';
COMMENT ON COLUMN external_files.issued_at IS 'When the provider made the file, if it says.';
COMMENT ON COLUMN external_files.content IS 'SHA-256 of what the rows say, in their order; empty of files from before it was kept.';
COMMENT ON COLUMN external_files.checked_at IS 'When the provider was last asked whether there is another issue.';
GRANT UPDATE (content, checked_at) ON external_files TO citygate_app;

ALTER TABLE external_lines
    ADD COLUMN issue integer NOT NULL DEFAULT 1,
    ADD PRIMARY KEY (tenant_id, contract, day, issue, line_no);
COMMENT ON TABLE external_lines IS 'The rows of providers'' bills, of every issue, as they were read. Append-only.';

ALTER TABLE bill_exchanges
    ADD COLUMN issue integer NOT NULL DEFAULT 1,
    ADD PRIMARY KEY (tenant_id, contract, day, issue, line_no),
    ADD FOREIGN KEY (tenant_id, contract, day, issue, line_no) REFERENCES external_lines (tenant_id, contract, day, issue, line_no);

ALTER TABLE recon_items
    ADD COLUMN issue integer NOT NULL DEFAULT 1,
    ADD COLUMN n integer NOT NULL DEFAULT 1 CHECK (n > 0);
COMMENT ON COLUMN recon_items.issue IS 'Of the bill that its row is in: the first one with a row that says this.';
COMMENT ON COLUMN recon_items.n IS 'Counts what the item was; what it was before is in recon_history.';
DROP INDEX recon_items_line;
CREATE UNIQUE INDEX recon_items_line ON recon_items (tenant_id, day, contract, issue, line_no) WHERE line_no IS NOT NULL;
GRANT UPDATE (issue, n), DELETE ON recon_items TO citygate_app;

CREATE TABLE recon_history (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    item text COLLATE "C" NOT NULL,
    n integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    charge_id uuid,
    refund_id uuid,
    our_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    issue integer NOT NULL,
    line_no integer,
    currency text COLLATE "C" NOT NULL,
    expected bigint NOT NULL,
    expected_fee bigint NOT NULL,
    actual bigint NOT NULL,
    actual_fee bigint NOT NULL,
    resolution text COLLATE "C" NOT NULL,
    note text NOT NULL,
    opened_at timestamptz NOT NULL,
    resolved_at timestamptz,
    ended_at timestamptz NOT NULL,
    ended_day date NOT NULL,
    ended_issue integer NOT NULL,
    PRIMARY KEY (tenant_id, contract, item, n)
);
COMMENT ON TABLE recon_history IS 'What reconciliation items were before a later bill, or another issue of one, had something else to say. Append-only.';
COMMENT ON COLUMN recon_history.ended_at IS 'When that bill was imported; the reversal of what the item had moved is of this instant.';
COMMENT ON COLUMN recon_history.ended_day IS 'Of that bill.';
ALTER TABLE recon_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE recon_history FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON recon_history USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON recon_history TO citygate_app;
GRANT SELECT ON recon_history TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
