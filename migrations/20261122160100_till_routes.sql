-- Which of several contracts takes a payment at a till, and why.

-- +goose Up

ALTER TABLE till_payments
    ADD COLUMN route_version bigint NOT NULL DEFAULT 0 CHECK (route_version >= 0),
    ADD COLUMN route_rule text NOT NULL DEFAULT '' COLLATE "C" CHECK (length(route_rule) <= 200),
    ADD COLUMN route_finding text NOT NULL DEFAULT '' CHECK (length(route_finding) <= 2000);
COMMENT ON COLUMN till_payments.route_version IS 'Of the rule set that chose the contract; 0 = none did: the order named it, or the code told.';
COMMENT ON COLUMN till_payments.route_rule IS 'The rule that chose it.';
COMMENT ON COLUMN till_payments.route_finding IS 'Why rules that matched were not followed to the letter, and which contract was certainly not reached before.';
GRANT UPDATE (contract, route_version, route_rule, route_finding) ON till_payments TO citygate_app;
GRANT UPDATE (contract) ON charges TO citygate_app;

-- +goose Down
-- Irreversible: why a contract took a payment rests on it.
SELECT 1;
