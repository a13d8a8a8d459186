-- What the operator signed when a provider asked it for a rider's code.

-- +goose Up

CREATE TABLE provider_codes (
    tenant_id  bigint      NOT NULL,
    code_id    uuid        NOT NULL,
    contract   text        NOT NULL COLLATE "C",
    request    bytea       NOT NULL CHECK (length(request) = 32),
    rider_ref  text        NOT NULL,
    card_ref   text        NOT NULL,
    code       bytea       NOT NULL,
    status     int         NOT NULL,
    kind       text        NOT NULL,
    answer     bytea       NOT NULL,
    not_before timestamptz NOT NULL,
    not_after  timestamptz NOT NULL,
    issued_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, code_id),
    UNIQUE (tenant_id, contract, request),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract)
);
COMMENT ON TABLE provider_codes IS 'Codes that the operator signed on a provider''s request, stored before they are given out. The same request again gets the same answer.';
COMMENT ON COLUMN provider_codes.request IS 'Digest of the request''s body.';
COMMENT ON COLUMN provider_codes.answer IS 'The answer as it was sent, sealed as the provider wants it; status and kind are its HTTP status and content type.';
CREATE INDEX provider_codes_old ON provider_codes (tenant_id, not_after);
ALTER TABLE provider_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_codes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON provider_codes TO citygate_app;
GRANT SELECT ON provider_codes TO citygate_auditor;

-- +goose Down
-- Irreversible: what was signed is not forgotten.
SELECT 1;
