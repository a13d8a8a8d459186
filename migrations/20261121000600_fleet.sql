-- Terminals, vehicles, payees, who drove for whom, and the published bundles.

-- +goose Up

CREATE TABLE terminals (
    tenant_id       bigint      NOT NULL,
    terminal_id     bigint      NOT NULL CHECK (terminal_id BETWEEN 1 AND 4294967295),
    name            text        NOT NULL CHECK (name <> ''),
    public_key      bytea       NOT NULL CHECK (octet_length(public_key) > 0),
    algorithm       text        NOT NULL CHECK (algorithm IN ('ed25519', 'ecdsa-p256')),
    kind            text        NOT NULL CHECK (kind IN ('gate', 'validator', 'taximeter')),
    mode            text        NOT NULL CHECK (mode IN ('on_off', 'single')),
    stop            text        NOT NULL,
    route           text        NOT NULL,
    vehicle         text        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('active', 'suspended')),
    bundle_floor    bigint      NOT NULL CHECK (bundle_floor >= 0),
    software        text        NOT NULL,
    clock_offset_ms bigint,
    enrolled_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal_id),
    CONSTRAINT terminals_public_key UNIQUE (tenant_id, public_key)
);
COMMENT ON TABLE terminals IS 'Terminal keys. A device that gets a new key is a new row: the id names the key that signed its taps for ever.';
ALTER TABLE terminals ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminals
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
-- The key behind an id is never exchanged.
GRANT SELECT, INSERT, UPDATE (name, stop, route, vehicle, state, bundle_floor, software, clock_offset_ms) ON terminals TO citygate_app;
GRANT SELECT ON terminals TO citygate_auditor;

CREATE TABLE terminal_flags (
    tenant_id   bigint      NOT NULL,
    terminal_id bigint      NOT NULL,
    flag        text        NOT NULL CHECK (flag ~ '^[a-z][a-z_]{0,39}$'),
    since       timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    times       bigint      NOT NULL CHECK (times > 0),
    detail      text        NOT NULL,
    cleared_at  timestamptz,
    PRIMARY KEY (tenant_id, terminal_id, flag),
    FOREIGN KEY (tenant_id, terminal_id) REFERENCES terminals (tenant_id, terminal_id)
);
COMMENT ON TABLE terminal_flags IS 'What is wrong with a terminal. A flag never refuses taps; people look at it. detail is the first case since it was raised.';
ALTER TABLE terminal_flags ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminal_flags FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminal_flags
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (since, last_seen, times, detail, cleared_at) ON terminal_flags TO citygate_app;
GRANT SELECT ON terminal_flags TO citygate_auditor;

CREATE TABLE vehicles (
    tenant_id bigint NOT NULL,
    vehicle   text   NOT NULL CHECK (vehicle <> ''),
    kind      text   NOT NULL CHECK (kind IN ('train', 'bus', 'minibus', 'taxi', 'ferry')),
    plate     text   NOT NULL,
    PRIMARY KEY (tenant_id, vehicle)
);
COMMENT ON TABLE vehicles IS 'Vehicles of an operator.';
ALTER TABLE vehicles ENABLE ROW LEVEL SECURITY;
ALTER TABLE vehicles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vehicles
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (kind, plate) ON vehicles TO citygate_app;
GRANT SELECT ON vehicles TO citygate_auditor;

CREATE TABLE payees (
    tenant_id  bigint  NOT NULL,
    payee      text    NOT NULL CHECK (payee ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    kind       text    NOT NULL CHECK (kind IN ('operator', 'owner', 'driver')),
    name       text    NOT NULL CHECK (name <> ''),
    account    text    NOT NULL,
    bank_id    text    NOT NULL,
    is_default boolean NOT NULL,
    PRIMARY KEY (tenant_id, payee)
);
COMMENT ON TABLE payees IS 'Who is paid: the operator, owners of vehicles, drivers. The default payee gets what no assignment gives to another.';
CREATE UNIQUE INDEX payees_default ON payees (tenant_id) WHERE is_default;
ALTER TABLE payees ENABLE ROW LEVEL SECURITY;
ALTER TABLE payees FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payees
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
-- The default payee is chosen once: books are kept under it.
GRANT SELECT, INSERT, UPDATE (name, account, bank_id) ON payees TO citygate_app;
GRANT SELECT ON payees TO citygate_auditor;

CREATE TABLE assignments (
    tenant_id    bigint      NOT NULL,
    subject_kind text        NOT NULL CHECK (subject_kind IN ('vehicle', 'driver')),
    subject      text        NOT NULL CHECK (subject <> ''),
    valid_from   timestamptz NOT NULL,
    payee        text,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_kind, subject, valid_from),
    FOREIGN KEY (tenant_id, payee) REFERENCES payees (tenant_id, payee)
);
COMMENT ON TABLE assignments IS 'From valid_from on the fares of a vehicle or driver belong to payee (NULL: to the default payee), until the next row of the same subject: two assignments cannot overlap.';
ALTER TABLE assignments ENABLE ROW LEVEL SECURITY;
ALTER TABLE assignments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON assignments
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON assignments TO citygate_app;
GRANT SELECT ON assignments TO citygate_auditor;

CREATE TABLE bundles (
    tenant_id  bigint      NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    body       bytea       NOT NULL,
    etag       text        NOT NULL CHECK (etag <> ''),
    issued_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > issued_at),
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE bundles IS 'Signed trust bundles (TB1) for the terminals of an operator, verbatim. Versions only grow; each names the digest of the one before.';
ALTER TABLE bundles ENABLE ROW LEVEL SECURITY;
ALTER TABLE bundles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bundles
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON bundles TO citygate_app;
GRANT SELECT ON bundles TO citygate_auditor;

-- +goose Down
-- Irreversible: terminal ids and published bundles are evidence.
