-- When a tenant came into its state.

-- +goose Up

ALTER TABLE platform.tenants ADD COLUMN state_since timestamptz;
COMMENT ON COLUMN platform.tenants.state_since IS 'When the tenant came into its state; none: with its creation.';
GRANT UPDATE (state_since) ON platform.tenants TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
