-- What a further provider calls the payer of a closed account is erased with what the
-- tenant does not keep.

-- +goose Up

GRANT DELETE ON account_payers TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
