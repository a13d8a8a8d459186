-- Tariff versions, journeys and what was decided about them.

-- +goose Up

CREATE TABLE tariffs (
    tenant_id  bigint      NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    valid_from timestamptz NOT NULL,
    body       jsonb       NOT NULL,
    digest     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE tariffs IS 'Every version of the tenant''s prices. A ride is priced by the version that was valid at its first tap; versions never change.';
CREATE UNIQUE INDEX tariffs_valid_from ON tariffs (tenant_id, valid_from);
ALTER TABLE tariffs ENABLE ROW LEVEL SECURITY;
ALTER TABLE tariffs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tariffs USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON tariffs TO citygate_app;
GRANT SELECT ON tariffs TO citygate_auditor;

CREATE TABLE tariff_heads (
    tenant_id    bigint      NOT NULL PRIMARY KEY,
    published_at timestamptz NOT NULL
);
COMMENT ON TABLE tariff_heads IS 'One row for each tenant with a tariff; its lock orders those who publish one.';
ALTER TABLE tariff_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE tariff_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tariff_heads USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (published_at) ON tariff_heads TO citygate_app;
GRANT SELECT ON tariff_heads TO citygate_auditor;

CREATE TABLE pricing_riders (
    tenant_id bigint NOT NULL,
    issuer    int    NOT NULL,
    list      int    NOT NULL,
    idx       bigint NOT NULL,
    PRIMARY KEY (tenant_id, issuer, list, idx)
);
COMMENT ON TABLE pricing_riders IS 'One row for each rider with paired taps; its lock orders those who build the rider''s journeys.';
ALTER TABLE pricing_riders ENABLE ROW LEVEL SECURITY;
ALTER TABLE pricing_riders FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON pricing_riders USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
-- Nothing is ever updated; SELECT ... FOR UPDATE asks for the right on a column.
GRANT SELECT, INSERT, UPDATE (idx) ON pricing_riders TO citygate_app;
GRANT SELECT ON pricing_riders TO citygate_auditor;

CREATE TABLE journeys (
    tenant_id  bigint      NOT NULL,
    journey_id uuid        NOT NULL,
    issuer     int         NOT NULL,
    list       int         NOT NULL,
    idx        bigint      NOT NULL,
    paired     boolean     NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    taps       text        NOT NULL COLLATE "C",
    state      text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'priced', 'set_aside', 'empty')),
    reason     text        NOT NULL COLLATE "C",
    closes_at  timestamptz,
    last_n     int         NOT NULL CHECK (last_n >= 0),
    amount     bigint      NOT NULL CHECK (amount >= 0),
    payee      text        NOT NULL,
    account_id uuid,
    claimed    boolean     NOT NULL,
    PRIMARY KEY (tenant_id, journey_id),
    CONSTRAINT journeys_open CHECK ((state = 'open') = (closes_at IS NOT NULL)),
    CONSTRAINT journeys_amount CHECK (amount = 0 OR state = 'priced')
);
COMMENT ON TABLE journeys IS 'Rides as they stand: the taps of each ("terminal:seq", in order), its state and what is posted for it. fare_decisions say how it came to this.';
COMMENT ON COLUMN journeys.reason IS 'Why the fare is unknown (set_aside) or the ride empty.';
CREATE INDEX journeys_rider ON journeys (tenant_id, issuer, list, idx, starts_at);
CREATE INDEX journeys_due ON journeys (tenant_id, closes_at) WHERE state = 'open';
CREATE INDEX journeys_set_aside ON journeys (tenant_id, journey_id) WHERE state = 'set_aside';
ALTER TABLE journeys ENABLE ROW LEVEL SECURITY;
ALTER TABLE journeys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journeys USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (starts_at, ends_at, taps, state, reason, closes_at, last_n, amount, payee, account_id, claimed) ON journeys TO citygate_app;
GRANT SELECT ON journeys TO citygate_auditor;

CREATE TABLE fare_decisions (
    tenant_id      bigint      NOT NULL,
    journey_id     uuid        NOT NULL,
    n              int         NOT NULL CHECK (n > 0),
    supersedes     int         CHECK (supersedes = n - 1),
    taps           text        NOT NULL COLLATE "C",
    issuer_tenant  bigint      NOT NULL,
    account_id     uuid,
    payee          text        NOT NULL,
    known          boolean     NOT NULL,
    reason         text        NOT NULL COLLATE "C",
    amount         bigint      NOT NULL CHECK (amount >= 0),
    currency       text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    tariff_version bigint      NOT NULL CHECK (tariff_version >= 0),
    inputs_hash    bytea       NOT NULL,
    explanation    json        NOT NULL,
    event_time     timestamptz NOT NULL,
    business_date  date        NOT NULL,
    calendar_version int       NOT NULL,
    window_date    date        NOT NULL,
    decided_at     timestamptz NOT NULL,
    claim_state    text        NOT NULL COLLATE "C" CHECK (claim_state IN ('none', 'pending', 'accepted', 'refused')),
    PRIMARY KEY (tenant_id, journey_id, n),
    CONSTRAINT fare_decisions_unknown CHECK (known OR amount = 0)
);
COMMENT ON TABLE fare_decisions IS 'What a journey costs, decision by decision: n replaces n - 1. An unknown fare is set aside and costs nothing until it is known. Append-only.';
COMMENT ON COLUMN fare_decisions.claim_state IS 'What was known of the claim when the fare was decided; pending ones are answered in claim_verdicts.';
COMMENT ON COLUMN fare_decisions.explanation IS 'The steps to the amount, verbatim; json and not jsonb, so that not one byte changes.';
ALTER TABLE fare_decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_decisions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_decisions USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON fare_decisions TO citygate_app;
GRANT SELECT ON fare_decisions TO citygate_auditor;

CREATE TABLE claim_verdicts (
    tenant_id  bigint      NOT NULL,
    journey_id uuid        NOT NULL,
    n          int         NOT NULL CHECK (n > 0),
    accepted   boolean     NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, n)
);
COMMENT ON TABLE claim_verdicts IS 'What issuers answered to claims on their riders, by decision. The first answer stands; why a tap was refused is a verdict on the tap.';
ALTER TABLE claim_verdicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE claim_verdicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claim_verdicts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON claim_verdicts TO citygate_app;
GRANT SELECT ON claim_verdicts TO citygate_auditor;

-- +goose Down
-- Irreversible: decisions about money are not taken away.
SELECT 1;
