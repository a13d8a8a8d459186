-- What providers tell of their own accord: where they send it, and what they sent.

-- +goose Up

CREATE TABLE notify_addresses (
    tenant_id  bigint      NOT NULL,
    contract   text        NOT NULL COLLATE "C",
    token      text        NOT NULL COLLATE "C" CHECK (token ~ '^[a-z2-7]{26}$'),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contract),
    UNIQUE (tenant_id, token),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE notify_addresses IS 'Where the provider of a contract sends its notifications: the part of the address that nobody can guess. It finds the contract; what is believed is the signature.';
ALTER TABLE notify_addresses ENABLE ROW LEVEL SECURITY;
ALTER TABLE notify_addresses FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notify_addresses USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON notify_addresses TO citygate_app;
GRANT SELECT ON notify_addresses TO citygate_auditor;

CREATE TABLE provider_notices (
    tenant_id     bigint      NOT NULL,
    notice_id     uuid        NOT NULL,
    contract      text        NOT NULL COLLATE "C",
    provider_id   text        NOT NULL COLLATE "C",
    digest        bytea       NOT NULL CHECK (length(digest) = 32),
    kind          text        NOT NULL COLLATE "C" CHECK (kind IN ('payment', 'refund', 'agreement', 'rider', 'other')),
    our_id        text        NOT NULL COLLATE "C",
    charge_our_id text        NOT NULL COLLATE "C",
    rider_ref     text        NOT NULL,
    outcome       text        NOT NULL COLLATE "C",
    amount        bigint,
    currency      text        COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    provider_ref  text        NOT NULL,
    reason        text        NOT NULL,
    said_at       timestamptz,
    verdict       text        NOT NULL COLLATE "C" CHECK (verdict IN ('applied', 'known', 'asked', 'noted', 'held', 'unknown_order', 'mismatch', 'contradiction')),
    detail        text        NOT NULL,
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('done', 'open', 'resolved')),
    note          text        NOT NULL,
    repeats       int         NOT NULL CHECK (repeats >= 0),
    received_at   timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    resolved_at   timestamptz,
    PRIMARY KEY (tenant_id, notice_id),
    UNIQUE (tenant_id, contract, provider_id, digest),
    CHECK ((amount IS NULL) = (currency IS NULL)),
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL)),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE provider_notices IS 'Notifications of providers that were proven to be theirs, each once: stored before they are acknowledged.';
COMMENT ON COLUMN provider_notices.provider_id IS 'The provider''s own id of the notice, equal in its repetitions; empty where it has none.';
COMMENT ON COLUMN provider_notices.digest IS 'Of what the notice says: one id with two meanings is two rows.';
COMMENT ON COLUMN provider_notices.verdict IS 'What was done about it. unknown_order, mismatch and contradiction changed nothing and are open until somebody has looked; held came for a tenant that is closed.';
COMMENT ON COLUMN provider_notices.said_at IS 'When it became so, of riders and agreements: an older notice changes nothing that a later one said.';
COMMENT ON COLUMN provider_notices.repeats IS 'Times it came again; they were answered as the first.';
CREATE INDEX provider_notices_open ON provider_notices (tenant_id, notice_id) WHERE state = 'open';
CREATE INDEX provider_notices_rider ON provider_notices (tenant_id, contract, rider_ref, said_at) WHERE rider_ref <> '';
ALTER TABLE provider_notices ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_notices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_notices USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (rider_ref, state, note, repeats, last_at, resolved_at) ON provider_notices TO citygate_app;
GRANT SELECT ON provider_notices TO citygate_auditor;

-- +goose Down
-- Irreversible: what a provider said is not forgotten.
SELECT 1;
