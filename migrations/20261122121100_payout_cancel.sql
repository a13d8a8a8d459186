-- A payout that waits can be taken back, or paid to another payee of the tenant.

-- +goose Up

ALTER TABLE payouts
    ADD COLUMN pay_to text NOT NULL DEFAULT '',
    ADD COLUMN cancelled_at timestamptz,
    ADD COLUMN cancelled_by text NOT NULL DEFAULT '',
    DROP CONSTRAINT payouts_state_check,
    ADD CONSTRAINT payouts_state_check CHECK (state IN ('held', 'created', 'sent', 'cancelled')),
    DROP CONSTRAINT payouts_release,
    ADD CONSTRAINT payouts_release CHECK (CASE WHEN held_for = '' THEN state IN ('created', 'sent') AND released_at IS NULL AND batch = 0 AND pay_to = ''
        ELSE (state IN ('held', 'cancelled')) = (released_at IS NULL) AND (state IN ('held', 'cancelled')) = (released_by = '') AND (state IN ('held', 'cancelled')) = (batch = 0) END),
    ADD CONSTRAINT payouts_cancel CHECK ((state = 'cancelled') = (cancelled_at IS NOT NULL) AND (state = 'cancelled') = (cancelled_by <> ''));
COMMENT ON TABLE payouts IS 'What was paid to each payee for a window, and the files that ordered it. One that is held waits for a release: it is owed, posts nothing and is in no file. What is released together has a batch and files of its own; its business date is that of the release. pay_to is another payee who gets the money in the place of the one it is owed to. One that is cancelled is owed again: a carried receipt takes it out of its window, and the next window that is paid has it.';
GRANT UPDATE (pay_to, cancelled_at, cancelled_by) ON payouts TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
