-- +goose Up
CREATE TABLE outbox_heads (
    tenant_id     bigint NOT NULL,
    to_tenant     bigint NOT NULL,
    last_position bigint NOT NULL,
    PRIMARY KEY (tenant_id, to_tenant),
    CONSTRAINT outbox_heads_positive CHECK (last_position > 0)
);
COMMENT ON TABLE outbox_heads IS 'The number of the last message to each tenant; its lock orders messages as their transactions commit.';
ALTER TABLE outbox_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outbox_heads USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (last_position) ON outbox_heads TO citygate_app;
GRANT SELECT ON outbox_heads TO citygate_auditor;

CREATE TABLE outbox (
    tenant_id    bigint      NOT NULL,
    to_tenant    bigint      NOT NULL,
    position     bigint      NOT NULL,
    kind         text        NOT NULL COLLATE "C",
    body         bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    delivered_at timestamptz,
    PRIMARY KEY (tenant_id, to_tenant, position),
    CONSTRAINT outbox_other CHECK (to_tenant <> tenant_id)
);
COMMENT ON TABLE outbox IS 'Messages to other tenants, stored with what they speak of and delivered later.';
CREATE INDEX outbox_undelivered ON outbox (tenant_id, to_tenant, position) WHERE delivered_at IS NULL;
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outbox USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (delivered_at) ON outbox TO citygate_app;
GRANT SELECT ON outbox TO citygate_auditor;

CREATE TABLE inbox (
    tenant_id   bigint      NOT NULL,
    from_tenant bigint      NOT NULL,
    position    bigint      NOT NULL,
    kind        text        NOT NULL COLLATE "C",
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, from_tenant, position)
);
COMMENT ON TABLE inbox IS 'Messages from other tenants that were handled; a row here and the effect of the message are one transaction.';
ALTER TABLE inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON inbox USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT ON inbox TO citygate_app;
GRANT SELECT ON inbox TO citygate_auditor;

-- +goose Down
-- Irreversible: messages are not taken away.
SELECT 1;
