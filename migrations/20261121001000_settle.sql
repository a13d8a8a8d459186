-- Settlement: windows, what came in for journeys, and what is paid to payees.

-- +goose Up

CREATE TABLE windows (
    tenant_id        bigint      NOT NULL,
    business_date    date        NOT NULL,
    calendar_version int         NOT NULL,
    state            text        NOT NULL COLLATE "C" CHECK (state IN ('open', 'closed', 'paid')),
    opens_at         timestamptz NOT NULL,
    ends_at          timestamptz NOT NULL,
    closes_at        timestamptz NOT NULL,
    pays_at          timestamptz NOT NULL,
    closed_at        timestamptz,
    paid_at          timestamptz,
    totals_hash      bytea,
    PRIMARY KEY (tenant_id, business_date),
    CONSTRAINT windows_order CHECK (opens_at < ends_at AND ends_at <= closes_at AND closes_at <= pays_at),
    CONSTRAINT windows_closed CHECK ((state = 'open') = (closed_at IS NULL) AND (state = 'open') = (totals_hash IS NULL)),
    CONSTRAINT windows_paid CHECK ((state = 'paid') = (paid_at IS NOT NULL))
);
COMMENT ON TABLE windows IS 'Settlement windows, one per business date. The instants follow from the calendar and are fixed when the window is first needed. A window is never opened again.';
COMMENT ON COLUMN windows.totals_hash IS 'SHA-256 of what each payee earned by the decisions in the window, taken when it closed.';
CREATE INDEX windows_unpaid ON windows (tenant_id, business_date) WHERE state <> 'paid';
ALTER TABLE windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE windows FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON windows USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, closed_at, paid_at, totals_hash) ON windows TO citygate_app;
GRANT SELECT ON windows TO citygate_auditor;

CREATE TABLE receipts (
    tenant_id        bigint      NOT NULL,
    journey_id       uuid        NOT NULL,
    kind             text        NOT NULL COLLATE "C" CHECK (kind IN ('fee', 'uncollected', 'recovered', 'cleared', 'carried')),
    ref              text        NOT NULL COLLATE "C",
    issuer_id        bigint      NOT NULL,
    contra           text        NOT NULL COLLATE "C",
    payee            text        NOT NULL COLLATE "C",
    amount           bigint      NOT NULL CHECK (amount <> 0),
    currency         text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    business_date    date        NOT NULL,
    calendar_version int         NOT NULL,
    window_date      date        NOT NULL,
    at               timestamptz NOT NULL,
    received_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, kind, ref)
);
COMMENT ON TABLE receipts IS 'What an issuer told about a journey''s fare, item by item. What is cleared is money that came in and is paid to the payee with its window; what is carried moves a payee''s negative sum to the next window.';
COMMENT ON COLUMN receipts.contra IS 'The account on the other side of the payable; the bank''s partner for cleared money of another tenant, empty where nothing is posted.';
-- Windows follow the order of arrival, so a few pages hold a window's rows.
CREATE INDEX receipts_window ON receipts USING brin (tenant_id, window_date) WITH (pages_per_range = 16);
ALTER TABLE receipts ENABLE ROW LEVEL SECURITY;
ALTER TABLE receipts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON receipts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON receipts TO citygate_app;
GRANT SELECT ON receipts TO citygate_auditor;

CREATE TABLE payouts (
    tenant_id        bigint      NOT NULL,
    payout_id        uuid        NOT NULL,
    window_date      date        NOT NULL,
    payee            text        NOT NULL COLLATE "C",
    currency         text        NOT NULL COLLATE "C" CHECK (currency ~ '^[A-Z]{3}$'),
    amount           bigint      NOT NULL CHECK (amount > 0),
    receipts         bigint      NOT NULL CHECK (receipts > 0),
    end_to_end_id    text        NOT NULL COLLATE "C" CHECK (length(end_to_end_id) BETWEEN 1 AND 35),
    state            text        NOT NULL COLLATE "C" CHECK (state IN ('created', 'sent')),
    csv_file         text        NOT NULL,
    xml_file         text        NOT NULL,
    business_date    date        NOT NULL,
    calendar_version int         NOT NULL,
    created_at       timestamptz NOT NULL,
    sent_at          timestamptz,
    PRIMARY KEY (tenant_id, payout_id),
    UNIQUE (tenant_id, window_date, payee, currency),
    UNIQUE (tenant_id, end_to_end_id),
    CONSTRAINT payouts_sent CHECK ((state = 'sent') = (sent_at IS NOT NULL) AND (state = 'sent') = (csv_file <> '' AND xml_file <> ''))
);
COMMENT ON TABLE payouts IS 'What was paid to each payee for a window, and the files that ordered it.';
CREATE INDEX payouts_created ON payouts (tenant_id, window_date) WHERE state = 'created';
ALTER TABLE payouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE payouts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payouts USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (state, csv_file, xml_file, sent_at) ON payouts TO citygate_app;
GRANT SELECT ON payouts TO citygate_auditor;

-- Closing a window adds up its decisions. They are written in the order of
-- their windows, so this costs their writer next to nothing.
CREATE INDEX fare_decisions_window ON fare_decisions USING brin (tenant_id, window_date) WITH (pages_per_range = 16);

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
