-- A version of the prices that has not begun can be taken back.

-- +goose Up

ALTER TABLE tariffs ADD COLUMN withdrawn_at timestamptz CHECK (withdrawn_at < valid_from);
COMMENT ON COLUMN tariffs.withdrawn_at IS 'When the version was taken back, before it began; null: it holds from valid_from on.';
COMMENT ON TABLE tariffs IS 'Every version of the tenant''s prices. A ride is priced by the version that was valid at its first tap; versions never change. One that has not begun can be withdrawn: then it never holds.';
GRANT UPDATE (withdrawn_at) ON tariffs TO citygate_app;
DROP INDEX tariffs_valid_from;
CREATE UNIQUE INDEX tariffs_valid_from ON tariffs (tenant_id, valid_from) WHERE withdrawn_at IS NULL;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
