-- How a tenant's taps become journeys: rules by version, what is known of readers
-- and stations, what riders claim, and how each journey was read.

-- +goose Up

CREATE TABLE journey_rules (
    tenant_id  bigint      NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    valid_from timestamptz NOT NULL,
    body       json        NOT NULL,
    digest     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE journey_rules IS 'Every version of how the tenant''s taps are paired and completed. A journey is built by the version in force at its first tap; versions never change. Before the first one the acceptance policy alone decides.';
CREATE UNIQUE INDEX journey_rules_valid_from ON journey_rules (tenant_id, valid_from);
ALTER TABLE journey_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_rules USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON journey_rules TO citygate_app;
GRANT SELECT ON journey_rules TO citygate_auditor;

CREATE TABLE journey_facts (
    tenant_id   bigint      NOT NULL,
    fact_id     uuid        NOT NULL,
    kind        text        NOT NULL COLLATE "C" CHECK (kind IN ('reader_kind_wrong', 'reader_place_wrong', 'gates_opened')),
    terminal    bigint      NOT NULL CHECK (terminal >= 0),
    stop        text        NOT NULL COLLATE "C",
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL CHECK (ends_at >= starts_at),
    recorded_at timestamptz NOT NULL,
    actor       text        NOT NULL COLLATE "C",
    PRIMARY KEY (tenant_id, fact_id),
    CONSTRAINT journey_facts_about CHECK ((kind = 'gates_opened') = (stop <> '') AND (kind = 'gates_opened') = (terminal = 0))
);
COMMENT ON TABLE journey_facts IS 'What the tenant knows of its readers and stations: a reader that declared kind or place wrongly, gates that were opened. Times are event times.';
CREATE INDEX journey_facts_ends ON journey_facts (tenant_id, ends_at);
ALTER TABLE journey_facts ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_facts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_facts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON journey_facts TO citygate_app;
GRANT SELECT ON journey_facts TO citygate_auditor;

CREATE TABLE journey_claims (
    tenant_id  bigint      NOT NULL,
    claim_id   uuid        NOT NULL,
    journey_id uuid        NOT NULL,
    issuer     int         NOT NULL,
    list       int         NOT NULL,
    idx        bigint      NOT NULL,
    terminal   bigint      NOT NULL,
    seq        bigint      NOT NULL,
    missing    text        NOT NULL COLLATE "C" CHECK (missing IN ('missing_on', 'missing_off')),
    stop       text        NOT NULL COLLATE "C",
    at         timestamptz,
    month      date        NOT NULL,
    claimed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, claim_id)
);
COMMENT ON TABLE journey_claims IS 'What riders say about a journey that lacks a tap: where it began or ended. It holds until the tap itself arrives.';
COMMENT ON COLUMN journey_claims.terminal IS 'Terminal and seq are the tap that is there.';
COMMENT ON COLUMN journey_claims.month IS 'First day of the calendar month it was claimed in, where the tenant is: the rules bound the claims of a month.';
CREATE INDEX journey_claims_rider ON journey_claims (tenant_id, issuer, list, idx);
CREATE UNIQUE INDEX journey_claims_once ON journey_claims (tenant_id, journey_id, terminal, seq);
ALTER TABLE journey_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_claims FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_claims USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON journey_claims TO citygate_app;
GRANT SELECT ON journey_claims TO citygate_auditor;

CREATE TABLE journey_corrections (
    tenant_id    bigint NOT NULL,
    from_journey uuid   NOT NULL,
    from_n       int    NOT NULL CHECK (from_n > 0),
    to_journey   uuid   NOT NULL,
    to_n         int    NOT NULL CHECK (to_n > 0),
    amount       bigint NOT NULL CHECK (amount > 0),
    currency     text   NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    PRIMARY KEY (tenant_id, from_journey, from_n, to_journey, to_n),
    CONSTRAINT journey_corrections_two CHECK (from_journey <> to_journey)
);
COMMENT ON TABLE journey_corrections IS 'Fares that moved from one journey of a rider to another when late knowledge changed both at once: the two halves, minus and plus amount, sum to zero.';
CREATE INDEX journey_corrections_to ON journey_corrections (tenant_id, to_journey);
ALTER TABLE journey_corrections ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_corrections FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_corrections USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON journey_corrections TO citygate_app;
GRANT SELECT ON journey_corrections TO citygate_auditor;

ALTER TABLE journeys ADD COLUMN reading text NOT NULL DEFAULT '' COLLATE "C";
ALTER TABLE journeys ADD COLUMN lacks boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN journeys.reading IS 'What was not taken as the taps declare it, as JSON: kinds and places in doubt, how a missing end was found and with which confidence. Empty = everything was.';
COMMENT ON COLUMN journeys.lacks IS 'An end is missing, or its place is not believed: late taps and facts of other days can change what is inferred.';
CREATE INDEX journeys_lacks ON journeys (tenant_id, issuer, list, idx, starts_at) WHERE lacks;
CREATE INDEX journeys_lacks_at ON journeys (tenant_id, starts_at) WHERE lacks;
GRANT UPDATE (reading, lacks) ON journeys TO citygate_app;

-- +goose Down
-- Irreversible: decisions about money are not taken away.
SELECT 1;
