-- Who starts a try to recover a debt, and insured first declines.

-- +goose Up

ALTER TABLE debts ADD COLUMN retry_by text NOT NULL DEFAULT 'schedule' COLLATE "C" CHECK (retry_by IN ('schedule', 'tap', 'rider', 'person', 'first_ride'));
ALTER TABLE debts ADD COLUMN insured boolean NOT NULL DEFAULT false CHECK (NOT insured OR state <> 'open');
COMMENT ON COLUMN debts.retry_by IS 'Who asked for the try at retry_at; of a debt without one, for the last.';
COMMENT ON COLUMN debts.insured IS 'The scheme paid it as an insured first ride; the rider owes nothing of it any more.';
GRANT UPDATE (retry_by, insured) ON debts TO citygate_app;

ALTER TABLE charges DROP CONSTRAINT charges_kind_check;
ALTER TABLE charges ADD CONSTRAINT charges_kind_check CHECK (kind IN ('charge', 'recovery', 'first_ride'));
ALTER TABLE charges ADD COLUMN started_by text NOT NULL DEFAULT 'schedule' COLLATE "C" CHECK (started_by IN ('schedule', 'tap', 'rider', 'person', 'first_ride'));
COMMENT ON COLUMN charges.started_by IS 'Who started it: the schedule, a tap of the rider, the rider himself, a person of the tenant, or the rule of insured first declines.';
-- Once for a payer at a contract, whatever became of it; one that was never sent is none.
CREATE UNIQUE INDEX charges_first_ride ON charges (tenant_id, account_id, contract) WHERE kind = 'first_ride' AND state <> 'moved';
CREATE INDEX charges_account ON charges (tenant_id, account_id, final_at) WHERE state IN ('succeeded', 'declined');

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
