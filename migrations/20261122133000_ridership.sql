-- Reports of how many people ride: each business date is published once.

-- +goose Up

CREATE TABLE ridership_reports (
    tenant_id  bigint      NOT NULL,
    report_id  uuid        NOT NULL,
    first_date date        NOT NULL,
    last_date  date        NOT NULL,
    made_at    timestamptz NOT NULL,
    made_by    text        NOT NULL CHECK (made_by <> ''),
    PRIMARY KEY (tenant_id, report_id),
    CHECK (first_date <= last_date)
);
CREATE INDEX ridership_reports_dates ON ridership_reports (tenant_id, first_date, last_date);
COMMENT ON TABLE ridership_reports IS 'Published reports of ridership. A report stays as it was made, whatever is uploaded later: two reports of one date could be subtracted.';
ALTER TABLE ridership_reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE ridership_reports FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ridership_reports USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON ridership_reports TO citygate_app;
GRANT SELECT ON ridership_reports TO citygate_auditor;

CREATE TABLE ridership_days (
    tenant_id     bigint NOT NULL,
    business_date date   NOT NULL,
    report_id     uuid   NOT NULL,
    PRIMARY KEY (tenant_id, business_date),
    FOREIGN KEY (tenant_id, report_id) REFERENCES ridership_reports (tenant_id, report_id)
);
COMMENT ON TABLE ridership_days IS 'Which report a business date is in: at most one.';
ALTER TABLE ridership_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE ridership_days FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ridership_days USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON ridership_days TO citygate_app;
GRANT SELECT ON ridership_days TO citygate_auditor;

CREATE TABLE ridership_tables (
    tenant_id  bigint NOT NULL,
    report_id  uuid   NOT NULL,
    name       text   NOT NULL COLLATE "C" CHECK (name <> ''),
    n_rows     bigint NOT NULL CHECK (n_rows >= 0),
    suppressed bigint NOT NULL CHECK (suppressed >= 0),
    sha256     bytea  NOT NULL CHECK (length(sha256) = 32),
    body       bytea  NOT NULL,
    PRIMARY KEY (tenant_id, report_id, name),
    FOREIGN KEY (tenant_id, report_id) REFERENCES ridership_reports (tenant_id, report_id)
);
COMMENT ON TABLE ridership_tables IS 'The tables of a report as CSV. Counts that fewer than 10 riders are behind, and those from which they would follow, are not in them.';
COMMENT ON COLUMN ridership_tables.suppressed IS 'Rows with a count that is withheld.';
ALTER TABLE ridership_tables ENABLE ROW LEVEL SECURITY;
ALTER TABLE ridership_tables FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ridership_tables USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON ridership_tables TO citygate_app;
GRANT SELECT ON ridership_tables TO citygate_auditor;

-- +goose Down
-- Irreversible: what was published cannot be published otherwise.
SELECT 1;
