-- Settings of a tenant: what it may ask of a process, and later versions of its calendar.

-- +goose Up

ALTER TABLE platform.tenants ADD COLUMN quota jsonb;
COMMENT ON COLUMN platform.tenants.quota IS 'What the tenant may ask of one process; none: the usual quota.';
GRANT UPDATE (quota) ON platform.tenants TO citygate_app;

CREATE TABLE platform.calendars (
    tenant_id     bigint      NOT NULL REFERENCES platform.tenants,
    version       int         NOT NULL CHECK (version > 1),
    from_date     date        NOT NULL,
    time_zone     text        NOT NULL CHECK (time_zone <> ''),
    cut_minutes   int         NOT NULL CHECK (cut_minutes BETWEEN 0 AND 1439),
    rest_weekdays smallint[]  NOT NULL,
    holidays      date[]      NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE platform.calendars IS 'Later versions of tenants'' settlement calendars, each from a business date on; the first one is in the row of the tenant. A version never changes.';
COMMENT ON COLUMN platform.calendars.rest_weekdays IS 'Days of the week on which nothing is paid out: 0 Sunday to 6 Saturday.';
GRANT SELECT, INSERT ON platform.calendars TO citygate_app;
GRANT SELECT ON platform.calendars TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
