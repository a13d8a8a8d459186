-- Devices of one person, by consent. What joins them is a secret that is not here.

-- +goose Up

CREATE TABLE person_devices (
    tenant_id bigint      NOT NULL,
    device    bytea       NOT NULL CHECK (octet_length(device) = 32),
    subject   bytea       NOT NULL CHECK (octet_length(subject) = 16),
    sealed    bytea       NOT NULL,
    since     timestamptz NOT NULL,
    until     timestamptz CHECK (until > since),
    PRIMARY KEY (tenant_id, device, since)
);
COMMENT ON TABLE person_devices IS 'Which devices their rider joined into one person. device is a keyed hash, sealed the device encrypted; the key is in the tenant''s secret store. since and until are beginnings of business dates. No part of any export.';
CREATE UNIQUE INDEX person_devices_now ON person_devices (tenant_id, device) WHERE until IS NULL;
CREATE INDEX person_devices_subject ON person_devices (tenant_id, subject);
ALTER TABLE person_devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE person_devices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON person_devices USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (until) ON person_devices TO citygate_app;
GRANT SELECT (tenant_id, since, until) ON person_devices TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
