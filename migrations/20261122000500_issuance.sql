-- Riders' devices: what a phone or band may be issued, and who holds which.

-- +goose Up

CREATE TABLE issuance_policies (
    tenant_id  bigint      NOT NULL,
    version    int         NOT NULL CHECK (version >= 1),
    body       jsonb       NOT NULL,
    actor      text        NOT NULL CHECK (actor <> ''),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE issuance_policies IS 'What an issuer gives to devices: immutable versions, the highest one is in force.';
ALTER TABLE issuance_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE issuance_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON issuance_policies USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON issuance_policies TO citygate_app;
GRANT SELECT ON issuance_policies TO citygate_auditor;

CREATE TABLE device_challenges (
    tenant_id  bigint      NOT NULL,
    challenge  bytea       NOT NULL CHECK (octet_length(challenge) = 32),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    PRIMARY KEY (tenant_id, challenge)
);
COMMENT ON TABLE device_challenges IS 'Challenges a device signs to prove that it holds its key; each is good for one device.';
CREATE INDEX device_challenges_expiry ON device_challenges (tenant_id, expires_at);
ALTER TABLE device_challenges ENABLE ROW LEVEL SECURITY;
ALTER TABLE device_challenges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON device_challenges USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (used_at) ON device_challenges TO citygate_app;
GRANT SELECT ON device_challenges TO citygate_auditor;

CREATE TABLE devices (
    tenant_id  bigint      NOT NULL,
    device_id  uuid        NOT NULL,
    account_id uuid        NOT NULL,
    kind       text        NOT NULL COLLATE "C" CHECK (kind IN ('phone', 'band')),
    phone_id   uuid,
    suite      smallint    NOT NULL CHECK (suite BETWEEN 0 AND 7),
    public_key bytea       NOT NULL CHECK (octet_length(public_key) BETWEEN 16 AND 33),
    assurance  text        NOT NULL COLLATE "C" CHECK (assurance IN ('hardware', 'vouched', 'none')),
    evidence   jsonb       NOT NULL,
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('bound', 'lost', 'released')),
    bound_at   timestamptz NOT NULL,
    lost_at    timestamptz,
    PRIMARY KEY (tenant_id, device_id),
    CONSTRAINT devices_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id),
    CONSTRAINT devices_phone FOREIGN KEY (tenant_id, phone_id) REFERENCES devices (tenant_id, device_id),
    CHECK ((kind = 'band') = (phone_id IS NOT NULL)),
    CHECK (state <> 'lost' OR lost_at IS NOT NULL)
);
COMMENT ON TABLE devices IS 'Phones and bands: a band is bound to one phone. A key is held by one device until it is released, or lost for the waiting period.';
CREATE UNIQUE INDEX devices_key ON devices (tenant_id, public_key) WHERE state <> 'released';
CREATE INDEX devices_of_account ON devices (tenant_id, account_id);
CREATE INDEX devices_of_phone ON devices (tenant_id, phone_id) WHERE phone_id IS NOT NULL;
ALTER TABLE devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE devices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON devices USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, lost_at) ON devices TO citygate_app;
GRANT SELECT ON devices TO citygate_auditor;

ALTER TABLE accounts ADD COLUMN proof_expires_at timestamptz;
COMMENT ON COLUMN accounts.proof_expires_at IS 'Until when the category is proven; none: it needs no proof.';
GRANT UPDATE (proof_expires_at) ON accounts TO citygate_app;

ALTER TABLE credentials ADD COLUMN device_id uuid;
ALTER TABLE credentials ADD CONSTRAINT credentials_device FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, device_id);
ALTER TABLE credentials DROP CONSTRAINT credentials_device_key_check;
ALTER TABLE credentials ADD CHECK (octet_length(device_key) BETWEEN 16 AND 33); -- 16: the anchor of a hash chain
CREATE INDEX credentials_of_device ON credentials (tenant_id, device_id, issued_at) WHERE device_id IS NOT NULL;

-- +goose Down
-- Irreversible: these are records of what riders hold.
SELECT 1;
