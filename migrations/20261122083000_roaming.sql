-- Roaming: the terms on which one tenant's riders are taken by another's readers.

-- +goose Up

CREATE TABLE platform.roaming_terms (
    issuer_id    bigint      NOT NULL,
    host_id      bigint      NOT NULL,
    version      int         NOT NULL CHECK (version > 0),
    terms        jsonb       NOT NULL,
    currency     text        COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    asked_from   timestamptz,
    proposer_id  bigint      NOT NULL CHECK (proposer_id IN (issuer_id, host_id)),
    proposed_by  text        NOT NULL CHECK (proposed_by <> ''),
    proposed_at  timestamptz NOT NULL,
    agreed_by    text        CHECK (agreed_by <> ''),
    agreed_at    timestamptz,
    effective_at timestamptz,
    ender_id     bigint      CHECK (ender_id IN (issuer_id, host_id)),
    ended_by     text        CHECK (ended_by <> ''),
    ended_at     timestamptz,
    ends_at      timestamptz,
    PRIMARY KEY (issuer_id, host_id, version),
    CONSTRAINT roaming_terms_two CHECK (issuer_id <> host_id),
    CONSTRAINT roaming_terms_agreed CHECK (num_nulls(agreed_by, agreed_at, effective_at) IN (0, 3) AND effective_at >= agreed_at),
    CONSTRAINT roaming_terms_ended CHECK (num_nulls(ender_id, ended_by, ended_at, ends_at) IN (0, 4) AND ends_at >= ended_at)
);
COMMENT ON TABLE platform.roaming_terms IS 'Versions of the terms on which riders of one tenant (the issuer) are taken by another (the host). Both see their rows, nobody else does. What was agreed never changes; from ends_at on it holds no more.';
CREATE INDEX roaming_terms_host ON platform.roaming_terms (host_id, issuer_id, version);
ALTER TABLE platform.roaming_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform.roaming_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY party ON platform.roaming_terms
    USING (nullif(current_setting('app.tenant_id', true), '')::bigint IN (issuer_id, host_id))
    WITH CHECK (nullif(current_setting('app.tenant_id', true), '')::bigint IN (issuer_id, host_id));
GRANT SELECT, INSERT, UPDATE (agreed_by, agreed_at, effective_at, ender_id, ended_by, ended_at, ends_at) ON platform.roaming_terms TO citygate_app;
GRANT SELECT ON platform.roaming_terms TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
