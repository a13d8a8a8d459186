-- What a bill corrected is asked for by bill.

-- +goose Up

CREATE INDEX recon_history_ended ON recon_history (tenant_id, contract, ended_day, ended_issue, item, n);
COMMENT ON INDEX recon_history_ended IS 'What one issue of a bill had something else to say about.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
