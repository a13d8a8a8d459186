-- Agreements of riders under which a tenant debits them without their being there: what
-- was asked for, what the provider said of it last, and when it is asked again.

-- +goose Up

CREATE TABLE agreements (
    tenant_id bigint NOT NULL,
    agreement_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    our_id text COLLATE "C" NOT NULL CHECK (length(our_id) <= 64),
    provider_id text COLLATE "C" NOT NULL CHECK (length(provider_id) <= 200),
    rider_ref text COLLATE "C" NOT NULL CHECK (length(rider_ref) <= 200),
    account_id uuid,
    linked boolean NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('unknown', 'pending', 'active', 'ended')),
    ending boolean NOT NULL,
    valid_from timestamptz,
    valid_to timestamptz,
    single_max bigint CHECK (single_max > 0),
    single_currency text COLLATE "C" CHECK (length(single_currency) = 3),
    reason text COLLATE "C" NOT NULL CHECK (length(reason) <= 64),
    error text COLLATE "C" NOT NULL CHECK (length(error) <= 500),
    asks integer NOT NULL CHECK (asks >= 0),
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    asked_at timestamptz,
    next_ask_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, agreement_id),
    CONSTRAINT agreements_single CHECK ((single_max IS NULL) = (single_currency IS NULL)),
    CONSTRAINT agreements_ended CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts (tenant_id, contract),
    FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id)
);
COMMENT ON TABLE agreements IS 'Agreements of riders under which they are debited without being there, as their providers know them.';
COMMENT ON COLUMN agreements.our_id IS 'The tenant''s name of it, for ever; empty for one that came to be otherwise.';
COMMENT ON COLUMN agreements.provider_id IS 'The provider''s number of it, which debits name; empty until it is known, and once it is erased.';
COMMENT ON COLUMN agreements.rider_ref IS 'The provider''s name for the rider.';
COMMENT ON COLUMN agreements.linked IS 'Whether the account is collected under the contract by this agreement.';
COMMENT ON COLUMN agreements.state IS 'unknown: the provider knows nothing of it. pending: nothing can be debited on it now. active. ended: for good.';
COMMENT ON COLUMN agreements.ending IS 'The tenant asked for its end and the provider has not confirmed it.';
COMMENT ON COLUMN agreements.single_max IS 'The most that one debit may be, in minor units; none: the provider says none.';
COMMENT ON COLUMN agreements.asks IS 'Questions that were asked by schedule since it was last settled.';
COMMENT ON COLUMN agreements.asked_at IS 'When the provider last answered a question about it.';
COMMENT ON COLUMN agreements.next_ask_at IS 'When the provider is asked next, by schedule; none: not before it is needed.';
CREATE UNIQUE INDEX agreements_ours ON agreements (tenant_id, contract, our_id) WHERE our_id <> '';
CREATE UNIQUE INDEX agreements_theirs ON agreements (tenant_id, contract, provider_id) WHERE provider_id <> '';
CREATE INDEX agreements_due ON agreements (tenant_id, next_ask_at) WHERE next_ask_at IS NOT NULL;
CREATE INDEX agreements_of ON agreements (tenant_id, account_id) WHERE account_id IS NOT NULL;
CREATE INDEX agreements_over ON agreements (tenant_id, ended_at) WHERE ended_at IS NOT NULL;
ALTER TABLE agreements ENABLE ROW LEVEL SECURITY;
ALTER TABLE agreements FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON agreements
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE, UPDATE (our_id, provider_id, rider_ref, account_id, linked, state, ending, valid_from, valid_to, single_max, single_currency,
    reason, error, asks, changed_at, asked_at, next_ask_at, ended_at) ON agreements TO citygate_app;
GRANT SELECT ON agreements TO citygate_auditor;

-- Who is collected by a number that has ended is found by it.
CREATE INDEX account_payers_ref ON account_payers (tenant_id, contract, rider_ref);

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
