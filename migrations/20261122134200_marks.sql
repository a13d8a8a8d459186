-- Some providers know an order by its number and something else that is chosen when it
-- is first sent, such as the second. It is kept before the first byte leaves.

-- +goose Up

ALTER TABLE charges ADD COLUMN mark text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(mark) <= 64);
COMMENT ON COLUMN charges.mark IS 'What names the payment to its provider beside our_id, as the adapter chose it when it was sent; empty where our_id is enough.';
GRANT UPDATE (mark) ON charges TO citygate_app;

ALTER TABLE refunds ADD COLUMN mark text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(mark) <= 64);
COMMENT ON COLUMN refunds.mark IS 'As of charges.';
GRANT UPDATE (mark) ON refunds TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
