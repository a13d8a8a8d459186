-- Proposals run when their proposer sends the request again: what is needed is
-- who runs one now, and which of its changes are made.

-- +goose Up

ALTER TABLE access_proposals
    DROP COLUMN credential,
    DROP COLUMN answer,
    ADD COLUMN holder uuid,
    ADD COLUMN done text[] NOT NULL,
    DROP CONSTRAINT access_proposals_state_check,
    DROP CONSTRAINT access_proposals_check,
    ADD CONSTRAINT access_proposals_state_check CHECK (state IN ('open', 'approved', 'executed', 'refused', 'withdrawn', 'void', 'expired')),
    ADD CONSTRAINT access_proposals_second_check CHECK (state IN ('open', 'withdrawn', 'expired', 'void') OR second IS NOT NULL);
COMMENT ON TABLE access_proposals IS 'Requests that wait for a second person, or had one. person is the human behind the proposer: of an API key its owner. What is approved is exactly operation, method, path and body: content_hash; body is kept for people to read, is never run, and is empty where it holds a secret. An approved request that runs has a holder since tried_at; the verbs of the changes it has made are in done, in the transactions of those changes, and ended_at says that it is over.';
GRANT UPDATE (holder, done) ON access_proposals TO citygate_app;

-- +goose Down
-- Irreversible: the schema goes forward only.
SELECT 1;
