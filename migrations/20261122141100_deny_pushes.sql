-- What providers are told of the tenant's own denials. A row is a payer's account: what
-- his provider was told last, and the change that is under way. Writing an entry touches
-- the row in the same transaction, so nothing that was decided is forgotten.

-- +goose Up

CREATE TABLE deny_pushes (
    tenant_id bigint NOT NULL,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    rider_ref text COLLATE "C" NOT NULL,
    touched boolean NOT NULL,
    told boolean NOT NULL,
    n integer NOT NULL CHECK (n >= 0),
    denied boolean NOT NULL,
    reason text COLLATE "C" NOT NULL,
    decided_at timestamptz NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('told', 'waiting', 'unknown', 'refused')),
    attempts integer NOT NULL CHECK (attempts >= 0),
    next_try_at timestamptz NOT NULL,
    told_at timestamptz,
    error text COLLATE "C" NOT NULL CHECK (length(error) <= 500),
    PRIMARY KEY (tenant_id, account_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id)
);
COMMENT ON TABLE deny_pushes IS 'What the provider of each account was told of its denials, and the change under way.';
COMMENT ON COLUMN deny_pushes.touched IS 'The account''s entries changed since the change was made up.';
COMMENT ON COLUMN deny_pushes.told IS 'Whether the provider was last told, and confirmed, that the rider is denied.';
COMMENT ON COLUMN deny_pushes.n IS 'Number of the change; a change keeps its number and content until it is known what became of it.';
COMMENT ON COLUMN deny_pushes.state IS 'told: done. waiting: not sent. unknown: sent, and nobody can say. refused: certainly not taken; both are tried again.';
CREATE INDEX deny_pushes_due ON deny_pushes (tenant_id, contract, next_try_at) WHERE touched OR state <> 'told';
ALTER TABLE deny_pushes ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_pushes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_pushes
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (touched, told, n, denied, reason, decided_at, state, attempts, next_try_at, told_at, error) ON deny_pushes TO citygate_app;
GRANT SELECT ON deny_pushes TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
