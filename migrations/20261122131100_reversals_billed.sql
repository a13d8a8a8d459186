-- Rows of bills that take payments back.

-- +goose Up

ALTER TABLE external_lines ADD COLUMN reversed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN external_lines.reversed IS 'A refund row of a payment that the bank or provider took back, or gave back of it after a dispute: refund_id is its reference.';
GRANT UPDATE (charge_id, refund_id, expected, expected_fee) ON recon_items TO citygate_app;

-- +goose Down
-- Irreversible: what was booked rests on it.
SELECT 1;
