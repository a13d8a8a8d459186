-- The issuer's side: claims, aggregations, charges, refunds, debts and what is
-- passed back to operators.

-- +goose Up

CREATE TABLE provider_contracts (
    tenant_id  bigint      NOT NULL,
    contract   text        NOT NULL COLLATE "C" CHECK (contract <> ''),
    adapter    text        NOT NULL COLLATE "C" CHECK (adapter <> ''),
    config     jsonb       NOT NULL,
    fee_ppm    bigint      NOT NULL CHECK (fee_ppm BETWEEN 0 AND 1000000),
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('active', 'closed')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, contract)
);
COMMENT ON TABLE provider_contracts IS 'Contracts with payment providers: which product, with what settings, at what fee.';
ALTER TABLE provider_contracts ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_contracts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_contracts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (config, fee_ppm, state) ON provider_contracts TO citygate_app;
GRANT SELECT ON provider_contracts TO citygate_auditor;

CREATE TABLE code_use (
    tenant_id   bigint      NOT NULL,
    list        int         NOT NULL,
    idx         bigint      NOT NULL,
    ctr         int         NOT NULL,
    digest      bytea       NOT NULL,
    operator_id bigint      NOT NULL,
    terminal    bigint      NOT NULL,
    seq         bigint      NOT NULL,
    journey_id  uuid        NOT NULL,
    n           int         NOT NULL,
    event_time  timestamptz NOT NULL,
    evidence    bytea       NOT NULL,
    PRIMARY KEY (tenant_id, list, idx, ctr)
);
COMMENT ON TABLE code_use IS 'The first claim of each display of each credential we issued, with the code as evidence of the charge.';
CREATE INDEX code_use_journey ON code_use (tenant_id, operator_id, journey_id);
ALTER TABLE code_use ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_use FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_use USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON code_use TO citygate_app;
GRANT SELECT ON code_use TO citygate_auditor;

CREATE TABLE code_conflicts (
    tenant_id   bigint      NOT NULL,
    list        int         NOT NULL,
    idx         bigint      NOT NULL,
    ctr         int         NOT NULL,
    operator_id bigint      NOT NULL,
    terminal    bigint      NOT NULL,
    seq         bigint      NOT NULL,
    journey_id  uuid,
    reason      text        NOT NULL COLLATE "C",
    digest      bytea       NOT NULL,
    event_time  timestamptz NOT NULL,
    evidence    bytea       NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, operator_id, terminal, seq)
);
COMMENT ON TABLE code_conflicts IS 'Taps an operator claimed and we refused, and codes that prove a copied credential, with their evidence: double use, clones, codes that do not hold.';
COMMENT ON COLUMN code_conflicts.journey_id IS 'What was claimed; null for a code that the operator itself found to be of a copy.';
CREATE INDEX code_conflicts_digest ON code_conflicts (tenant_id, digest);
ALTER TABLE code_conflicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_conflicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_conflicts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON code_conflicts TO citygate_app;
GRANT SELECT ON code_conflicts TO citygate_auditor;

CREATE TABLE claims (
    tenant_id     bigint      NOT NULL,
    operator_id   bigint      NOT NULL,
    journey_id    uuid        NOT NULL,
    n             int         NOT NULL,
    list          int         NOT NULL,
    idx           bigint      NOT NULL,
    account_id    uuid,
    amount        bigint      NOT NULL CHECK (amount >= 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('accepted', 'refused')),
    business_date date        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, operator_id, journey_id),
    CHECK (state = 'refused' OR account_id IS NOT NULL)
);
COMMENT ON TABLE claims IS 'The latest claim for each journey: amount is what is accepted of it so far, whatever became of later claims.';
ALTER TABLE claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE claims FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claims USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (n, account_id, amount, state, business_date, at) ON claims TO citygate_app;
GRANT SELECT ON claims TO citygate_auditor;

CREATE TABLE aggregations (
    tenant_id      bigint      NOT NULL,
    aggregation_id uuid        NOT NULL,
    account_id     uuid        NOT NULL,
    account_key    text        NOT NULL COLLATE "C",
    contract       text        NOT NULL COLLATE "C",
    payer_ref      text        NOT NULL,
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date  date        NOT NULL,
    ordinal        int         NOT NULL CHECK (ordinal > 0),
    state          text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'charging', 'settled', 'in_debt', 'recovered', 'corrected', 'closed_zero')),
    total          bigint      NOT NULL CHECK (total >= 0),
    taps           int         NOT NULL,
    opened_at      timestamptz NOT NULL,
    closes_at      timestamptz NOT NULL,
    closed_at      timestamptz,
    PRIMARY KEY (tenant_id, aggregation_id)
) WITH (fillfactor = 60); -- every ride updates one: room on its page keeps the indexes out of it
COMMENT ON TABLE aggregations IS 'What an account owes for one business date: collected by one charge. The id follows from account, currency, date and ordinal, so the key holds those unique too.';
CREATE INDEX aggregations_due ON aggregations (tenant_id, closes_at) WHERE state = 'open';
ALTER TABLE aggregations ENABLE ROW LEVEL SECURITY;
ALTER TABLE aggregations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON aggregations USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, total, taps, closes_at, closed_at) ON aggregations TO citygate_app;
GRANT SELECT ON aggregations TO citygate_auditor;

CREATE TABLE charges (
    tenant_id      bigint      NOT NULL,
    charge_id      uuid        NOT NULL,
    aggregation_id uuid        NOT NULL,
    kind           text        NOT NULL COLLATE "C" CHECK (kind IN ('charge', 'recovery')),
    attempt        int         NOT NULL CHECK (attempt > 0),
    our_id         text        NOT NULL COLLATE "C" CHECK (length(our_id) BETWEEN 1 AND 32),
    contract       text        NOT NULL COLLATE "C",
    account_id     uuid        NOT NULL,
    account_key    text        NOT NULL COLLATE "C",
    payer_ref      text        NOT NULL,
    amount         bigint      NOT NULL CHECK (amount > 0),
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    fee            bigint      NOT NULL,
    subject        text        NOT NULL,
    trip_at        timestamptz NOT NULL,
    business_date  date        NOT NULL,
    state          text        NOT NULL COLLATE "C" CHECK (state IN ('created', 'sent', 'unknown', 'succeeded', 'declined')),
    ever_unknown   boolean     NOT NULL,
    attempts       int         NOT NULL,
    provider_ref   text        NOT NULL,
    reason         text        NOT NULL,
    next_do        text        NOT NULL COLLATE "C",
    next_try_at    timestamptz NOT NULL,
    passed         boolean     NOT NULL,
    released       boolean     NOT NULL,
    created_at     timestamptz NOT NULL,
    sent_at        timestamptz,
    final_at       timestamptz,
    PRIMARY KEY (tenant_id, charge_id),
    UNIQUE (tenant_id, our_id),
    UNIQUE (tenant_id, aggregation_id, attempt),
    CHECK ((state IN ('succeeded', 'declined')) = (final_at IS NOT NULL))
);
COMMENT ON TABLE charges IS 'Payments asked of providers. The row is on disk before the first byte leaves; our_id and the content never change.';
-- Not two payments for one aggregation at a time.
CREATE UNIQUE INDEX charges_in_flight ON charges (tenant_id, aggregation_id) WHERE state IN ('created', 'sent', 'unknown');
CREATE INDEX charges_due ON charges (tenant_id, contract, business_date, account_key, our_id) WHERE state IN ('created', 'sent', 'unknown');
CREATE INDEX charges_unpassed ON charges (tenant_id, business_date, account_key, our_id) WHERE state = 'succeeded' AND NOT passed;
CREATE INDEX charges_unreleased ON charges (tenant_id, charge_id) WHERE state = 'succeeded' AND NOT released;
CREATE INDEX charges_final ON charges (tenant_id, contract, final_at);
ALTER TABLE charges ENABLE ROW LEVEL SECURITY;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON charges USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (fee, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, sent_at, final_at) ON charges TO citygate_app;
GRANT SELECT ON charges TO citygate_auditor;

CREATE TABLE charge_shares (
    tenant_id   bigint      NOT NULL,
    charge_id   uuid        NOT NULL,
    operator_id bigint      NOT NULL,
    journey_id  uuid        NOT NULL,
    amount      bigint      NOT NULL CHECK (amount > 0),
    fee         bigint      NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, charge_id, operator_id, journey_id)
);
COMMENT ON TABLE charge_shares IS 'What of a charge is whose fare, fixed when the charge is made; the fee is filled in when it is passed back.';
ALTER TABLE charge_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE charge_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON charge_shares USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (fee) ON charge_shares TO citygate_app;
GRANT SELECT ON charge_shares TO citygate_auditor;

CREATE TABLE debts (
    tenant_id      bigint      NOT NULL,
    aggregation_id uuid        NOT NULL,
    account_id     uuid        NOT NULL,
    opened_amount  bigint      NOT NULL CHECK (opened_amount > 0),
    amount         bigint      NOT NULL CHECK (amount >= 0),
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date  date        NOT NULL,
    state          text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'recovered', 'corrected')),
    tries          int         NOT NULL,
    retry_at       timestamptz,
    unpassed       boolean     NOT NULL,
    opened_at      timestamptz NOT NULL,
    closed_at      timestamptz,
    PRIMARY KEY (tenant_id, aggregation_id),
    CHECK ((state = 'open') = (amount > 0))
);
COMMENT ON TABLE debts IS 'What riders owe after a declined charge; amount is what is still owed.';
CREATE INDEX debts_due ON debts (tenant_id, retry_at) WHERE state = 'open' AND retry_at IS NOT NULL;
CREATE INDEX debts_unpassed ON debts (tenant_id, aggregation_id) WHERE unpassed;
CREATE INDEX debts_account ON debts (tenant_id, account_id) WHERE state = 'open';
ALTER TABLE debts ENABLE ROW LEVEL SECURITY;
ALTER TABLE debts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON debts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (amount, state, tries, retry_at, unpassed, closed_at) ON debts TO citygate_app;
GRANT SELECT ON debts TO citygate_auditor;

CREATE TABLE refunds (
    tenant_id     bigint      NOT NULL,
    refund_id     uuid        NOT NULL,
    charge_id     uuid        NOT NULL,
    ordinal       int         NOT NULL CHECK (ordinal > 0),
    attempt       int         NOT NULL DEFAULT 1 CHECK (attempt > 0),
    our_id        text        NOT NULL COLLATE "C" CHECK (length(our_id) BETWEEN 1 AND 32),
    contract      text        NOT NULL COLLATE "C",
    account_id    uuid        NOT NULL,
    operator_id   bigint      NOT NULL,
    journey_id    uuid        NOT NULL,
    n             int         NOT NULL,
    amount        bigint      NOT NULL CHECK (amount > 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date date        NOT NULL,
    state         text        NOT NULL COLLATE "C" CHECK (state IN ('waiting', 'created', 'sent', 'unknown', 'succeeded', 'declined', 'void', 'replaced')),
    ever_unknown  boolean     NOT NULL,
    attempts      int         NOT NULL,
    provider_ref  text        NOT NULL,
    reason        text        NOT NULL,
    next_do       text        NOT NULL COLLATE "C",
    next_try_at   timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    sent_at       timestamptz,
    final_at      timestamptz,
    PRIMARY KEY (tenant_id, refund_id),
    UNIQUE (tenant_id, our_id),
    UNIQUE (tenant_id, charge_id, ordinal, attempt),
    CHECK ((state IN ('succeeded', 'declined', 'void', 'replaced')) = (final_at IS NOT NULL))
);
COMMENT ON TABLE refunds IS 'Corrections below what was collected. One waits while its charge is not final, and is void (it lowers the debt) if that is declined. One that the provider declined is replaced by the next attempt.';
CREATE INDEX refunds_due ON refunds (tenant_id, contract, next_try_at) WHERE state IN ('created', 'sent', 'unknown');
CREATE INDEX refunds_refused ON refunds (tenant_id, final_at) WHERE state = 'declined';
CREATE INDEX refunds_final ON refunds (tenant_id, contract, final_at);
ALTER TABLE refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON refunds USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, sent_at, final_at) ON refunds TO citygate_app;
GRANT SELECT ON refunds TO citygate_auditor;

CREATE TABLE claim_lines (
    tenant_id      bigint      NOT NULL,
    operator_id    bigint      NOT NULL,
    journey_id     uuid        NOT NULL,
    n              int         NOT NULL,
    part           int         NOT NULL,
    account_id     uuid        NOT NULL,
    aggregation_id uuid        NOT NULL,
    kind           text        NOT NULL COLLATE "C" CHECK (kind IN ('fare', 'refund', 'debt')),
    refund_id      uuid,
    delta          bigint      NOT NULL CHECK (delta <> 0),
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date  date        NOT NULL,
    at             timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, operator_id, journey_id, n, part),
    CHECK ((kind = 'refund') = (refund_id IS NOT NULL)),
    CHECK (kind = 'fare' OR delta < 0)
);
COMMENT ON TABLE claim_lines IS 'Every change of what is accepted, and the aggregation, refund or debt it went to.';
CREATE INDEX claim_lines_aggregation ON claim_lines (tenant_id, aggregation_id);
ALTER TABLE claim_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE claim_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claim_lines USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON claim_lines TO citygate_app;
GRANT SELECT ON claim_lines TO citygate_auditor;

CREATE TABLE advices (
    tenant_id     bigint      NOT NULL,
    operator_id   bigint      NOT NULL,
    journey_id    uuid        NOT NULL,
    kind          text        NOT NULL COLLATE "C" CHECK (kind IN ('fee', 'uncollected', 'recovered', 'cleared')),
    ref_id        uuid        NOT NULL,
    part          int         NOT NULL,
    amount        bigint      NOT NULL CHECK (amount <> 0),
    contract      text        NOT NULL COLLATE "C",
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date date        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ref_id, operator_id, journey_id, kind, part)
);
COMMENT ON TABLE advices IS 'What was passed back to operators, item by item; each was sent once.';
ALTER TABLE advices ENABLE ROW LEVEL SECURITY;
ALTER TABLE advices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON advices USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON advices TO citygate_app;
GRANT SELECT ON advices TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
