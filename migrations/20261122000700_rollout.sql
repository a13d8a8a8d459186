-- How far a key has come: which operators' bundles hold which key.

-- +goose Up

CREATE TABLE platform.key_holders (
    tenant_id   bigint   NOT NULL,
    purpose     text     NOT NULL CHECK (purpose ~ '^[a-z][a-z0-9-]{0,39}$'),
    kid         smallint NOT NULL CHECK (kid BETWEEN 1 AND 255),
    operator_id bigint   NOT NULL,
    first_held  bigint   NOT NULL CHECK (first_held > 0),
    last_held   bigint   NOT NULL CHECK (last_held >= first_held),
    PRIMARY KEY (tenant_id, purpose, kid, operator_id)
);
COMMENT ON TABLE platform.key_holders IS 'Which operator''s bundles hold a tenant''s key: the first and the last version that does.';
GRANT SELECT, INSERT, UPDATE (last_held) ON platform.key_holders TO citygate_app;
GRANT SELECT ON platform.key_holders TO citygate_auditor;

-- +goose Down
-- Irreversible: activation of keys rests on it.
