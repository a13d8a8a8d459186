-- How a debt is asked for again at its provider: by whom, of which decline, and on what the rider showed.

-- +goose Up

ALTER TABLE debts ADD COLUMN retry_shown bytea CHECK (octet_length(retry_shown) <= 4096);
COMMENT ON COLUMN debts.retry_shown IS 'The code that the rider showed when he started the try at retry_at by a tap; none otherwise.';
GRANT UPDATE (retry_shown) ON debts TO citygate_app;

ALTER TABLE charges ADD COLUMN recovery text NOT NULL DEFAULT '' COLLATE "C" CHECK (recovery IN ('', 'merchant', 'rider', 'tap'));
ALTER TABLE charges ADD COLUMN recovers uuid;
ALTER TABLE charges ADD COLUMN shown bytea CHECK (octet_length(shown) <= 4096);
ALTER TABLE charges ADD CHECK (recovery = '' OR recovers IS NOT NULL);
COMMENT ON COLUMN charges.recovery IS 'Who the provider was told starts the recovery of a debt; empty where the charge is a debit like any other to it. Fixed as it is first sent.';
COMMENT ON COLUMN charges.recovers IS 'The declined charge whose debt the provider was asked for again, fixed as it is first sent.';
COMMENT ON COLUMN charges.shown IS 'What the rider showed to start a recovery by a tap; gone once the charge is final.';
GRANT UPDATE (recovery, recovers, shown) ON charges TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
