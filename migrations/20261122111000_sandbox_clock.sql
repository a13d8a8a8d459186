-- Clocks of sandbox tenants.

-- +goose Up

ALTER TABLE platform.tenants ADD COLUMN clock_ahead_us bigint NOT NULL DEFAULT 0;
ALTER TABLE platform.tenants ADD CONSTRAINT tenants_clock_ahead CHECK (clock_ahead_us >= 0 AND (mode = 'sandbox' OR clock_ahead_us = 0));
COMMENT ON COLUMN platform.tenants.clock_ahead_us IS 'How far the tenant''s clock is ahead of the platform''s, in microseconds; 0 for every live tenant.';
GRANT UPDATE (clock_ahead_us) ON platform.tenants TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
