-- The database roles of Citygate. Run as a superuser, once per cluster, before
-- "citygate migrate"; running it again changes nothing.
--
--   psql -f deploy/roles.sql
--   createdb --owner citygate_owner --encoding UTF8 --template template0 citygate
--
-- The roles may log in but have no password here: give them one (or a
-- certificate, or a peer mapping) that suits the installation, e.g.
--   ALTER ROLE citygate_app PASSWORD '...';
--
-- citygate_owner    owns the schema and runs migrations; the gateway never uses it
-- citygate_app      the gateway: bound by row-level security, owns nothing
-- citygate_jobs     the job workers: schema river only
-- citygate_auditor  the invariant checks: reads every tenant, writes nothing

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['citygate_owner', 'citygate_app', 'citygate_jobs', 'citygate_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
    END LOOP;
END
$$;

ALTER ROLE citygate_owner   NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
ALTER ROLE citygate_app     NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
ALTER ROLE citygate_jobs    NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
ALTER ROLE citygate_auditor NOSUPERUSER BYPASSRLS   NOCREATEDB NOCREATEROLE NOREPLICATION;

-- A second line behind the missing write grants.
ALTER ROLE citygate_auditor SET default_transaction_read_only = on;
