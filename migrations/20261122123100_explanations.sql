-- Explanations of fare decisions, signed by batch.

-- +goose Up

CREATE TABLE explanation_batches (
    tenant_id bigint      NOT NULL,
    number    bigint      NOT NULL CHECK (number > 0),
    size      int         NOT NULL CHECK (size > 0),
    root      bytea       NOT NULL CHECK (octet_length(root) = 32),
    sealed_at timestamptz NOT NULL,
    kid       int         NOT NULL CHECK (kid BETWEEN 0 AND 255),
    signature bytea       NOT NULL,
    PRIMARY KEY (tenant_id, number)
);
COMMENT ON TABLE explanation_batches IS 'Merkle roots over the explanations of fare decisions, signed by the tenant''s explain key. Append-only.';
ALTER TABLE explanation_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE explanation_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON explanation_batches USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON explanation_batches TO citygate_app;
GRANT SELECT ON explanation_batches TO citygate_auditor;

CREATE TABLE explanation_leaves (
    tenant_id  bigint NOT NULL,
    journey_id uuid   NOT NULL,
    n          int    NOT NULL CHECK (n > 0),
    number     bigint NOT NULL,
    position   int    NOT NULL CHECK (position >= 0),
    leaf       bytea  NOT NULL CHECK (octet_length(leaf) = 32),
    salt       bytea  CHECK (octet_length(salt) = 16),
    PRIMARY KEY (tenant_id, journey_id, n),
    UNIQUE (tenant_id, number, position),
    FOREIGN KEY (tenant_id, number) REFERENCES explanation_batches (tenant_id, number)
);
COMMENT ON TABLE explanation_leaves IS 'The leaf of each decision in its batch. The document is made again from the decision and its taps; when they are erased the salt goes and the leaf stays, so that other proofs hold.';
ALTER TABLE explanation_leaves ENABLE ROW LEVEL SECURITY;
ALTER TABLE explanation_leaves FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON explanation_leaves USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (salt) ON explanation_leaves TO citygate_app;
GRANT SELECT ON explanation_leaves TO citygate_auditor;

-- Sealing looks at what was decided lately; rows are written in the order of time.
CREATE INDEX fare_decisions_decided ON fare_decisions USING brin (tenant_id, decided_at) WITH (pages_per_range = 16);

-- +goose Down
-- Irreversible: what was signed is not taken away.
SELECT 1;
