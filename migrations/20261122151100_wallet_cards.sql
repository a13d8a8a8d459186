-- The tenant's cards in riders' wallets: how each is to be, what its wallet was told last,
-- and the change that is under way.

-- +goose Up

CREATE TABLE wallet_cards (
    tenant_id bigint NOT NULL,
    card_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    card_ref text COLLATE "C" NOT NULL CHECK (card_ref <> '' AND length(card_ref) <= 64),
    rider_ref text COLLATE "C" NOT NULL CHECK (length(rider_ref) <= 200),
    account_id uuid,
    locked text COLLATE "C" NOT NULL CHECK (locked IN ('', 'overdue', 'revoked')),
    tip text COLLATE "C" NOT NULL CHECK (length(tip) <= 200),
    told text COLLATE "C" NOT NULL CHECK (told IN ('nothing', 'enabled', 'overdue', 'revoked')),
    told_tip text COLLATE "C" NOT NULL,
    touched boolean NOT NULL,
    n integer NOT NULL CHECK (n >= 0),
    wanted text COLLATE "C" NOT NULL CHECK (wanted IN ('enabled', 'overdue', 'revoked')),
    wanted_tip text COLLATE "C" NOT NULL,
    decided_at timestamptz NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('told', 'waiting', 'unknown', 'refused')),
    attempts integer NOT NULL CHECK (attempts >= 0),
    next_try_at timestamptz NOT NULL,
    told_at timestamptz,
    error text COLLATE "C" NOT NULL CHECK (length(error) <= 500),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, card_id),
    UNIQUE (tenant_id, contract, card_ref),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id)
);
COMMENT ON TABLE wallet_cards IS 'The tenant''s cards in riders'' wallets: how each is to be, what its wallet was told last, and the change under way.';
COMMENT ON COLUMN wallet_cards.card_ref IS 'The tenant''s number of the card.';
COMMENT ON COLUMN wallet_cards.rider_ref IS 'The provider''s name for the rider whose wallet shows it; empty once it is erased.';
COMMENT ON COLUMN wallet_cards.account_id IS 'Whose debts lock it, where the contract says so.';
COMMENT ON COLUMN wallet_cards.locked IS 'By people: not, because its rider owes, or because it is given up.';
COMMENT ON COLUMN wallet_cards.told IS 'What the wallet confirmed last.';
COMMENT ON COLUMN wallet_cards.touched IS 'Something changed since the change under way was made up.';
COMMENT ON COLUMN wallet_cards.n IS 'Number of the change; a change keeps its number and content until it is known what became of it.';
COMMENT ON COLUMN wallet_cards.decided_at IS 'When the change was made up, at least a second after the one before: the newest state wins at the wallet.';
COMMENT ON COLUMN wallet_cards.state IS 'told: done. waiting: not sent. unknown: sent, and nobody can say. refused: certainly not taken; both are tried again.';
CREATE INDEX wallet_cards_due ON wallet_cards (tenant_id, contract, next_try_at) WHERE touched OR state <> 'told';
CREATE INDEX wallet_cards_of ON wallet_cards (tenant_id, account_id) WHERE account_id IS NOT NULL;
ALTER TABLE wallet_cards ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet_cards FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON wallet_cards
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (rider_ref, account_id, locked, tip, told, told_tip, touched, n, wanted, wanted_tip, decided_at, state, attempts, next_try_at, told_at, error)
    ON wallet_cards TO citygate_app;
GRANT SELECT ON wallet_cards TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
