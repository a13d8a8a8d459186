-- Codes made ahead for wallets and bands that have no key.

-- +goose Up

ALTER TABLE devices DROP CONSTRAINT devices_kind_check;
ALTER TABLE devices ADD CONSTRAINT devices_kind_check CHECK (kind IN ('phone', 'band', 'wallet'));
ALTER TABLE devices ADD COLUMN keyless boolean NOT NULL DEFAULT false;
ALTER TABLE devices ADD CONSTRAINT devices_keyless_check CHECK (CASE kind WHEN 'phone' THEN NOT keyless WHEN 'wallet' THEN keyless ELSE true END);
COMMENT ON COLUMN devices.keyless IS 'The medium has no key: public_key is a digest of its name, and its codes are made ahead.';

CREATE TABLE code_batches (
    tenant_id      bigint      NOT NULL,
    list           int         NOT NULL CHECK (list BETWEEN 0 AND 65535),
    idx            bigint      NOT NULL CHECK (idx BETWEEN 0 AND 4294967295),
    device_id      uuid        NOT NULL,
    starts_at      timestamptz NOT NULL,
    window_seconds smallint    NOT NULL CHECK (window_seconds BETWEEN 1 AND 255),
    signatures     bytea       NOT NULL CHECK (octet_length(signatures) BETWEEN 64 AND 16320 AND octet_length(signatures) % 64 = 0),
    expires_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT code_batches_credential FOREIGN KEY (tenant_id, list, idx) REFERENCES credentials (tenant_id, list, idx),
    CONSTRAINT code_batches_device FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, device_id)
);
COMMENT ON TABLE code_batches IS 'Codes made ahead, 64 bytes of signature each, kept until they run out so that a lost answer can be given again. The key that signed them is kept nowhere.';
CREATE INDEX code_batches_expiry ON code_batches (tenant_id, expires_at);
ALTER TABLE code_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_batches
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON code_batches TO citygate_app;
GRANT SELECT (tenant_id, list, idx, device_id, starts_at, window_seconds, expires_at) ON code_batches TO citygate_auditor;

CREATE UNIQUE INDEX credentials_of_chain ON credentials (tenant_id, device_key) WHERE suite = 4 AND part_a IS NOT NULL;
COMMENT ON INDEX credentials_of_chain IS 'An anchor is good for one credential: what a band has shown would count again under a second one.';

-- +goose Down
-- Irreversible: these are records of what riders hold.
SELECT 1;
