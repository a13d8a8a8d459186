-- Riders of code schemes that are not ours: who reads such codes and how, whose
-- account is behind one, and the taps that wait to be told.

-- +goose Up

CREATE TABLE code_schemes (
    tenant_id  bigint      NOT NULL,
    scheme     text        NOT NULL COLLATE "C" CHECK (scheme <> ''),
    params     text        NOT NULL COLLATE "C",
    roots      jsonb       NOT NULL,
    operators  bigint[]    NOT NULL,
    contract   text        NOT NULL COLLATE "C",
    opens      boolean     NOT NULL,
    asks       boolean     NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, scheme),
    CONSTRAINT code_schemes_contract CHECK (contract <> '' OR NOT (opens OR asks))
);
COMMENT ON TABLE code_schemes IS 'How a tenant that answers for codes of a scheme has them read, by what foreign keys and by which operators besides itself. opens: who proves himself without an account is given one under contract. asks: the provider of contract is asked whose a deferred code is.';
ALTER TABLE code_schemes ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_schemes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_schemes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (params, roots, operators, contract, opens, asks, updated_at) ON code_schemes TO citygate_app;
GRANT SELECT ON code_schemes TO citygate_auditor;

CREATE TABLE foreign_lists (
    tenant_id bigint NOT NULL,
    list      int    NOT NULL CHECK (list BETWEEN 32768 AND 65535),
    riders    bigint NOT NULL CHECK (riders BETWEEN 0 AND 4294967295),
    PRIMARY KEY (tenant_id, list)
);
COMMENT ON TABLE foreign_lists IS 'How many foreign riders a list has: the next free index. Lists from 32768 on hold no credentials.';
ALTER TABLE foreign_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_lists USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (riders) ON foreign_lists TO citygate_app;
GRANT SELECT ON foreign_lists TO citygate_auditor;

CREATE TABLE foreign_riders (
    tenant_id  bigint      NOT NULL,
    list       int         NOT NULL,
    idx        bigint      NOT NULL CHECK (idx BETWEEN 0 AND 4294967294),
    scheme     text        NOT NULL COLLATE "C",
    subject    bytea       NOT NULL CHECK (octet_length(subject) = 32),
    account_id uuid        NOT NULL,
    opened_by  text        NOT NULL COLLATE "C" CHECK (opened_by IN ('registered', 'first_sight', 'provider')),
    displays   int         NOT NULL CHECK (displays BETWEEN 0 AND 65535),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT foreign_riders_list FOREIGN KEY (tenant_id, list) REFERENCES foreign_lists (tenant_id, list),
    CONSTRAINT foreign_riders_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts (tenant_id, account_id)
);
CREATE UNIQUE INDEX foreign_riders_subject ON foreign_riders (tenant_id, scheme, subject);
COMMENT ON TABLE foreign_riders IS 'Whose account is behind the codes of a subject of another scheme. subject is a digest in the scheme''s own terms. A rider keeps the account; displays is the last counter that was given to one of the codes.';
ALTER TABLE foreign_riders ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_riders FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_riders USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (displays) ON foreign_riders TO citygate_app;
GRANT SELECT ON foreign_riders TO citygate_auditor;

CREATE TABLE foreign_codes (
    tenant_id   bigint      NOT NULL,
    scheme      text        NOT NULL COLLATE "C",
    once        bytea       NOT NULL CHECK (octet_length(once) = 32),
    operator_id bigint      NOT NULL,
    terminal    bigint      NOT NULL,
    seq         bigint      NOT NULL,
    subject     bytea       NOT NULL CHECK (octet_length(subject) = 32),
    proven      boolean     NOT NULL,
    cap_minor   bigint      NOT NULL,
    digest      bytea       NOT NULL CHECK (octet_length(digest) = 32),
    evidence    bytea       NOT NULL,
    event_time  timestamptz NOT NULL,
    fare_minor  bigint      NOT NULL,
    fare_currency text      NOT NULL COLLATE "C",
    give_up_at  timestamptz NOT NULL,
    state       text        NOT NULL COLLATE "C" CHECK (state IN ('waiting', 'sent', 'unknown', 'named', 'refused')),
    reason      text        NOT NULL COLLATE "C",
    list        int,
    idx         bigint,
    ctr         int CHECK (ctr BETWEEN 1 AND 65535),
    attempts    int         NOT NULL,
    next_try_at timestamptz NOT NULL,
    told        boolean     NOT NULL,
    created_at  timestamptz NOT NULL,
    decided_at  timestamptz,
    PRIMARY KEY (tenant_id, scheme, once),
    CONSTRAINT foreign_codes_reason CHECK ((state = 'refused') = (reason <> '')),
    CONSTRAINT foreign_codes_named CHECK ((state = 'named') = (list IS NOT NULL AND idx IS NOT NULL AND ctr IS NOT NULL)),
    CONSTRAINT foreign_codes_decided CHECK ((state IN ('named', 'refused')) = (decided_at IS NOT NULL)),
    CONSTRAINT foreign_codes_rider FOREIGN KEY (tenant_id, list, idx) REFERENCES foreign_riders (tenant_id, list, idx)
);
CREATE UNIQUE INDEX foreign_codes_display ON foreign_codes (tenant_id, list, idx, ctr) WHERE list IS NOT NULL;
CREATE INDEX foreign_codes_open ON foreign_codes (tenant_id, next_try_at) WHERE decided_at IS NULL;
CREATE INDEX foreign_codes_untold ON foreign_codes (tenant_id, operator_id) WHERE NOT told;
COMMENT ON TABLE foreign_codes IS 'Each display of another scheme''s code that a tap asked this tenant about, once, with the first tap that showed it. sent is written before the provider is asked whose it is; unknown is the provider''s answer, or none.';
ALTER TABLE foreign_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_codes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (subject, state, reason, list, idx, ctr, attempts, next_try_at, told, decided_at) ON foreign_codes TO citygate_app;
GRANT SELECT ON foreign_codes TO citygate_auditor;

CREATE TABLE foreign_taps (
    tenant_id        bigint      NOT NULL,
    terminal         bigint      NOT NULL,
    seq              bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    kind             smallint    NOT NULL,
    opened           boolean     NOT NULL,
    event_time       timestamptz NOT NULL,
    generated_at     timestamptz,
    business_date    date        NOT NULL,
    calendar_version int         NOT NULL,
    policy_version   bigint      NOT NULL,
    clock_suspect    boolean     NOT NULL,
    issuer           int         NOT NULL,
    product          int         NOT NULL,
    party            smallint    NOT NULL,
    stop             text        NOT NULL COLLATE "C",
    route            text        NOT NULL COLLATE "C",
    vehicle          text        NOT NULL COLLATE "C",
    driver           text        NOT NULL COLLATE "C",
    entered_minor    bigint,
    entered_currency text        COLLATE "C",
    evidence_digest  bytea       NOT NULL,
    record           bytea       NOT NULL,
    scheme           text        NOT NULL COLLATE "C",
    deferred         boolean     NOT NULL,
    give_up_at       timestamptz NOT NULL,
    state            text        NOT NULL COLLATE "C" CHECK (state IN ('waiting', 'named', 'refused')),
    decided_at       timestamptz,
    PRIMARY KEY (tenant_id, terminal, seq),
    CONSTRAINT foreign_taps_seen FOREIGN KEY (tenant_id, terminal, seq) REFERENCES tap_seen (tenant_id, terminal, seq),
    CONSTRAINT foreign_taps_decided CHECK ((state = 'waiting') = (decided_at IS NULL))
);
CREATE INDEX foreign_taps_waiting ON foreign_taps (tenant_id, give_up_at) WHERE state = 'waiting';
COMMENT ON TABLE foreign_taps IS 'Taps recorded with a code whose rider another tenant, or a provider, is still to name. They become taps, accepted or refused, when that is known.';
ALTER TABLE foreign_taps ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_taps FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_taps USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, decided_at) ON foreign_taps TO citygate_app;
GRANT SELECT ON foreign_taps TO citygate_auditor;

-- +goose Down
-- Irreversible: whose ride a code was is evidence.
SELECT 1;
