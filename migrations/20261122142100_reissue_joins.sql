-- What another issue of a bill says otherwise of payments is corrected by joining it to
-- their items, as a first issue is matched.

-- +goose Up

GRANT UPDATE (opened_at) ON recon_items TO citygate_app;
COMMENT ON TABLE external_files IS 'Providers'' bills, each issue of one for itself. A bill never changes; matched_to is how far the joining of its rows came.';

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
