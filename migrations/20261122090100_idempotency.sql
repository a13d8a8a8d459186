-- An Idempotency-Key counts within its route, and answers are repeated byte for byte.

-- +goose Up

-- The answers that are in it were made before there were holders and content types.
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey;
ALTER TABLE idempotency_keys ADD PRIMARY KEY (tenant_id, route, key);
ALTER TABLE idempotency_keys ADD COLUMN holder uuid;
ALTER TABLE idempotency_keys ADD COLUMN content_type text;
GRANT UPDATE (content_type) ON idempotency_keys TO citygate_app;
COMMENT ON TABLE idempotency_keys IS 'Answers to unsafe requests by route and key, kept for a day so that the same request again gets the same answer. holder is the attempt that runs or ran. A cache: natural keys keep money single for ever.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
