-- Bills are read row by row: how many rows there are is known at the end.

-- +goose Up

GRANT UPDATE (lines) ON external_files TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
