-- Riders of whom a contract's provider is to be asked how they stand: of each new account,
-- where the contract wants it, and daily of who is denied for what was said.

-- +goose Up

CREATE TABLE rider_questions (
    tenant_id bigint NOT NULL,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    denied boolean NOT NULL,
    asks integer NOT NULL CHECK (asks >= 0),
    next_ask_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, account_id),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id)
);
COMMENT ON TABLE rider_questions IS 'Accounts of whose payers the provider is to be asked how they stand. A row ends with the answer, or with the denial.';
COMMENT ON COLUMN rider_questions.denied IS 'The payer is denied for what was said; otherwise his account was opened.';
COMMENT ON COLUMN rider_questions.asks IS 'Questions since the last answer.';
CREATE INDEX rider_questions_due ON rider_questions (tenant_id, contract, next_ask_at);
ALTER TABLE rider_questions ENABLE ROW LEVEL SECURITY;
ALTER TABLE rider_questions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rider_questions
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (denied, asks, next_ask_at) ON rider_questions TO citygate_app;
GRANT SELECT ON rider_questions TO citygate_auditor;

-- A card that was noted before its rider had an account is found when it is opened.
CREATE INDEX wallet_cards_unclaimed ON wallet_cards (tenant_id, contract, rider_ref) WHERE account_id IS NULL AND rider_ref <> '';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
