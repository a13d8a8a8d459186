-- A tenant that closes finishes what it has before it is closed.

-- +goose Up

ALTER TABLE platform.tenants DROP CONSTRAINT tenants_state_check;
ALTER TABLE platform.tenants ADD CONSTRAINT tenants_state_check CHECK (state IN ('draft', 'active', 'suspended', 'closing', 'closed'));

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
