-- What single terminals do otherwise than their operator's policy says.

-- +goose Up

CREATE TABLE terminal_profiles (
    tenant_id   bigint      NOT NULL,
    terminal_id bigint      NOT NULL,
    body        jsonb       NOT NULL,
    modes       text[]      NOT NULL COLLATE "C",
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, terminal_id),
    CONSTRAINT terminal_profiles_terminal FOREIGN KEY (tenant_id, terminal_id) REFERENCES terminals (tenant_id, terminal_id)
);
COMMENT ON TABLE terminal_profiles IS 'Overrides of single terminals, as their next bundle carries them; modes are all that a terminal was ever given, under each of which taps may still come in.';
ALTER TABLE terminal_profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminal_profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminal_profiles
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE (body, modes, updated_at) ON terminal_profiles TO citygate_app;
GRANT SELECT ON terminal_profiles TO citygate_auditor;

-- +goose Down
-- Irreversible: taps were decided under these.
SELECT 1;
