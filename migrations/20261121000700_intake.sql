-- Taps as they came in: what was recorded, what was refused and why, and the raw
-- codes as evidence.

-- +goose Up

CREATE TABLE tap_seen (
    tenant_id   bigint      NOT NULL,
    terminal    bigint      NOT NULL CHECK (terminal BETWEEN 0 AND 4294967295),
    seq         bigint      NOT NULL CHECK (seq > 0),
    digest      bytea       NOT NULL CHECK (octet_length(digest) = 32),
    accepted    boolean     NOT NULL,
    reason      text        NOT NULL COLLATE "C",
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal, seq),
    CONSTRAINT tap_seen_reason CHECK (accepted = (reason = ''))
);
COMMENT ON TABLE tap_seen IS 'One row for every tap ever received, with the digest of its content: decides fresh, duplicate or conflict. received_at says which partition holds the tap.';
ALTER TABLE tap_seen ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_seen FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_seen USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON tap_seen TO citygate_app;
GRANT SELECT ON tap_seen TO citygate_auditor;

CREATE TABLE taps (
    tenant_id        bigint      NOT NULL,
    terminal         bigint      NOT NULL,
    seq              bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    kind             smallint    NOT NULL CHECK (kind BETWEEN 1 AND 3),
    accepted         boolean     NOT NULL,
    reason           text        NOT NULL COLLATE "C",
    opened           boolean     NOT NULL,
    event_time       timestamptz NOT NULL,
    generated_at     timestamptz,
    business_date    date        NOT NULL,
    calendar_version int         NOT NULL,
    policy_version   bigint      NOT NULL,
    clock_suspect    boolean     NOT NULL,
    issuer           int,
    list             int,
    idx              bigint,
    ctr              int,
    product          int,
    party            smallint    NOT NULL,
    stop             text        NOT NULL COLLATE "C",
    route            text        NOT NULL COLLATE "C",
    vehicle          text        NOT NULL COLLATE "C",
    driver           text        NOT NULL COLLATE "C",
    entered_minor    bigint,
    entered_currency text        COLLATE "C" CHECK (entered_currency ~ '^[A-Z]{3}$'),
    evidence_digest  bytea       NOT NULL,
    record           bytea       NOT NULL,
    PRIMARY KEY (tenant_id, terminal, seq, received_at),
    CONSTRAINT taps_reason CHECK (accepted = (reason = '')),
    CONSTRAINT taps_rider CHECK (NOT accepted OR (issuer IS NOT NULL AND list IS NOT NULL AND idx IS NOT NULL AND ctr IS NOT NULL)),
    CONSTRAINT taps_entered CHECK ((entered_minor IS NULL) = (entered_currency IS NULL))
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE taps IS 'Every tap received, accepted or refused, by month of receipt. record is the terminal''s record without the raw code: boot, clock, versions, trip, shift and fields newer than this gateway.';
COMMENT ON COLUMN taps.opened IS 'What the terminal decided; accepted and reason are what the gateway did.';
COMMENT ON COLUMN taps.clock_suspect IS 'The terminal was not sure of its time, or its time is far from the codes it reads.';
COMMENT ON COLUMN taps.issuer IS 'Issuer, list and idx are the rider as the code says it; not proven on a refused tap.';
-- Only taps that pair are looked up by rider; single taps do not pay for it.
CREATE INDEX taps_rider ON taps (tenant_id, issuer, list, idx, event_time) WHERE accepted AND kind < 3;
ALTER TABLE taps ENABLE ROW LEVEL SECURITY;
ALTER TABLE taps FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON taps USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON taps TO citygate_app;
GRANT SELECT ON taps TO citygate_auditor;

CREATE TABLE tap_evidence (
    tenant_id   bigint      NOT NULL,
    received_at timestamptz NOT NULL,
    digest      bytea       NOT NULL CHECK (octet_length(digest) = 32),
    raw         bytea       NOT NULL,
    PRIMARY KEY (tenant_id, received_at, digest)
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE tap_evidence IS 'Raw code bytes by digest, by month of receipt, so that a month can be dropped while the money it proves stays.';
ALTER TABLE tap_evidence ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_evidence FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_evidence USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON tap_evidence TO citygate_app;
GRANT SELECT ON tap_evidence TO citygate_auditor;

-- Partitions are made by the owner, ahead of time; the gateway cannot make one.
-- What falls outside lands in the default partition and is not lost.
-- +goose StatementBegin
CREATE FUNCTION create_tap_partitions(first_month date, months int) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    parent text;
    part   text;
    month  date;
BEGIN
    FOREACH parent IN ARRAY ARRAY['taps', 'tap_evidence'] LOOP
        FOR n IN 0 .. months LOOP
            month := (date_trunc('month', first_month) + make_interval(months => n))::date;
            IF n = months THEN
                part := parent || '_default';
            ELSE
                part := parent || to_char(month, '_YYYYMM');
            END IF;
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            IF n = months THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', part, parent);
            ELSE
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', part, parent,
                    month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
            END IF;
            EXECUTE format('COMMENT ON TABLE %I IS %L', part, 'A partition of ' || parent || '; reached through it only.');
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
            EXECUTE format('CREATE POLICY tenant ON %I USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::bigint) WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::bigint)', part);
        END LOOP;
    END LOOP;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION create_tap_partitions IS 'Makes the monthly partitions of taps and tap_evidence that are missing, and the default ones. For the owner.';
REVOKE ALL ON FUNCTION create_tap_partitions FROM PUBLIC;
SELECT create_tap_partitions('2026-10-01', 18);

CREATE TABLE tap_uses (
    tenant_id   bigint      NOT NULL,
    issuer      int         NOT NULL,
    list        int         NOT NULL,
    idx         bigint      NOT NULL,
    ctr         int         NOT NULL,
    terminal    bigint      NOT NULL,
    seq         bigint      NOT NULL,
    digest      bytea       NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, issuer, list, idx, ctr)
);
COMMENT ON TABLE tap_uses IS 'Who used a display of a credential first, among this tenant''s terminals. The same code bytes again are a double use, other bytes with the same counter are a clone.';
ALTER TABLE tap_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_uses FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_uses USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON tap_uses TO citygate_app;
GRANT SELECT ON tap_uses TO citygate_auditor;

CREATE TABLE tap_conflicts (
    tenant_id   bigint      NOT NULL,
    terminal    bigint      NOT NULL,
    seq         bigint      NOT NULL,
    digest      bytea       NOT NULL,
    record      bytea       NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal, seq, digest)
);
COMMENT ON TABLE tap_conflicts IS 'Records that came under a number which already had other content, whole, as evidence.';
ALTER TABLE tap_conflicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_conflicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_conflicts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON tap_conflicts TO citygate_app;
GRANT SELECT ON tap_conflicts TO citygate_auditor;

CREATE TABLE tap_batches (
    tenant_id   bigint      NOT NULL,
    terminal    bigint      NOT NULL,
    first_seq   bigint      NOT NULL,
    sha256      bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    taps        int         NOT NULL CHECK (taps > 0),
    prev_sha256 bytea       NOT NULL CHECK (octet_length(prev_sha256) = 32),
    recorded    int         NOT NULL CHECK (recorded >= 0),
    refused     int         NOT NULL CHECK (refused >= 0),
    duplicate   int         NOT NULL CHECK (duplicate >= 0),
    resent      bigint      NOT NULL CHECK (resent >= 0),
    chain       text        NOT NULL CHECK (chain IN ('ok', 'gap', 'lost', 'fork')),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal, sha256),
    CONSTRAINT tap_batches_sum CHECK (recorded + refused + duplicate = taps)
);
COMMENT ON TABLE tap_batches IS 'Batches as terminals signed them. chain says whether the batch named as the one before is here (ok), may still come (gap), did not come in time (lost) or is another (fork).';
COMMENT ON COLUMN tap_batches.resent IS 'Taps received once more because this very batch came again.';
CREATE INDEX tap_batches_prev ON tap_batches (tenant_id, terminal, prev_sha256);
CREATE INDEX tap_batches_gaps ON tap_batches (tenant_id, received_at) WHERE chain = 'gap';
ALTER TABLE tap_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_batches USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (resent, chain) ON tap_batches TO citygate_app;
GRANT SELECT ON tap_batches TO citygate_auditor;

CREATE TABLE tap_terminals (
    tenant_id  bigint      NOT NULL,
    terminal   bigint      NOT NULL,
    offsets_ms bigint[]    NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal)
);
COMMENT ON TABLE tap_terminals IS 'One row for each terminal that uploads; its lock orders the terminal''s batches. offsets_ms: code time minus event time of its last taps.';
ALTER TABLE tap_terminals ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_terminals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_terminals USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (offsets_ms, last_at) ON tap_terminals TO citygate_app;
GRANT SELECT ON tap_terminals TO citygate_auditor;

CREATE TABLE tap_verdicts (
    tenant_id bigint      NOT NULL,
    terminal  bigint      NOT NULL,
    seq       bigint      NOT NULL,
    reason    text        NOT NULL COLLATE "C" CHECK (reason <> ''),
    source    text        NOT NULL CHECK (source <> ''),
    at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal, seq),
    FOREIGN KEY (tenant_id, terminal, seq) REFERENCES tap_seen (tenant_id, terminal, seq)
);
COMMENT ON TABLE tap_verdicts IS 'Taps refused after they were recorded, by the issuer of the code. The first verdict stands.';
ALTER TABLE tap_verdicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_verdicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_verdicts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON tap_verdicts TO citygate_app;
GRANT SELECT ON tap_verdicts TO citygate_auditor;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
