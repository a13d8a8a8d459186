-- Rows of bills are found by their bill alone: nobody looks for them by payment, and
-- the index cost a fifth of storing one.

-- +goose Up

DROP INDEX external_lines_our_id;

-- An item is looked for by contract and item, or by contract, day and row. With the
-- contract second in both indexes a planner without statistics may take the wrong one
-- and read all items of the contract for each.
DROP INDEX recon_items_line;
CREATE UNIQUE INDEX recon_items_line ON recon_items (tenant_id, day, contract, line_no) WHERE line_no IS NOT NULL;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
