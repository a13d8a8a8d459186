-- Taps that wait for a rider's name keep the rule that decided, for the tap they become.

-- +goose Up

ALTER TABLE foreign_taps ADD COLUMN rule text NOT NULL DEFAULT '' COLLATE "C";
ALTER TABLE foreign_taps ALTER COLUMN rule DROP DEFAULT;
COMMENT ON COLUMN foreign_taps.rule IS 'As in taps: the rule of the policy version that decided beyond its fixed checks; empty = none did.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
