-- Providers tell of payments that were taken back.

-- +goose Up

ALTER TABLE provider_notices DROP CONSTRAINT provider_notices_kind_check;
ALTER TABLE provider_notices ADD CONSTRAINT provider_notices_kind_check CHECK (kind IN ('payment', 'refund', 'agreement', 'rider', 'reversal', 'other'));

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
