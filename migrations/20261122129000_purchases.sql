-- Purchases are a kind of charge.

-- +goose Up

ALTER TABLE charges DROP CONSTRAINT charges_kind_check;
ALTER TABLE charges ADD CONSTRAINT charges_kind_check CHECK (kind IN ('charge', 'recovery', 'first_ride', 'purchase'));

-- +goose Down
-- Irreversible: charges may be of that kind.
SELECT 1;
