-- A change whose answer was lost may have been taken, also where the next attempt at it was
-- certainly not: until another is confirmed, what the provider was told last is not known.

-- +goose Up

ALTER TABLE deny_pushes ADD COLUMN unsure boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN deny_pushes.unsure IS 'An attempt since the last confirmed change had no answer, and may have been taken.';
GRANT UPDATE (unsure) ON deny_pushes TO citygate_app;

ALTER TABLE wallet_cards ADD COLUMN unsure boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN wallet_cards.unsure IS 'As of deny_pushes.';
GRANT UPDATE (unsure) ON wallet_cards TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
