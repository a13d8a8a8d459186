-- Payouts can wait for somebody to release them, by rules of the tenant.

-- +goose Up

CREATE TABLE payout_rules (
    tenant_id   bigint      NOT NULL,
    version     int         NOT NULL CHECK (version > 0),
    manual      boolean     NOT NULL,
    hold_above  bigint      CHECK (hold_above >= 0),
    hold_payees text[]      NOT NULL,
    created_by  text        NOT NULL CHECK (created_by <> ''),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE payout_rules IS 'Which payouts wait for a release: all (manual), those above an amount of the tenant''s currency, those to certain payees. The last version holds for what is paid from then on; without one none waits.';
ALTER TABLE payout_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE payout_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payout_rules USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON payout_rules TO citygate_app;
GRANT SELECT ON payout_rules TO citygate_auditor;

ALTER TABLE payouts
    ADD COLUMN batch int NOT NULL DEFAULT 0 CHECK (batch >= 0),
    ADD COLUMN held_for text NOT NULL DEFAULT '',
    ADD COLUMN released_at timestamptz,
    ADD COLUMN released_by text NOT NULL DEFAULT '',
    DROP CONSTRAINT payouts_state_check,
    ADD CONSTRAINT payouts_state_check CHECK (state IN ('held', 'created', 'sent')),
    ADD CONSTRAINT payouts_release CHECK (CASE WHEN held_for = '' THEN state <> 'held' AND released_at IS NULL AND batch = 0
        ELSE (state = 'held') = (released_at IS NULL) AND (state = 'held') = (released_by = '') AND (state = 'held') = (batch = 0) END);
COMMENT ON TABLE payouts IS 'What was paid to each payee for a window, and the files that ordered it. One that is held waits for a release: it is owed, posts nothing and is in no file. What is released together has a batch and files of its own; its business date is that of the release.';
CREATE INDEX payouts_held ON payouts (tenant_id, window_date) WHERE state = 'held';
GRANT UPDATE (batch, released_at, released_by, business_date, calendar_version) ON payouts TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
