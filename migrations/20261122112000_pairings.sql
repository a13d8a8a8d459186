-- Pairing codes of terminals come into use: each has an id to be listed and
-- withdrawn by, and may name the number that the terminal gets.

-- +goose Up

ALTER TABLE access_pairings
    ADD COLUMN pairing_id uuid NOT NULL,
    ADD CONSTRAINT access_pairings_id UNIQUE (tenant_id, pairing_id);
COMMENT ON TABLE access_pairings IS 'Pairing codes of terminals, hashed: each enrols one terminal, within ten minutes. terminal is what the device is to be, but for its key. A used code stays for a day behind its end, so that the same key gets the same answer again when the first one was lost.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
