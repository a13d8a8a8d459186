-- What a code was shown on, and the riders its signature states: a reader may have
-- counted more.

-- +goose Up
ALTER TABLE taps ADD COLUMN medium text NOT NULL DEFAULT '', ADD COLUMN party_shown smallint NOT NULL DEFAULT 0;
ALTER TABLE foreign_taps ADD COLUMN medium text NOT NULL DEFAULT '', ADD COLUMN party_shown smallint NOT NULL DEFAULT 0;
ALTER TABLE fare_facts ADD COLUMN medium text NOT NULL DEFAULT '', ADD COLUMN party_shown smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN taps.medium IS 'What the code was shown on: phone, band, server, other, or the code scheme where that is not CT1; empty where no code could be read.';
COMMENT ON COLUMN taps.party_shown IS 'Riders the code itself states, 0 = unknown; party is at least that, and more where the reader was told of companions.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
