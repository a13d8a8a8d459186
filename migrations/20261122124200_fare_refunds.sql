-- Fares given back by a decision of people.

-- +goose Up

CREATE TABLE fare_refunds (
    tenant_id  bigint      NOT NULL,
    journey_id uuid        NOT NULL,
    order_key  text        NOT NULL COLLATE "C" CHECK (length(order_key) BETWEEN 1 AND 64),
    kind       text        NOT NULL COLLATE "C" CHECK (kind IN ('void', 'goodwill')),
    amount     bigint      NOT NULL CHECK (amount >= 0),
    reason     text        NOT NULL,
    actor      text        NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, journey_id, order_key),
    CHECK ((kind = 'goodwill') = (amount > 0))
);
COMMENT ON TABLE fare_refunds IS 'Fares given back: void, as if the ride had not been, or an amount of goodwill. Every later decision of the journey goes by them. Append-only.';
ALTER TABLE fare_refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_refunds USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON fare_refunds TO citygate_app;
GRANT SELECT ON fare_refunds TO citygate_auditor;

CREATE TABLE fare_refund_rules (
    tenant_id   bigint      NOT NULL,
    version     int         NOT NULL CHECK (version > 0),
    alone_up_to bigint      NOT NULL CHECK (alone_up_to >= 0),
    actor       text        NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);
COMMENT ON TABLE fare_refund_rules IS 'Up to what amount, in minor units of the tenant''s currency, one person alone gives a fare back where the tenant wants two for money that leaves. The last version holds; without one, two are wanted for every refund.';
ALTER TABLE fare_refund_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_refund_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_refund_rules USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON fare_refund_rules TO citygate_app;
GRANT SELECT ON fare_refund_rules TO citygate_auditor;

-- +goose Down
-- Irreversible: what riders paid rests on it.
SELECT 1;
