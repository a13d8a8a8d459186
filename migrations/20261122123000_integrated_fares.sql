-- Integrated tariffs: whose rides an authority prices, the taps it gets for that,
-- and what it gives each operator of what riders paid.

-- +goose Up

CREATE TABLE platform.fare_members (
    authority_id bigint      NOT NULL,
    operator_id  bigint      NOT NULL,
    version      int         NOT NULL CHECK (version > 0),
    ordinal      int         NOT NULL CHECK (ordinal BETWEEN 1 AND 32767),
    name         text        COLLATE "C" NOT NULL CHECK (name <> ''),
    currency     text        COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    asked_from   timestamptz,
    proposed_by  text        NOT NULL CHECK (proposed_by <> ''),
    proposed_at  timestamptz NOT NULL,
    agreed_by    text        CHECK (agreed_by <> ''),
    agreed_at    timestamptz,
    effective_at timestamptz,
    ender_id     bigint      CHECK (ender_id IN (authority_id, operator_id)),
    ended_by     text        CHECK (ended_by <> ''),
    ended_at     timestamptz,
    ends_at      timestamptz,
    PRIMARY KEY (authority_id, operator_id, version),
    CONSTRAINT fare_members_two CHECK (authority_id <> operator_id),
    CONSTRAINT fare_members_agreed CHECK (num_nulls(agreed_by, agreed_at, effective_at) IN (0, 3) AND effective_at >= agreed_at),
    CONSTRAINT fare_members_ended CHECK (num_nulls(ender_id, ended_by, ended_at, ends_at) IN (0, 4) AND ends_at >= ended_at)
);
COMMENT ON TABLE platform.fare_members IS 'Versions of what makes an operator a member of its authority''s integrated tariff: the authority proposes, the operator agrees, either ends. Taps of the operator from effective_at until ends_at are priced by the authority. Both see their rows, nobody else does.';
COMMENT ON COLUMN platform.fare_members.ordinal IS 'Tells the taps of an authority''s members apart: the upper 16 bits of their sequence numbers in its tables. An operator keeps it.';
COMMENT ON COLUMN platform.fare_members.name IS 'What the tariff calls the operator.';
CREATE UNIQUE INDEX fare_members_ordinal ON platform.fare_members (authority_id, ordinal) WHERE version = 1;
CREATE INDEX fare_members_operator ON platform.fare_members (operator_id, authority_id, version);
ALTER TABLE platform.fare_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform.fare_members FORCE ROW LEVEL SECURITY;
CREATE POLICY party ON platform.fare_members
    USING (nullif(current_setting('app.tenant_id', true), '')::bigint IN (authority_id, operator_id))
    WITH CHECK (nullif(current_setting('app.tenant_id', true), '')::bigint IN (authority_id, operator_id));
GRANT SELECT, INSERT, UPDATE (agreed_by, agreed_at, effective_at, ender_id, ended_by, ended_at, ends_at) ON platform.fare_members TO citygate_app;
GRANT SELECT ON platform.fare_members TO citygate_auditor;

CREATE TABLE fare_handovers (
    tenant_id    bigint      NOT NULL,
    terminal     bigint      NOT NULL,
    seq          bigint      NOT NULL,
    authority_id bigint      NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal, seq)
);
COMMENT ON TABLE fare_handovers IS 'Taps of an operator that its authority prices: they are in no journey here. Erased with the tap.';
ALTER TABLE fare_handovers ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_handovers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_handovers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON fare_handovers TO citygate_app;
GRANT SELECT ON fare_handovers TO citygate_auditor;

CREATE TABLE fare_facts (
    tenant_id        bigint      NOT NULL,
    terminal         bigint      NOT NULL,
    seq              bigint      NOT NULL,
    operator_id      bigint      NOT NULL,
    issuer           int         NOT NULL,
    list             int         NOT NULL,
    idx              bigint      NOT NULL,
    ctr              int         NOT NULL,
    kind             smallint    NOT NULL CHECK (kind BETWEEN 1 AND 3),
    event_time       timestamptz NOT NULL,
    stop             text        NOT NULL COLLATE "C",
    route            text        NOT NULL COLLATE "C",
    party            smallint    NOT NULL CHECK (party >= 0),
    product          int         NOT NULL CHECK (product >= 0),
    entered          bigint      NOT NULL,
    entered_currency text        NOT NULL COLLATE "C",
    accepted         boolean     NOT NULL,
    refusal          text        NOT NULL COLLATE "C",
    evidence         bytea       NOT NULL,
    received_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal, seq)
);
COMMENT ON TABLE fare_facts IS 'Taps that members of the tenant''s integrated tariff handed over, to be priced here. Rider detail: erased after retention.';
COMMENT ON COLUMN fare_facts.seq IS 'The reader''s sequence number, with the member''s ordinal in the upper 16 bits.';
COMMENT ON COLUMN fare_facts.accepted IS 'What the operator says, as last heard.';
COMMENT ON COLUMN fare_facts.refusal IS 'Why the issuer refused the tap, empty if it did not. It stands whatever the operator says later.';
CREATE INDEX fare_facts_rider ON fare_facts (tenant_id, issuer, list, idx, event_time);
CREATE INDEX fare_facts_old ON fare_facts (tenant_id, event_time);
ALTER TABLE fare_facts ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_facts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_facts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (accepted, refusal), DELETE ON fare_facts TO citygate_app;
GRANT SELECT ON fare_facts TO citygate_auditor;

CREATE TABLE fare_pool_rides (
    tenant_id  bigint NOT NULL,
    journey_id uuid   NOT NULL,
    pool_id    uuid   NOT NULL,
    PRIMARY KEY (tenant_id, journey_id)
);
COMMENT ON TABLE fare_pool_rides IS 'Which rides'' money is divided together; a pool is named by its first ride. Its locks order those who divide it.';
CREATE INDEX fare_pool_rides_pool ON fare_pool_rides (tenant_id, pool_id);
ALTER TABLE fare_pool_rides ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_pool_rides FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_pool_rides USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (pool_id) ON fare_pool_rides TO citygate_app;
GRANT SELECT ON fare_pool_rides TO citygate_auditor;

CREATE TABLE fare_shares (
    tenant_id     bigint      NOT NULL,
    journey_id    uuid        NOT NULL,
    operator_id   bigint      NOT NULL,
    n             int         NOT NULL CHECK (n > 0),
    amount        bigint      NOT NULL CHECK (amount >= 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    taps          text        NOT NULL COLLATE "C",
    event_time    timestamptz NOT NULL,
    business_date date        NOT NULL,
    decided_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, operator_id, n)
);
COMMENT ON TABLE fare_shares IS 'What each operator gets for a ride priced by the tenant''s integrated tariff: n replaces n - 1. The shares of a pool add up to what its rides cost. Append-only.';
COMMENT ON COLUMN fare_shares.taps IS 'The operator''s own taps of the ride, by its own numbers; what tells it which ride it was.';
ALTER TABLE fare_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_shares USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (taps) ON fare_shares TO citygate_app;
GRANT SELECT ON fare_shares TO citygate_auditor;

CREATE TABLE fare_advices (
    tenant_id     bigint      NOT NULL,
    journey_id    uuid        NOT NULL,
    kind          text        NOT NULL COLLATE "C" CHECK (kind IN ('fee', 'uncollected', 'recovered', 'cleared')),
    ref           text        NOT NULL COLLATE "C",
    issuer_id     bigint      NOT NULL,
    contra        text        NOT NULL COLLATE "C",
    amount        bigint      NOT NULL CHECK (amount <> 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date date        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, kind, ref)
);
COMMENT ON TABLE fare_advices IS 'What issuers told about fares that are divided, item by item: fees, what is owed, what was paid over. It is passed on to the operators of the pool.';
ALTER TABLE fare_advices ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_advices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_advices USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON fare_advices TO citygate_app;
GRANT SELECT ON fare_advices TO citygate_auditor;

CREATE TABLE fare_passed (
    tenant_id     bigint      NOT NULL,
    journey_id    uuid        NOT NULL,
    operator_id   bigint      NOT NULL,
    kind          text        NOT NULL COLLATE "C" CHECK (kind IN ('fee', 'uncollected', 'recovered', 'cleared')),
    part          int         NOT NULL CHECK (part > 0),
    amount        bigint      NOT NULL CHECK (amount <> 0),
    currency      text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date date        NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, operator_id, kind, part)
);
COMMENT ON TABLE fare_passed IS 'What of fare_advices was passed on to each operator for its share of a ride. Append-only: what changes is told as a difference.';
ALTER TABLE fare_passed ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_passed FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_passed USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON fare_passed TO citygate_app;
GRANT SELECT ON fare_passed TO citygate_auditor;

ALTER TABLE fare_decisions ADD COLUMN shared_by bigint NOT NULL DEFAULT 0 CHECK (shared_by >= 0);
COMMENT ON COLUMN fare_decisions.shared_by IS 'The authority whose integrated tariff priced the ride, whose share this is; 0 = the tenant''s own fare. A share has no row in journeys.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
