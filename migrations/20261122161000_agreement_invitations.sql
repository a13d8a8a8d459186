-- When the rider of an agreement was invited last: so long he can confirm it, also one whose
-- end was asked for meanwhile.

-- +goose Up

ALTER TABLE agreements ADD COLUMN invited_at timestamptz;
ALTER TABLE agreements NO FORCE ROW LEVEL SECURITY;
UPDATE agreements SET invited_at = opened_at WHERE our_id <> '';
ALTER TABLE agreements FORCE ROW LEVEL SECURITY;
COMMENT ON COLUMN agreements.invited_at IS 'When its rider was invited last; none: it came to be otherwise.';
GRANT UPDATE (invited_at) ON agreements TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
