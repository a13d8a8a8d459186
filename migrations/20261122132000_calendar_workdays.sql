-- Days that are worked although their weekday rests, as a Saturday moved for a holiday is.

-- +goose Up
ALTER TABLE platform.calendars ADD COLUMN workdays date[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN platform.calendars.workdays IS 'Dates that are worked although their weekday rests.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
