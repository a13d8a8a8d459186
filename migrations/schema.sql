-- The schema that the migrations add up to, for readers. Not run by anything:
-- the migrations are. Written by
--   go test ./tenants/pg -run TestSchemaDumpIsUpToDate -update
-- Roles come from deploy/roles.sql, schema river from its own migration.

CREATE SCHEMA platform;

CREATE TABLE access_grants (
    tenant_id bigint NOT NULL,
    role text NOT NULL,
    permissions text[] NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT access_grants_pkey PRIMARY KEY (tenant_id, role),
    CONSTRAINT access_grants_role_check CHECK ((role ~ '^[a-z][a-z0-9_]{1,39}$'::text))
);
COMMENT ON TABLE access_grants IS 'Roles of the tenants own making: permissions in the tenant itself.';
ALTER TABLE access_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_grants
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON access_grants TO citygate_app;
GRANT SELECT ON access_grants TO citygate_auditor;
GRANT UPDATE (permissions, changed_at) ON access_grants TO citygate_app;

CREATE TABLE access_issuers (
    tenant_id bigint NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    client_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT access_issuers_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT access_issuers_client_id_check CHECK ((client_id <> ''::text)),
    CONSTRAINT access_issuers_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,30}$'::text)),
    CONSTRAINT access_issuers_url UNIQUE (tenant_id, url),
    CONSTRAINT access_issuers_url_check CHECK ((url <> ''::text))
);
COMMENT ON TABLE access_issuers IS 'OpenID Connect issuers whose people may sign in to the tenant. The URL never changes under a name: members are of that issuer.';
ALTER TABLE access_issuers ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_issuers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_issuers
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON access_issuers TO citygate_app;
GRANT SELECT ON access_issuers TO citygate_auditor;
GRANT UPDATE (client_id) ON access_issuers TO citygate_app;

CREATE TABLE access_keys (
    tenant_id bigint NOT NULL,
    key_id uuid NOT NULL,
    name text NOT NULL,
    owner text NOT NULL,
    scopes text[] NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT access_keys_pkey PRIMARY KEY (tenant_id, key_id),
    CONSTRAINT access_keys_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT access_keys_name_check CHECK ((name <> ''::text)),
    CONSTRAINT access_keys_owner_check CHECK ((owner <> ''::text))
);
COMMENT ON TABLE access_keys IS 'API keys: SHA-256 of 32 random bytes. A key does what its scopes name of what its owner may do at that moment, and nothing when the owner is no member any more. last_used_at is right to five minutes.';
ALTER TABLE access_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_keys
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON access_keys TO citygate_app;
GRANT SELECT ON access_keys TO citygate_auditor;
GRANT UPDATE (last_used_at, revoked_at) ON access_keys TO citygate_app;

CREATE TABLE access_members (
    tenant_id bigint NOT NULL,
    subject text NOT NULL,
    issuer text NOT NULL,
    external text NOT NULL,
    name text NOT NULL,
    roles text[] NOT NULL,
    added_by text NOT NULL,
    added_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT access_members_pkey PRIMARY KEY (tenant_id, subject),
    CONSTRAINT access_members_added_by_check CHECK ((added_by <> ''::text)),
    CONSTRAINT access_members_external_check CHECK ((external <> ''::text)),
    CONSTRAINT access_members_person UNIQUE (tenant_id, issuer, external),
    CONSTRAINT access_members_subject_check CHECK ((subject <> ''::text))
);
COMMENT ON TABLE access_members IS 'People of a tenant and their roles. An empty issuer has no sign-in: its people are given tokens by command. external is what the issuer calls the person.';
ALTER TABLE access_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_members FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_members
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON access_members TO citygate_app;
GRANT SELECT ON access_members TO citygate_auditor;
GRANT UPDATE (name, roles, changed_at) ON access_members TO citygate_app;

CREATE TABLE access_pairings (
    tenant_id bigint NOT NULL,
    code_hash bytea NOT NULL,
    terminal jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    terminal_id bigint,
    pairing_id uuid NOT NULL,
    CONSTRAINT access_pairings_pkey PRIMARY KEY (tenant_id, code_hash),
    CONSTRAINT access_pairings_check CHECK (((used_at IS NULL) = (terminal_id IS NULL))),
    CONSTRAINT access_pairings_code_hash_check CHECK ((octet_length(code_hash) = 32)),
    CONSTRAINT access_pairings_created_by_check CHECK ((created_by <> ''::text)),
    CONSTRAINT access_pairings_id UNIQUE (tenant_id, pairing_id)
);
COMMENT ON TABLE access_pairings IS 'Pairing codes of terminals, hashed: each enrols one terminal, within ten minutes. terminal is what the device is to be, but for its key. A used code stays for a day behind its end, so that the same key gets the same answer again when the first one was lost.';
CREATE INDEX access_pairings_expiry ON access_pairings USING btree (tenant_id, expires_at);
ALTER TABLE access_pairings ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_pairings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_pairings
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON access_pairings TO citygate_app;
GRANT SELECT ON access_pairings TO citygate_auditor;
GRANT UPDATE (used_at, terminal_id) ON access_pairings TO citygate_app;

CREATE TABLE access_proposals (
    tenant_id bigint NOT NULL,
    proposal_id uuid NOT NULL,
    kind text NOT NULL,
    operation text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    body bytea NOT NULL,
    content_hash bytea NOT NULL,
    proposer text NOT NULL,
    person text NOT NULL,
    state text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    second text,
    decided_at timestamp with time zone,
    tried_at timestamp with time zone,
    ended_at timestamp with time zone,
    status integer,
    holder uuid,
    done text[] NOT NULL,
    CONSTRAINT access_proposals_pkey PRIMARY KEY (tenant_id, proposal_id),
    CONSTRAINT access_proposals_check1 CHECK (((second IS NULL) OR (second <> person))),
    CONSTRAINT access_proposals_content_hash_check CHECK ((octet_length(content_hash) = 32)),
    CONSTRAINT access_proposals_kind_check CHECK ((kind <> ''::text)),
    CONSTRAINT access_proposals_method_check CHECK ((method <> ''::text)),
    CONSTRAINT access_proposals_operation_check CHECK ((operation <> ''::text)),
    CONSTRAINT access_proposals_path_check CHECK ((path <> ''::text)),
    CONSTRAINT access_proposals_person_check CHECK ((person <> ''::text)),
    CONSTRAINT access_proposals_proposer_check CHECK ((proposer <> ''::text)),
    CONSTRAINT access_proposals_second_check CHECK (((state = ANY (ARRAY['open'::text, 'withdrawn'::text, 'expired'::text, 'void'::text])) OR (second IS NOT NULL))),
    CONSTRAINT access_proposals_state_check CHECK ((state = ANY (ARRAY['open'::text, 'approved'::text, 'executed'::text, 'refused'::text, 'withdrawn'::text, 'void'::text, 'expired'::text])))
);
COMMENT ON TABLE access_proposals IS 'Requests that wait for a second person, or had one. person is the human behind the proposer: of an API key its owner. What is approved is exactly operation, method, path and body: content_hash; body is kept for people to read, is never run, and is empty where it holds a secret. An approved request that runs has a holder since tried_at; the verbs of the changes it has made are in done, in the transactions of those changes, and ended_at says that it is over.';
CREATE INDEX access_proposals_approved ON access_proposals USING btree (tenant_id, decided_at) WHERE (state = 'approved'::text);
ALTER TABLE access_proposals ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_proposals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_proposals
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON access_proposals TO citygate_app;
GRANT SELECT ON access_proposals TO citygate_auditor;
GRANT UPDATE (state, second, decided_at, tried_at, ended_at, status, ........pg.dropped.20........, holder, done) ON access_proposals TO citygate_app;

CREATE TABLE access_revocations (
    tenant_id bigint NOT NULL,
    subject text NOT NULL,
    before timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT access_revocations_pkey PRIMARY KEY (tenant_id, subject)
);
COMMENT ON TABLE access_revocations IS 'Access tokens that count no more: those of a subject, or of everybody (no subject), issued until then. A row may go when every such token has expired.';
ALTER TABLE access_revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_revocations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_revocations
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON access_revocations TO citygate_app;
GRANT SELECT ON access_revocations TO citygate_auditor;
GRANT UPDATE (before, expires_at) ON access_revocations TO citygate_app;

CREATE TABLE access_settings (
    tenant_id bigint NOT NULL,
    two_person text[] NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT access_settings_pkey PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE access_settings IS 'Which operations need a second person. Without a row: all of them where the tenant is live, none in a sandbox.';
ALTER TABLE access_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE access_settings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON access_settings
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON access_settings TO citygate_app;
GRANT SELECT ON access_settings TO citygate_auditor;
GRANT UPDATE (two_person, changed_at) ON access_settings TO citygate_app;

CREATE TABLE account_payers (
    tenant_id bigint NOT NULL,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    rider_ref text COLLATE "C" NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT account_payers_pkey PRIMARY KEY (tenant_id, account_id, contract),
    CONSTRAINT account_payers_rider_ref_check CHECK (((rider_ref <> ''::text) AND (length(rider_ref) <= 200))),
    CONSTRAINT account_payers_tenant_id_account_id_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT account_payers_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract)
);
COMMENT ON TABLE account_payers IS 'Further contracts that a payer has agreed to be charged under, beside the account''s own, and the name the provider has for him there.';
CREATE INDEX account_payers_ref ON account_payers USING btree (tenant_id, contract, rider_ref);
ALTER TABLE account_payers ENABLE ROW LEVEL SECURITY;
ALTER TABLE account_payers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON account_payers
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON account_payers TO citygate_app;
GRANT SELECT ON account_payers TO citygate_auditor;

CREATE TABLE accounts (
    tenant_id bigint NOT NULL,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    rider_ref text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    created_at timestamp with time zone NOT NULL,
    proof_expires_at timestamp with time zone,
    CONSTRAINT accounts_pkey PRIMARY KEY (tenant_id, account_id),
    CONSTRAINT accounts_category_check CHECK ((length(category) <= 40)),
    CONSTRAINT accounts_contract_check CHECK ((contract <> ''::text)),
    CONSTRAINT accounts_rider UNIQUE (tenant_id, contract, rider_ref),
    CONSTRAINT accounts_rider_ref_check CHECK (((rider_ref <> ''::text) AND (length(rider_ref) <= 200))),
    CONSTRAINT accounts_state_check CHECK ((state = ANY (ARRAY['active'::text, 'closed'::text])))
);
COMMENT ON TABLE accounts IS 'Who pays: rider_ref is the provider''s name for the payer under the contract. Nothing else about a person is kept.';
COMMENT ON COLUMN accounts.proof_expires_at IS 'Until when the category is proven; none: it needs no proof.';
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON accounts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON accounts TO citygate_app;
GRANT SELECT ON accounts TO citygate_auditor;
GRANT UPDATE (category, state, proof_expires_at) ON accounts TO citygate_app;

CREATE TABLE advices (
    tenant_id bigint NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    ref_id uuid NOT NULL,
    part integer NOT NULL,
    amount bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT advices_pkey PRIMARY KEY (tenant_id, ref_id, operator_id, journey_id, kind, part),
    CONSTRAINT advices_amount_check CHECK ((amount <> 0)),
    CONSTRAINT advices_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT advices_kind_check CHECK ((kind = ANY (ARRAY['fee'::text, 'uncollected'::text, 'recovered'::text, 'cleared'::text, 'borne'::text, 'provider_claim'::text, 'platform_claim'::text, 'own_fee'::text])))
);
COMMENT ON TABLE advices IS 'What was passed back to operators, item by item; each was sent once. provider_claim, platform_claim and own_fee stay in the own book and are sent to nobody.';
ALTER TABLE advices ENABLE ROW LEVEL SECURITY;
ALTER TABLE advices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON advices
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON advices TO citygate_app;
GRANT SELECT ON advices TO citygate_auditor;

CREATE TABLE aggregations (
    tenant_id bigint NOT NULL,
    aggregation_id uuid NOT NULL,
    account_id uuid NOT NULL,
    account_key text COLLATE "C" NOT NULL,
    contract text COLLATE "C" NOT NULL,
    payer_ref text NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    ordinal integer NOT NULL,
    state text COLLATE "C" NOT NULL,
    total bigint NOT NULL,
    taps integer NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closes_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    CONSTRAINT aggregations_pkey PRIMARY KEY (tenant_id, aggregation_id),
    CONSTRAINT aggregations_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT aggregations_ordinal_check CHECK ((ordinal > 0)),
    CONSTRAINT aggregations_state_check CHECK ((state = ANY (ARRAY['open'::text, 'charging'::text, 'settled'::text, 'in_debt'::text, 'recovered'::text, 'corrected'::text, 'written_off'::text, 'closed_zero'::text]))),
    CONSTRAINT aggregations_total_check CHECK ((total >= 0))
) WITH (fillfactor=60);
COMMENT ON TABLE aggregations IS 'What an account owes for one business date: collected by one charge. The id follows from account, currency, date and ordinal, so the key holds those unique too.';
CREATE INDEX aggregations_due ON aggregations USING btree (tenant_id, closes_at) WHERE (state = 'open'::text);
ALTER TABLE aggregations ENABLE ROW LEVEL SECURITY;
ALTER TABLE aggregations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON aggregations
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON aggregations TO citygate_app;
GRANT SELECT ON aggregations TO citygate_auditor;
GRANT UPDATE (state, total, taps, closes_at, closed_at) ON aggregations TO citygate_app;

CREATE TABLE agreements (
    tenant_id bigint NOT NULL,
    agreement_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    provider_id text COLLATE "C" NOT NULL,
    rider_ref text COLLATE "C" NOT NULL,
    account_id uuid,
    linked boolean NOT NULL,
    state text COLLATE "C" NOT NULL,
    ending boolean NOT NULL,
    valid_from timestamp with time zone,
    valid_to timestamp with time zone,
    single_max bigint,
    single_currency text COLLATE "C",
    reason text COLLATE "C" NOT NULL,
    error text COLLATE "C" NOT NULL,
    asks integer NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    asked_at timestamp with time zone,
    next_ask_at timestamp with time zone,
    ended_at timestamp with time zone,
    invited_at timestamp with time zone,
    CONSTRAINT agreements_pkey PRIMARY KEY (tenant_id, agreement_id),
    CONSTRAINT agreements_asks_check CHECK ((asks >= 0)),
    CONSTRAINT agreements_ended CHECK (((state = 'ended'::text) = (ended_at IS NOT NULL))),
    CONSTRAINT agreements_error_check CHECK ((length(error) <= 500)),
    CONSTRAINT agreements_our_id_check CHECK ((length(our_id) <= 64)),
    CONSTRAINT agreements_provider_id_check CHECK ((length(provider_id) <= 200)),
    CONSTRAINT agreements_reason_check CHECK ((length(reason) <= 64)),
    CONSTRAINT agreements_rider_ref_check CHECK ((length(rider_ref) <= 200)),
    CONSTRAINT agreements_single CHECK (((single_max IS NULL) = (single_currency IS NULL))),
    CONSTRAINT agreements_single_currency_check CHECK ((length(single_currency) = 3)),
    CONSTRAINT agreements_single_max_check CHECK ((single_max > 0)),
    CONSTRAINT agreements_state_check CHECK ((state = ANY (ARRAY['unknown'::text, 'pending'::text, 'active'::text, 'ended'::text]))),
    CONSTRAINT agreements_tenant_id_account_id_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT agreements_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract)
);
COMMENT ON TABLE agreements IS 'Agreements of riders under which they are debited without being there, as their providers know them.';
COMMENT ON COLUMN agreements.our_id IS 'The tenant''s name of it, for ever; empty for one that came to be otherwise.';
COMMENT ON COLUMN agreements.provider_id IS 'The provider''s number of it, which debits name; empty until it is known, and once it is erased.';
COMMENT ON COLUMN agreements.rider_ref IS 'The provider''s name for the rider.';
COMMENT ON COLUMN agreements.linked IS 'Whether the account is collected under the contract by this agreement.';
COMMENT ON COLUMN agreements.state IS 'unknown: the provider knows nothing of it. pending: nothing can be debited on it now. active. ended: for good.';
COMMENT ON COLUMN agreements.ending IS 'The tenant asked for its end and the provider has not confirmed it.';
COMMENT ON COLUMN agreements.single_max IS 'The most that one debit may be, in minor units; none: the provider says none.';
COMMENT ON COLUMN agreements.asks IS 'Questions that were asked by schedule since it was last settled.';
COMMENT ON COLUMN agreements.asked_at IS 'When the provider last answered a question about it.';
COMMENT ON COLUMN agreements.next_ask_at IS 'When the provider is asked next, by schedule; none: not before it is needed.';
COMMENT ON COLUMN agreements.invited_at IS 'When its rider was invited last; none: it came to be otherwise.';
CREATE INDEX agreements_due ON agreements USING btree (tenant_id, next_ask_at) WHERE (next_ask_at IS NOT NULL);
CREATE INDEX agreements_of ON agreements USING btree (tenant_id, account_id) WHERE (account_id IS NOT NULL);
CREATE UNIQUE INDEX agreements_ours ON agreements USING btree (tenant_id, contract, our_id) WHERE (our_id <> ''::text);
CREATE INDEX agreements_over ON agreements USING btree (tenant_id, ended_at) WHERE (ended_at IS NOT NULL);
CREATE UNIQUE INDEX agreements_theirs ON agreements USING btree (tenant_id, contract, provider_id) WHERE (provider_id <> ''::text);
ALTER TABLE agreements ENABLE ROW LEVEL SECURITY;
ALTER TABLE agreements FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON agreements
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON agreements TO citygate_app;
GRANT SELECT ON agreements TO citygate_auditor;
GRANT UPDATE (our_id, provider_id, rider_ref, account_id, linked, state, ending, valid_from, valid_to, single_max, single_currency, reason, error, asks, changed_at, asked_at, next_ask_at, ended_at, invited_at) ON agreements TO citygate_app;

CREATE TABLE assignments (
    tenant_id bigint NOT NULL,
    subject_kind text NOT NULL,
    subject text NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    payee text,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT assignments_pkey PRIMARY KEY (tenant_id, subject_kind, subject, valid_from),
    CONSTRAINT assignments_subject_check CHECK ((subject <> ''::text)),
    CONSTRAINT assignments_subject_kind_check CHECK ((subject_kind = ANY (ARRAY['vehicle'::text, 'driver'::text]))),
    CONSTRAINT assignments_tenant_id_payee_fkey FOREIGN KEY (tenant_id, payee) REFERENCES payees(tenant_id, payee)
);
COMMENT ON TABLE assignments IS 'From valid_from on the fares of a vehicle or driver belong to payee (NULL: to the default payee), until the next row of the same subject: two assignments cannot overlap.';
ALTER TABLE assignments ENABLE ROW LEVEL SECURITY;
ALTER TABLE assignments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON assignments
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON assignments TO citygate_app;
GRANT SELECT ON assignments TO citygate_auditor;

CREATE TABLE audit_checkpoints (
    tenant_id bigint NOT NULL,
    n bigint NOT NULL,
    seq bigint NOT NULL,
    root bytea NOT NULL,
    prev_root bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    kid smallint NOT NULL,
    signature bytea NOT NULL,
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (tenant_id, n),
    CONSTRAINT audit_checkpoints_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT audit_checkpoints_n_check CHECK ((n > 0)),
    CONSTRAINT audit_checkpoints_prev_root_check CHECK ((octet_length(prev_root) = 32)),
    CONSTRAINT audit_checkpoints_root_check CHECK ((octet_length(root) = 32)),
    CONSTRAINT audit_checkpoints_seq UNIQUE (tenant_id, seq),
    CONSTRAINT audit_checkpoints_seq_check CHECK ((seq > 0))
);
COMMENT ON TABLE audit_checkpoints IS 'Signed seals over a tenant''s audit chain: root is the hash of row seq, and with it of every row before.';
ALTER TABLE audit_checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_checkpoints
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON audit_checkpoints TO citygate_app;
GRANT SELECT ON audit_checkpoints TO citygate_auditor;

CREATE TABLE audit_heads (
    tenant_id bigint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_heads_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT audit_heads_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT audit_heads_seq_check CHECK ((seq >= 0))
);
COMMENT ON TABLE audit_heads IS 'The last link of a tenant''s audit chain. Whoever adds links holds its row.';
ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_heads
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON audit_heads TO citygate_app;
GRANT SELECT ON audit_heads TO citygate_auditor;
GRANT UPDATE (seq, hash) ON audit_heads TO citygate_app;

CREATE TABLE audit_log (
    tenant_id bigint NOT NULL,
    entry_id uuid NOT NULL,
    actor text NOT NULL,
    verb text NOT NULL,
    object text NOT NULL,
    before jsonb,
    after jsonb,
    at timestamp with time zone NOT NULL,
    seq bigint,
    prev_hash bytea,
    hash bytea,
    CONSTRAINT audit_log_pkey PRIMARY KEY (tenant_id, entry_id),
    CONSTRAINT audit_log_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT audit_log_chained CHECK ((num_nulls(seq, prev_hash, hash) = ANY (ARRAY[0, 3]))),
    CONSTRAINT audit_log_verb_check CHECK ((verb <> ''::text))
);
COMMENT ON TABLE audit_log IS 'Who changed what in a tenant. Rows are added, chained by seq, prev_hash and hash, and then never changed.';
CREATE INDEX audit_log_actor ON audit_log USING btree (tenant_id, actor, entry_id);
CREATE INDEX audit_log_at ON audit_log USING btree (tenant_id, at, entry_id);
CREATE INDEX audit_log_object ON audit_log USING btree (tenant_id, object, entry_id);
CREATE UNIQUE INDEX audit_log_seq ON audit_log USING btree (tenant_id, seq);
CREATE INDEX audit_log_waiting ON audit_log USING btree (tenant_id, at, entry_id) WHERE (seq IS NULL);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON audit_log
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON audit_log TO citygate_app;
GRANT SELECT ON audit_log TO citygate_auditor;
GRANT UPDATE (seq, prev_hash, hash) ON audit_log TO citygate_app;

CREATE TABLE balances (
    tenant_id bigint NOT NULL,
    account text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    debit_total bigint NOT NULL,
    credit_total bigint NOT NULL,
    CONSTRAINT balances_pkey PRIMARY KEY (tenant_id, account, currency),
    CONSTRAINT balances_totals CHECK (((debit_total >= 0) AND (credit_total >= 0)))
) WITH (fillfactor=60);
COMMENT ON TABLE balances IS 'Totals of every account: a cache of transfers that can be rebuilt. Room is left on each page so that an update stays on it.';
ALTER TABLE balances ENABLE ROW LEVEL SECURITY;
ALTER TABLE balances FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON balances
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON balances TO citygate_app;
GRANT SELECT ON balances TO citygate_auditor;
GRANT UPDATE (debit_total, credit_total) ON balances TO citygate_app;

CREATE TABLE bearer_payments (
    tenant_id bigint NOT NULL,
    payment_id uuid NOT NULL,
    n integer NOT NULL,
    bearer text COLLATE "C" NOT NULL,
    contract text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    recorded_by text NOT NULL,
    at timestamp with time zone NOT NULL,
    business_date date NOT NULL,
    CONSTRAINT bearer_payments_pkey PRIMARY KEY (tenant_id, payment_id),
    CONSTRAINT bearer_payments_amount_check CHECK ((amount <> 0)),
    CONSTRAINT bearer_payments_bearer_check CHECK ((bearer = ANY (ARRAY['provider'::text, 'platform'::text]))),
    CONSTRAINT bearer_payments_check CHECK (((bearer = 'platform'::text) = (contract = ''::text))),
    CONSTRAINT bearer_payments_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT bearer_payments_n_check CHECK ((n > 0)),
    CONSTRAINT bearer_payments_reference_check CHECK (((length(reference) >= 1) AND (length(reference) <= 64))),
    CONSTRAINT bearer_payments_tenant_id_bearer_contract_reference_key UNIQUE (tenant_id, bearer, contract, reference),
    CONSTRAINT bearer_payments_tenant_id_n_key UNIQUE (tenant_id, n)
);
COMMENT ON TABLE bearer_payments IS 'What provider or platform paid of what they bear, by the reference of the payment; negative: given back, as riders paid after all.';
COMMENT ON COLUMN bearer_payments.n IS 'Counts the payments of the tenant, so that two are never recorded against one look at what is owed.';
ALTER TABLE bearer_payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE bearer_payments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bearer_payments
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON bearer_payments TO citygate_app;
GRANT SELECT ON bearer_payments TO citygate_auditor;

CREATE TABLE bill_exchanges (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    day date NOT NULL,
    line_no integer NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    paid bigint NOT NULL,
    paid_currency text COLLATE "C" NOT NULL,
    settled bigint NOT NULL,
    settled_currency text COLLATE "C" NOT NULL,
    pair text COLLATE "C" NOT NULL,
    price text COLLATE "C" NOT NULL,
    issue integer NOT NULL DEFAULT 1,
    CONSTRAINT bill_exchanges_pkey PRIMARY KEY (tenant_id, contract, day, issue, line_no),
    CONSTRAINT bill_exchanges_tenant_id_contract_day_issue_line_no_fkey FOREIGN KEY (tenant_id, contract, day, issue, line_no) REFERENCES external_lines(tenant_id, contract, day, issue, line_no)
);
COMMENT ON TABLE bill_exchanges IS 'What rows of bills say of payments between two currencies, signed as the rows are.';
COMMENT ON COLUMN bill_exchanges.our_id IS 'Of the charge, or of the refund.';
COMMENT ON COLUMN bill_exchanges.paid IS 'Minor units of the payer''s currency.';
COMMENT ON COLUMN bill_exchanges.settled IS 'Minor units of what the provider settles, before its fee.';
CREATE INDEX bill_exchanges_payment ON bill_exchanges USING btree (tenant_id, our_id);
ALTER TABLE bill_exchanges ENABLE ROW LEVEL SECURITY;
ALTER TABLE bill_exchanges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bill_exchanges
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON bill_exchanges TO citygate_app;
GRANT SELECT ON bill_exchanges TO citygate_auditor;

CREATE TABLE bundle_drafts (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    prepared_at timestamp with time zone NOT NULL,
    CONSTRAINT bundle_drafts_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT bundle_drafts_version_check CHECK ((version > 0))
);
COMMENT ON TABLE bundle_drafts IS 'The next bundle of an operator while too few roots have signed it: the payload, or the signatures that are there. Not in force.';
ALTER TABLE bundle_drafts ENABLE ROW LEVEL SECURITY;
ALTER TABLE bundle_drafts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bundle_drafts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON bundle_drafts TO citygate_app;
GRANT SELECT ON bundle_drafts TO citygate_auditor;
GRANT UPDATE (version, body, prepared_at) ON bundle_drafts TO citygate_app;

CREATE TABLE bundles (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    etag text NOT NULL,
    issued_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT bundles_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT bundles_check CHECK ((expires_at > issued_at)),
    CONSTRAINT bundles_etag_check CHECK ((etag <> ''::text)),
    CONSTRAINT bundles_version_check CHECK ((version > 0))
);
COMMENT ON TABLE bundles IS 'Signed trust bundles (TB1) for the terminals of an operator, verbatim. Versions only grow; each names the digest of the one before.';
ALTER TABLE bundles ENABLE ROW LEVEL SECURITY;
ALTER TABLE bundles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON bundles
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON bundles TO citygate_app;
GRANT SELECT ON bundles TO citygate_auditor;

CREATE TABLE charge_shares (
    tenant_id bigint NOT NULL,
    charge_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    amount bigint NOT NULL,
    fee bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT charge_shares_pkey PRIMARY KEY (tenant_id, charge_id, operator_id, journey_id),
    CONSTRAINT charge_shares_amount_check CHECK ((amount > 0))
);
COMMENT ON TABLE charge_shares IS 'What of a charge is whose fare, fixed when the charge is made; the fee is filled in when it is passed back.';
ALTER TABLE charge_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE charge_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON charge_shares
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON charge_shares TO citygate_app;
GRANT SELECT ON charge_shares TO citygate_auditor;
GRANT UPDATE (fee) ON charge_shares TO citygate_app;

CREATE TABLE charges (
    tenant_id bigint NOT NULL,
    charge_id uuid NOT NULL,
    aggregation_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    attempt integer NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    contract text COLLATE "C" NOT NULL,
    account_id uuid NOT NULL,
    account_key text COLLATE "C" NOT NULL,
    payer_ref text NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    fee bigint NOT NULL,
    subject text NOT NULL,
    trip_at timestamp with time zone NOT NULL,
    business_date date NOT NULL,
    state text COLLATE "C" NOT NULL,
    ever_unknown boolean NOT NULL,
    attempts integer NOT NULL,
    provider_ref text NOT NULL,
    reason text NOT NULL,
    next_do text COLLATE "C" NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    passed boolean NOT NULL,
    released boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    final_at timestamp with time zone,
    route_version bigint NOT NULL,
    route_rule text COLLATE "C" NOT NULL,
    route_finding text NOT NULL,
    started_by text COLLATE "C" NOT NULL DEFAULT 'schedule'::text,
    mark text COLLATE "C" NOT NULL DEFAULT ''::text,
    recovery text COLLATE "C" NOT NULL DEFAULT ''::text,
    recovers uuid,
    shown bytea,
    CONSTRAINT charges_pkey PRIMARY KEY (tenant_id, charge_id),
    CONSTRAINT charges_amount_check CHECK ((amount > 0)),
    CONSTRAINT charges_attempt_check CHECK ((attempt > 0)),
    CONSTRAINT charges_check CHECK (((state = ANY (ARRAY['succeeded'::text, 'declined'::text])) = (final_at IS NOT NULL))),
    CONSTRAINT charges_check1 CHECK (((recovery = ''::text) OR (recovers IS NOT NULL))),
    CONSTRAINT charges_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT charges_kind_check CHECK ((kind = ANY (ARRAY['charge'::text, 'recovery'::text, 'first_ride'::text, 'purchase'::text, 'till'::text]))),
    CONSTRAINT charges_mark_check CHECK ((length(mark) <= 64)),
    CONSTRAINT charges_moved_check CHECK (((state <> 'moved'::text) OR (NOT ever_unknown))),
    CONSTRAINT charges_our_id_check CHECK (((length(our_id) >= 1) AND (length(our_id) <= 32))),
    CONSTRAINT charges_recovery_check CHECK ((recovery = ANY (ARRAY[''::text, 'merchant'::text, 'rider'::text, 'tap'::text]))),
    CONSTRAINT charges_route_version_check CHECK ((route_version >= 0)),
    CONSTRAINT charges_shown_check CHECK ((octet_length(shown) <= 4096)),
    CONSTRAINT charges_started_by_check CHECK ((started_by = ANY (ARRAY['schedule'::text, 'tap'::text, 'rider'::text, 'person'::text, 'first_ride'::text]))),
    CONSTRAINT charges_state_check CHECK ((state = ANY (ARRAY['created'::text, 'sent'::text, 'unknown'::text, 'succeeded'::text, 'declined'::text, 'moved'::text]))),
    CONSTRAINT charges_tenant_id_aggregation_id_attempt_key UNIQUE (tenant_id, aggregation_id, attempt),
    CONSTRAINT charges_tenant_id_our_id_key UNIQUE (tenant_id, our_id)
);
COMMENT ON TABLE charges IS 'Payments asked of providers. The row is on disk before the first byte leaves; our_id and the content never change.';
COMMENT ON COLUMN charges.aggregation_id IS 'What is collected; of a purchase the sale, of a payment at a till the payment.';
COMMENT ON COLUMN charges.state IS 'moved: it was certainly never sent, and the next attempt of the aggregation goes to another contract.';
COMMENT ON COLUMN charges.route_version IS 'The rule set that chose the contract; 0 = the tenant has none for the time of the rides.';
COMMENT ON COLUMN charges.route_rule IS 'Its rule that did; empty = none, and the contract is the payer''s own.';
COMMENT ON COLUMN charges.route_finding IS 'Why rules that matched were not followed to the letter.';
COMMENT ON COLUMN charges.started_by IS 'Who started it: the schedule, a tap of the rider, the rider himself, a person of the tenant, or the rule of insured first declines.';
COMMENT ON COLUMN charges.mark IS 'What names the payment to its provider beside our_id, as the adapter chose it when it was sent; empty where our_id is enough.';
COMMENT ON COLUMN charges.recovery IS 'Who the provider was told starts the recovery of a debt; empty where the charge is a debit like any other to it. Fixed as it is first sent.';
COMMENT ON COLUMN charges.recovers IS 'The declined charge whose debt the provider was asked for again, fixed as it is first sent.';
COMMENT ON COLUMN charges.shown IS 'What the rider showed to start a recovery by a tap; gone once the charge is final.';
CREATE INDEX charges_account ON charges USING btree (tenant_id, account_id, final_at) WHERE (state = ANY (ARRAY['succeeded'::text, 'declined'::text]));
CREATE INDEX charges_due ON charges USING btree (tenant_id, contract, business_date, account_key, our_id) WHERE (state = ANY (ARRAY['created'::text, 'sent'::text, 'unknown'::text]));
CREATE INDEX charges_final ON charges USING btree (tenant_id, contract, final_at);
CREATE UNIQUE INDEX charges_first_ride ON charges USING btree (tenant_id, account_id, contract) WHERE ((kind = 'first_ride'::text) AND (state <> 'moved'::text));
CREATE UNIQUE INDEX charges_in_flight ON charges USING btree (tenant_id, aggregation_id) WHERE (state = ANY (ARRAY['created'::text, 'sent'::text, 'unknown'::text]));
CREATE INDEX charges_unpassed ON charges USING btree (tenant_id, business_date, account_key, our_id) WHERE ((state = 'succeeded'::text) AND (NOT passed));
CREATE INDEX charges_unreleased ON charges USING btree (tenant_id, charge_id) WHERE ((state = 'succeeded'::text) AND (NOT released));
ALTER TABLE charges ENABLE ROW LEVEL SECURITY;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON charges
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON charges TO citygate_app;
GRANT SELECT ON charges TO citygate_auditor;
GRANT UPDATE (contract, fee, state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, passed, released, sent_at, final_at, mark, recovery, recovers, shown) ON charges TO citygate_app;

CREATE TABLE claim_lines (
    tenant_id bigint NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    part integer NOT NULL,
    account_id uuid NOT NULL,
    aggregation_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    refund_id uuid,
    delta bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT claim_lines_pkey PRIMARY KEY (tenant_id, operator_id, journey_id, n, part),
    CONSTRAINT claim_lines_check CHECK (((kind = 'refund'::text) = (refund_id IS NOT NULL))),
    CONSTRAINT claim_lines_check1 CHECK (((kind = ANY (ARRAY['fare'::text, 'reversal'::text])) OR (delta < 0))),
    CONSTRAINT claim_lines_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT claim_lines_delta_check CHECK ((delta <> 0)),
    CONSTRAINT claim_lines_kind_check CHECK ((kind = ANY (ARRAY['fare'::text, 'refund'::text, 'debt'::text, 'reversal'::text])))
);
COMMENT ON TABLE claim_lines IS 'Every change of what is accepted, and the aggregation, refund or debt it went to. Lines of kind reversal move a fare between the aggregation that collected it and that of the debt which a reversal opened; together they are zero.';
CREATE INDEX claim_lines_aggregation ON claim_lines USING btree (tenant_id, aggregation_id);
ALTER TABLE claim_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE claim_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claim_lines
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON claim_lines TO citygate_app;
GRANT SELECT ON claim_lines TO citygate_auditor;

CREATE TABLE claim_verdicts (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    accepted boolean NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT claim_verdicts_pkey PRIMARY KEY (tenant_id, journey_id, n),
    CONSTRAINT claim_verdicts_n_check CHECK ((n > 0))
);
COMMENT ON TABLE claim_verdicts IS 'What issuers answered to claims on their riders, by decision. The first answer stands; why a tap was refused is a verdict on the tap.';
ALTER TABLE claim_verdicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE claim_verdicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claim_verdicts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON claim_verdicts TO citygate_app;
GRANT SELECT ON claim_verdicts TO citygate_auditor;

CREATE TABLE claims (
    tenant_id bigint NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    account_id uuid,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    accepted_n integer NOT NULL DEFAULT 0,
    beyond bigint NOT NULL DEFAULT 0,
    CONSTRAINT claims_pkey PRIMARY KEY (tenant_id, operator_id, journey_id),
    CONSTRAINT claims_amount_check CHECK ((amount >= 0)),
    CONSTRAINT claims_beyond_check CHECK ((beyond >= 0)),
    CONSTRAINT claims_check CHECK (((state = 'refused'::text) OR (account_id IS NOT NULL))),
    CONSTRAINT claims_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT claims_state_check CHECK ((state = ANY (ARRAY['accepted'::text, 'refused'::text])))
);
COMMENT ON TABLE claims IS 'The latest claim for each journey: amount is what is accepted of it so far, whatever became of later claims.';
COMMENT ON COLUMN claims.beyond IS 'How much of the fare goes beyond the highest sum of the rider''s day in the roaming terms, and is the operator''s risk for that.';
ALTER TABLE claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE claims FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON claims
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON claims TO citygate_app;
GRANT SELECT ON claims TO citygate_auditor;
GRANT UPDATE (n, list, idx, account_id, amount, state, business_date, at, accepted_n, beyond) ON claims TO citygate_app;

CREATE TABLE code_batches (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    device_id uuid NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    window_seconds smallint NOT NULL,
    signatures bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT code_batches_pkey PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT code_batches_credential FOREIGN KEY (tenant_id, list, idx) REFERENCES credentials(tenant_id, list, idx),
    CONSTRAINT code_batches_device FOREIGN KEY (tenant_id, device_id) REFERENCES devices(tenant_id, device_id),
    CONSTRAINT code_batches_idx_check CHECK (((idx >= 0) AND (idx <= '4294967295'::bigint))),
    CONSTRAINT code_batches_list_check CHECK (((list >= 0) AND (list <= 65535))),
    CONSTRAINT code_batches_signatures_check CHECK ((((octet_length(signatures) >= 64) AND (octet_length(signatures) <= 16320)) AND ((octet_length(signatures) % 64) = 0))),
    CONSTRAINT code_batches_window_seconds_check CHECK (((window_seconds >= 1) AND (window_seconds <= 255)))
);
COMMENT ON TABLE code_batches IS 'Codes made ahead, 64 bytes of signature each, kept until they run out so that a lost answer can be given again. The key that signed them is kept nowhere.';
CREATE INDEX code_batches_expiry ON code_batches USING btree (tenant_id, expires_at);
ALTER TABLE code_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_batches
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON code_batches TO citygate_app;
GRANT SELECT (tenant_id, list, idx, device_id, starts_at, window_seconds, expires_at) ON code_batches TO citygate_auditor;

CREATE TABLE code_conflicts (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    ctr integer NOT NULL,
    operator_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    journey_id uuid,
    reason text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    event_time timestamp with time zone NOT NULL,
    evidence bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT code_conflicts_pkey PRIMARY KEY (tenant_id, operator_id, terminal, seq)
);
COMMENT ON TABLE code_conflicts IS 'Taps an operator claimed and we refused, and codes that prove a copied credential, with their evidence: double use, clones, codes that do not hold.';
COMMENT ON COLUMN code_conflicts.journey_id IS 'What was claimed; null for a code that the operator itself found to be of a copy.';
CREATE INDEX code_conflicts_digest ON code_conflicts USING btree (tenant_id, digest);
ALTER TABLE code_conflicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_conflicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_conflicts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON code_conflicts TO citygate_app;
GRANT SELECT ON code_conflicts TO citygate_auditor;

CREATE TABLE code_schemes (
    tenant_id bigint NOT NULL,
    scheme text COLLATE "C" NOT NULL,
    params text COLLATE "C" NOT NULL,
    roots jsonb NOT NULL,
    operators bigint[] NOT NULL,
    contract text COLLATE "C" NOT NULL,
    opens boolean NOT NULL,
    asks boolean NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT code_schemes_pkey PRIMARY KEY (tenant_id, scheme),
    CONSTRAINT code_schemes_contract CHECK (((contract <> ''::text) OR (NOT (opens OR asks)))),
    CONSTRAINT code_schemes_scheme_check CHECK ((scheme <> ''::text))
);
COMMENT ON TABLE code_schemes IS 'How a tenant that answers for codes of a scheme has them read, by what foreign keys and by which operators besides itself. opens: who proves himself without an account is given one under contract. asks: the provider of contract is asked whose a deferred code is.';
ALTER TABLE code_schemes ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_schemes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_schemes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON code_schemes TO citygate_app;
GRANT SELECT ON code_schemes TO citygate_auditor;
GRANT UPDATE (params, roots, operators, contract, opens, asks, updated_at) ON code_schemes TO citygate_app;

CREATE TABLE code_use (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    ctr integer NOT NULL,
    digest bytea NOT NULL,
    operator_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    event_time timestamp with time zone NOT NULL,
    evidence bytea NOT NULL,
    held_by uuid,
    held_n integer,
    CONSTRAINT code_use_pkey PRIMARY KEY (tenant_id, list, idx, ctr),
    CONSTRAINT code_use_check CHECK (((held_by IS NULL) = (held_n IS NULL)))
);
COMMENT ON TABLE code_use IS 'The first claim of each display of each credential we issued, with the code as evidence of the charge.';
CREATE INDEX code_use_journey ON code_use USING btree (tenant_id, operator_id, journey_id);
ALTER TABLE code_use ENABLE ROW LEVEL SECURITY;
ALTER TABLE code_use FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON code_use
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON code_use TO citygate_app;
GRANT SELECT ON code_use TO citygate_auditor;
GRANT UPDATE (held_by, held_n) ON code_use TO citygate_app;

CREATE TABLE contract_secrets (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    set_at timestamp with time zone NOT NULL,
    CONSTRAINT contract_secrets_pkey PRIMARY KEY (tenant_id, contract, name),
    CONSTRAINT contract_secrets_contract FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract),
    CONSTRAINT contract_secrets_name_check CHECK ((name ~ '^[a-z0-9][a-z0-9_-]{0,39}$'::text)),
    CONSTRAINT contract_secrets_version_check CHECK ((version > 0))
);
COMMENT ON TABLE contract_secrets IS 'Which secrets a provider contract has: their names and the secret store''s version. The values are in the secret store alone.';
ALTER TABLE contract_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE contract_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON contract_secrets
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON contract_secrets TO citygate_app;
GRANT SELECT ON contract_secrets TO citygate_auditor;
GRANT UPDATE (version, set_at) ON contract_secrets TO citygate_app;

CREATE TABLE credential_blocks (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    first bigint NOT NULL,
    size bigint NOT NULL,
    day integer NOT NULL,
    taken bigint NOT NULL,
    order_key bytea NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    CONSTRAINT credential_blocks_pkey PRIMARY KEY (tenant_id, list, first),
    CONSTRAINT credential_blocks_check CHECK (((size > 0) AND ((first + size) <= '4294967295'::bigint))),
    CONSTRAINT credential_blocks_check1 CHECK (((taken >= 0) AND (taken <= size))),
    CONSTRAINT credential_blocks_day_check CHECK ((day >= 0)),
    CONSTRAINT credential_blocks_first_check CHECK (((first >= 0) AND (first <= '4294967295'::bigint))),
    CONSTRAINT credential_blocks_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists(tenant_id, list),
    CONSTRAINT credential_blocks_order_key_check CHECK ((octet_length(order_key) = 32))
);
COMMENT ON TABLE credential_blocks IS 'Ranges of a list''s indices, one or more a day of issue (days since 1970, UTC), without a gap. The n-th credential of a block has the index first + p(n), p being the permutation order_key names: whoever reads this table reads the order in credentials.created_at too, and who collects codes reads it nowhere.';
ALTER TABLE credential_blocks ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential_blocks FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credential_blocks
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON credential_blocks TO citygate_app;
GRANT SELECT ON credential_blocks TO citygate_auditor;
GRANT UPDATE (taken) ON credential_blocks TO citygate_app;

CREATE TABLE credential_lists (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    issued bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    read_issued bigint NOT NULL DEFAULT '-1'::integer,
    CONSTRAINT credential_lists_pkey PRIMARY KEY (tenant_id, list),
    CONSTRAINT credential_lists_issued_check CHECK (((issued >= 0) AND (issued <= '4294967295'::bigint))),
    CONSTRAINT credential_lists_list_check CHECK (((list >= 0) AND (list <= 65535)))
);
COMMENT ON TABLE credential_lists IS 'Status lists: issued is the number of credentials, expires_at when the last one has run out, read_issued the number when the deny list was last looked at.';
ALTER TABLE credential_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE credential_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credential_lists
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON credential_lists TO citygate_app;
GRANT SELECT ON credential_lists TO citygate_auditor;
GRANT UPDATE (issued, expires_at, read_issued) ON credential_lists TO citygate_app;

CREATE TABLE credentials (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    issuer integer NOT NULL,
    account_id uuid NOT NULL,
    kid smallint NOT NULL,
    suite smallint NOT NULL,
    medium smallint NOT NULL,
    device_key bytea NOT NULL,
    issued_at timestamp with time zone NOT NULL,
    ttl_hours integer NOT NULL,
    product integer NOT NULL,
    cap integer NOT NULL,
    taps smallint NOT NULL,
    win smallint NOT NULL,
    state text COLLATE "C" NOT NULL,
    part_a bytea,
    created_at timestamp with time zone NOT NULL,
    device_id uuid,
    CONSTRAINT credentials_pkey PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT credentials_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT credentials_cap_check CHECK (((cap >= 0) AND (cap <= 65535))),
    CONSTRAINT credentials_check CHECK (((state = 'issued'::text) = (part_a IS NOT NULL))),
    CONSTRAINT credentials_device FOREIGN KEY (tenant_id, device_id) REFERENCES devices(tenant_id, device_id),
    CONSTRAINT credentials_device_key_check CHECK (((octet_length(device_key) >= 16) AND (octet_length(device_key) <= 33))),
    CONSTRAINT credentials_idx_check CHECK (((idx >= 0) AND (idx <= '4294967294'::bigint))),
    CONSTRAINT credentials_issuer_check CHECK (((issuer >= 1) AND (issuer <= 65535))),
    CONSTRAINT credentials_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT credentials_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists(tenant_id, list),
    CONSTRAINT credentials_medium_check CHECK (((medium >= 0) AND (medium <= 3))),
    CONSTRAINT credentials_product_check CHECK (((product >= 0) AND (product <= 65535))),
    CONSTRAINT credentials_state_check CHECK ((state = ANY (ARRAY['reserved'::text, 'issued'::text]))),
    CONSTRAINT credentials_suite_check CHECK (((suite >= 0) AND (suite <= 7))),
    CONSTRAINT credentials_taps_check CHECK (((taps >= 0) AND (taps <= 255))),
    CONSTRAINT credentials_ttl_hours_check CHECK (((ttl_hours >= 1) AND (ttl_hours <= 65535))),
    CONSTRAINT credentials_win_check CHECK (((win >= 1) AND (win <= 255)))
);
COMMENT ON TABLE credentials IS 'Every credential ever signed, as (list, idx) on codes; part_a is the credential as the device holds it. A reserved one was never handed out.';
CREATE INDEX credentials_of_account ON credentials USING btree (tenant_id, account_id);
CREATE UNIQUE INDEX credentials_of_chain ON credentials USING btree (tenant_id, device_key) WHERE ((suite = 4) AND (part_a IS NOT NULL));
CREATE INDEX credentials_of_device ON credentials USING btree (tenant_id, device_id, issued_at) WHERE (device_id IS NOT NULL);
ALTER TABLE credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credentials
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON credentials TO citygate_app;
GRANT SELECT ON credentials TO citygate_auditor;
GRANT UPDATE (state, part_a) ON credentials TO citygate_app;

CREATE TABLE debt_bearers (
    tenant_id bigint NOT NULL,
    aggregation_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    owed bigint NOT NULL,
    issuer_bears bigint NOT NULL,
    basis text NOT NULL,
    rules_version bigint NOT NULL,
    rule text NOT NULL,
    finding text NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    provider_bears bigint NOT NULL DEFAULT 0,
    platform_bears bigint NOT NULL DEFAULT 0,
    pay_days integer NOT NULL DEFAULT 30,
    CONSTRAINT debt_bearers_pkey PRIMARY KEY (tenant_id, aggregation_id, operator_id, journey_id),
    CONSTRAINT debt_bearers_basis_check CHECK ((basis = ANY (ARRAY['rule'::text, 'terms'::text, 'default'::text, 'dispute'::text]))),
    CONSTRAINT debt_bearers_check CHECK (((issuer_bears >= 0) AND (issuer_bears <= owed))),
    CONSTRAINT debt_bearers_owed_check CHECK ((owed > 0)),
    CONSTRAINT debt_bearers_parts CHECK ((((issuer_bears + provider_bears) + platform_bears) <= owed)),
    CONSTRAINT debt_bearers_pay_days_check CHECK (((pay_days >= 0) AND (pay_days <= 366))),
    CONSTRAINT debt_bearers_platform_bears_check CHECK ((platform_bears >= 0)),
    CONSTRAINT debt_bearers_provider_bears_check CHECK ((provider_bears >= 0)),
    CONSTRAINT debt_bearers_rules_version_check CHECK ((rules_version >= 0))
);
COMMENT ON TABLE debt_bearers IS 'Of each fare that a declined charge left owed: how much of it issuer, provider and platform bear, which is not passed back to the operator and is paid to it pay_days after the decline; the operator bears the rest. basis: a liability rule of the issuer''s rule set at the ride''s time, terms between two cities, or neither.';
ALTER TABLE debt_bearers ENABLE ROW LEVEL SECURITY;
ALTER TABLE debt_bearers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON debt_bearers
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON debt_bearers TO citygate_app;
GRANT SELECT ON debt_bearers TO citygate_auditor;
GRANT UPDATE (owed, issuer_bears, basis, rules_version, rule, finding, decided_at, provider_bears, platform_bears, pay_days) ON debt_bearers TO citygate_app;

CREATE TABLE debt_write_offs (
    tenant_id bigint NOT NULL,
    aggregation_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    bearer text COLLATE "C" NOT NULL,
    part integer NOT NULL,
    account_id uuid NOT NULL,
    amount bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT debt_write_offs_pkey PRIMARY KEY (tenant_id, aggregation_id, operator_id, journey_id, bearer, part),
    CONSTRAINT debt_write_offs_amount_check CHECK ((amount <> 0)),
    CONSTRAINT debt_write_offs_bearer_check CHECK ((bearer = ANY (ARRAY['operator'::text, 'issuer'::text, 'provider'::text, 'platform'::text, 'recovered'::text]))),
    CONSTRAINT debt_write_offs_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text))
);
COMMENT ON TABLE debt_write_offs IS 'What of a debt was written off to whom that bears it, as differences: negative when a fare is corrected or paid after all. recovered is the issuer''s income from debts that it had written off.';
ALTER TABLE debt_write_offs ENABLE ROW LEVEL SECURITY;
ALTER TABLE debt_write_offs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON debt_write_offs
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON debt_write_offs TO citygate_app;
GRANT SELECT ON debt_write_offs TO citygate_auditor;

CREATE TABLE debts (
    tenant_id bigint NOT NULL,
    aggregation_id uuid NOT NULL,
    account_id uuid NOT NULL,
    opened_amount bigint NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    state text COLLATE "C" NOT NULL,
    tries integer NOT NULL,
    retry_at timestamp with time zone,
    unpassed boolean NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    bear_at timestamp with time zone,
    repaid_at timestamp with time zone,
    retry_by text COLLATE "C" NOT NULL DEFAULT 'schedule'::text,
    insured boolean NOT NULL DEFAULT false,
    reversal_id uuid,
    blocks boolean NOT NULL DEFAULT true,
    retry_shown bytea,
    sale_id uuid,
    CONSTRAINT debts_pkey PRIMARY KEY (tenant_id, aggregation_id),
    CONSTRAINT debts_amount_check CHECK ((amount >= 0)),
    CONSTRAINT debts_check CHECK (
CASE state
    WHEN 'open'::text THEN (amount > 0)
    WHEN 'written_off'::text THEN true
    ELSE (amount = 0)
END),
    CONSTRAINT debts_check1 CHECK (((NOT insured) OR (state <> 'open'::text))),
    CONSTRAINT debts_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT debts_opened_amount_check CHECK ((opened_amount > 0)),
    CONSTRAINT debts_repaid CHECK (((repaid_at IS NULL) OR ((state = 'written_off'::text) AND (amount = 0)))),
    CONSTRAINT debts_retry_by_check CHECK ((retry_by = ANY (ARRAY['schedule'::text, 'tap'::text, 'rider'::text, 'person'::text, 'first_ride'::text]))),
    CONSTRAINT debts_retry_shown_check CHECK ((octet_length(retry_shown) <= 4096)),
    CONSTRAINT debts_state_check CHECK ((state = ANY (ARRAY['open'::text, 'recovered'::text, 'corrected'::text, 'written_off'::text])))
);
COMMENT ON TABLE debts IS 'What riders owe after a declined charge, or after a payment was taken back; amount is what is still owed, of one that is written off what was given up and not paid since.';
COMMENT ON COLUMN debts.bear_at IS 'When others than the operator pay it what they bear; null: there is nothing to pay, or it is paid.';
COMMENT ON COLUMN debts.repaid_at IS 'When the rider paid a debt that had been written off.';
COMMENT ON COLUMN debts.retry_by IS 'Who asked for the try at retry_at; of a debt without one, for the last.';
COMMENT ON COLUMN debts.insured IS 'The scheme paid it as an insured first ride; the rider owes nothing of it any more.';
COMMENT ON COLUMN debts.reversal_id IS 'The reversal that opened it; null: a charge was declined.';
COMMENT ON COLUMN debts.blocks IS 'Whether its rider is on the deny list while it is open, by the risk terms when it was opened.';
COMMENT ON COLUMN debts.retry_shown IS 'The code that the rider showed when he started the try at retry_at by a tap; none otherwise.';
COMMENT ON COLUMN debts.sale_id IS 'The sale of which the rider used what he owes; null: he owes fares.';
CREATE INDEX debts_account ON debts USING btree (tenant_id, account_id) WHERE (state = 'open'::text);
CREATE INDEX debts_bear ON debts USING btree (tenant_id, bear_at) WHERE (bear_at IS NOT NULL);
CREATE INDEX debts_due ON debts USING btree (tenant_id, retry_at) WHERE ((state = 'open'::text) AND (retry_at IS NOT NULL));
CREATE INDEX debts_sale ON debts USING btree (tenant_id, sale_id) WHERE (sale_id IS NOT NULL);
CREATE INDEX debts_unpassed ON debts USING btree (tenant_id, aggregation_id) WHERE unpassed;
ALTER TABLE debts ENABLE ROW LEVEL SECURITY;
ALTER TABLE debts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON debts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON debts TO citygate_app;
GRANT SELECT ON debts TO citygate_auditor;
GRANT UPDATE (amount, state, tries, retry_at, unpassed, closed_at, bear_at, repaid_at, retry_by, insured, retry_shown) ON debts TO citygate_app;

CREATE TABLE deny_changes (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT deny_changes_pkey PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT deny_changes_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists(tenant_id, list),
    CONSTRAINT deny_changes_seq_check CHECK (((seq >= 1) AND (seq <= '4294967295'::bigint)))
);
COMMENT ON TABLE deny_changes IS 'The publication in which an index last came onto or left a deny list. Deltas are made of it; it is a cache that the snapshots could give again.';
CREATE INDEX deny_changes_seq ON deny_changes USING btree (tenant_id, list, seq);
ALTER TABLE deny_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_changes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON deny_changes TO citygate_app;
GRANT SELECT ON deny_changes TO citygate_auditor;
GRANT UPDATE (seq) ON deny_changes TO citygate_app;

CREATE TABLE deny_deltas (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    to_seq bigint NOT NULL,
    from_seq bigint NOT NULL,
    body bytea NOT NULL,
    sha256 bytea NOT NULL,
    CONSTRAINT deny_deltas_pkey PRIMARY KEY (tenant_id, list, to_seq, from_seq),
    CONSTRAINT deny_deltas_check CHECK (((from_seq >= 0) AND (from_seq <= (to_seq - 1)))),
    CONSTRAINT deny_deltas_sha256_check CHECK ((octet_length(sha256) = 32)),
    CONSTRAINT deny_deltas_snapshot FOREIGN KEY (tenant_id, list, to_seq) REFERENCES deny_snapshots(tenant_id, list, seq),
    CONSTRAINT deny_deltas_to_seq_check CHECK (((to_seq >= 1) AND (to_seq <= '4294967295'::bigint)))
);
COMMENT ON TABLE deny_deltas IS 'Signed deltas of deny lists as validators fetch them: each leads from every publication from from_seq on to to_seq. Old ones are removed.';
ALTER TABLE deny_deltas ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_deltas FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_deltas
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON deny_deltas TO citygate_app;
GRANT SELECT ON deny_deltas TO citygate_auditor;

CREATE TABLE deny_entries (
    tenant_id bigint NOT NULL,
    entry_id uuid NOT NULL,
    account_id uuid,
    list integer,
    idx bigint,
    reason text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    since timestamp with time zone NOT NULL,
    lifted_at timestamp with time zone,
    lifted_by text,
    announced_at timestamp with time zone,
    lift_announced_at timestamp with time zone,
    CONSTRAINT deny_entries_pkey PRIMARY KEY (tenant_id, entry_id),
    CONSTRAINT deny_entries_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT deny_entries_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT deny_entries_check CHECK ((((account_id IS NULL) = (list IS NOT NULL)) AND ((list IS NULL) = (idx IS NULL)))),
    CONSTRAINT deny_entries_check1 CHECK ((((lifted_at IS NULL) = (lifted_by IS NULL)) AND (lifted_at >= since))),
    CONSTRAINT deny_entries_credential FOREIGN KEY (tenant_id, list, idx) REFERENCES credentials(tenant_id, list, idx),
    CONSTRAINT deny_entries_lifted_by_check CHECK ((lifted_by <> ''::text)),
    CONSTRAINT deny_entries_reason_check CHECK ((reason ~ '^[a-z][a-z_]{0,39}$'::text))
);
COMMENT ON TABLE deny_entries IS 'Who must be refused, and why: an account with all its credentials, or one credential. A lifted entry stays as history. announced_at and lift_announced_at say when a published list first knew.';
CREATE INDEX deny_entries_announced ON deny_entries USING btree (tenant_id, announced_at);
CREATE UNIQUE INDEX deny_entries_open_account ON deny_entries USING btree (tenant_id, account_id, reason) WHERE ((lifted_at IS NULL) AND (account_id IS NOT NULL));
CREATE UNIQUE INDEX deny_entries_open_credential ON deny_entries USING btree (tenant_id, list, idx, reason) WHERE ((lifted_at IS NULL) AND (list IS NOT NULL));
CREATE INDEX deny_entries_pending ON deny_entries USING btree (tenant_id, entry_id) WHERE ((announced_at IS NULL) OR ((lifted_at IS NOT NULL) AND (lift_announced_at IS NULL)));
ALTER TABLE deny_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_entries FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_entries
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON deny_entries TO citygate_app;
GRANT SELECT ON deny_entries TO citygate_auditor;
GRANT UPDATE (lifted_at, lifted_by, announced_at, lift_announced_at) ON deny_entries TO citygate_app;

CREATE TABLE deny_heartbeats (
    tenant_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    valid_until timestamp with time zone NOT NULL,
    body bytea NOT NULL,
    sha256 bytea NOT NULL,
    CONSTRAINT deny_heartbeats_pkey PRIMARY KEY (tenant_id, at),
    CONSTRAINT deny_heartbeats_check CHECK ((valid_until > at)),
    CONSTRAINT deny_heartbeats_sha256_check CHECK ((octet_length(sha256) = 32))
);
COMMENT ON TABLE deny_heartbeats IS 'Signed heartbeats: which lists an issuer has and that there was nothing newer at that time. Only the last ones are kept.';
ALTER TABLE deny_heartbeats ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_heartbeats FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_heartbeats
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON deny_heartbeats TO citygate_app;
GRANT SELECT ON deny_heartbeats TO citygate_auditor;

CREATE TABLE deny_pushes (
    tenant_id bigint NOT NULL,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    rider_ref text COLLATE "C" NOT NULL,
    touched boolean NOT NULL,
    told boolean NOT NULL,
    n integer NOT NULL,
    denied boolean NOT NULL,
    reason text COLLATE "C" NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    state text COLLATE "C" NOT NULL,
    attempts integer NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    told_at timestamp with time zone,
    error text COLLATE "C" NOT NULL,
    unsure boolean NOT NULL DEFAULT false,
    CONSTRAINT deny_pushes_pkey PRIMARY KEY (tenant_id, account_id),
    CONSTRAINT deny_pushes_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT deny_pushes_error_check CHECK ((length(error) <= 500)),
    CONSTRAINT deny_pushes_n_check CHECK ((n >= 0)),
    CONSTRAINT deny_pushes_state_check CHECK ((state = ANY (ARRAY['told'::text, 'waiting'::text, 'unknown'::text, 'refused'::text]))),
    CONSTRAINT deny_pushes_tenant_id_account_id_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id)
);
COMMENT ON TABLE deny_pushes IS 'What the provider of each account was told of its denials, and the change under way.';
COMMENT ON COLUMN deny_pushes.touched IS 'The account''s entries changed since the change was made up.';
COMMENT ON COLUMN deny_pushes.told IS 'Whether the provider was last told, and confirmed, that the rider is denied.';
COMMENT ON COLUMN deny_pushes.n IS 'Number of the change; a change keeps its number and content until it is known what became of it.';
COMMENT ON COLUMN deny_pushes.state IS 'told: done. waiting: not sent. unknown: sent, and nobody can say. refused: certainly not taken; both are tried again.';
COMMENT ON COLUMN deny_pushes.unsure IS 'An attempt since the last confirmed change had no answer, and may have been taken.';
CREATE INDEX deny_pushes_due ON deny_pushes USING btree (tenant_id, contract, next_try_at) WHERE (touched OR (state <> 'told'::text));
ALTER TABLE deny_pushes ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_pushes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_pushes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON deny_pushes TO citygate_app;
GRANT SELECT ON deny_pushes TO citygate_auditor;
GRANT UPDATE (touched, told, n, denied, reason, decided_at, state, attempts, next_try_at, told_at, error, unsure) ON deny_pushes TO citygate_app;

CREATE TABLE deny_snapshots (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    seq bigint NOT NULL,
    issued bigint NOT NULL,
    denied integer NOT NULL,
    set_hash bytea NOT NULL,
    kid smallint NOT NULL,
    built_at timestamp with time zone NOT NULL,
    valid_until timestamp with time zone NOT NULL,
    body bytea,
    sha256 bytea NOT NULL,
    CONSTRAINT deny_snapshots_pkey PRIMARY KEY (tenant_id, list, seq),
    CONSTRAINT deny_snapshots_check CHECK ((valid_until > built_at)),
    CONSTRAINT deny_snapshots_denied_check CHECK ((denied >= 0)),
    CONSTRAINT deny_snapshots_issued_check CHECK (((issued >= 0) AND (issued <= '4294967295'::bigint))),
    CONSTRAINT deny_snapshots_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT deny_snapshots_list FOREIGN KEY (tenant_id, list) REFERENCES credential_lists(tenant_id, list),
    CONSTRAINT deny_snapshots_seq_check CHECK (((seq >= 1) AND (seq <= '4294967295'::bigint))),
    CONSTRAINT deny_snapshots_set_hash_check CHECK ((octet_length(set_hash) = 32)),
    CONSTRAINT deny_snapshots_sha256_check CHECK ((octet_length(sha256) = 32))
);
COMMENT ON TABLE deny_snapshots IS 'Signed deny lists as validators fetch them. The highest seq of a list is the one to use; the others are evidence of what validators knew, and those long replaced have lost their body.';
ALTER TABLE deny_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE deny_snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deny_snapshots
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON deny_snapshots TO citygate_app;
GRANT SELECT ON deny_snapshots TO citygate_auditor;
GRANT UPDATE (body) ON deny_snapshots TO citygate_app;

CREATE TABLE device_challenges (
    tenant_id bigint NOT NULL,
    challenge bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT device_challenges_pkey PRIMARY KEY (tenant_id, challenge),
    CONSTRAINT device_challenges_challenge_check CHECK ((octet_length(challenge) = 32))
);
COMMENT ON TABLE device_challenges IS 'Challenges a device signs to prove that it holds its key; each is good for one device.';
CREATE INDEX device_challenges_expiry ON device_challenges USING btree (tenant_id, expires_at);
ALTER TABLE device_challenges ENABLE ROW LEVEL SECURITY;
ALTER TABLE device_challenges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON device_challenges
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON device_challenges TO citygate_app;
GRANT SELECT ON device_challenges TO citygate_auditor;
GRANT UPDATE (used_at) ON device_challenges TO citygate_app;

CREATE TABLE devices (
    tenant_id bigint NOT NULL,
    device_id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    phone_id uuid,
    suite smallint NOT NULL,
    public_key bytea NOT NULL,
    assurance text COLLATE "C" NOT NULL,
    evidence jsonb NOT NULL,
    state text COLLATE "C" NOT NULL,
    bound_at timestamp with time zone NOT NULL,
    lost_at timestamp with time zone,
    keyless boolean NOT NULL DEFAULT false,
    CONSTRAINT devices_pkey PRIMARY KEY (tenant_id, device_id),
    CONSTRAINT devices_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT devices_assurance_check CHECK ((assurance = ANY (ARRAY['hardware'::text, 'vouched'::text, 'none'::text]))),
    CONSTRAINT devices_check CHECK (((kind = 'band'::text) = (phone_id IS NOT NULL))),
    CONSTRAINT devices_check1 CHECK (((state <> 'lost'::text) OR (lost_at IS NOT NULL))),
    CONSTRAINT devices_keyless_check CHECK (
CASE kind
    WHEN 'phone'::text THEN (NOT keyless)
    WHEN 'wallet'::text THEN keyless
    ELSE true
END),
    CONSTRAINT devices_kind_check CHECK ((kind = ANY (ARRAY['phone'::text, 'band'::text, 'wallet'::text]))),
    CONSTRAINT devices_phone FOREIGN KEY (tenant_id, phone_id) REFERENCES devices(tenant_id, device_id),
    CONSTRAINT devices_public_key_check CHECK (((octet_length(public_key) >= 16) AND (octet_length(public_key) <= 33))),
    CONSTRAINT devices_state_check CHECK ((state = ANY (ARRAY['bound'::text, 'lost'::text, 'released'::text]))),
    CONSTRAINT devices_suite_check CHECK (((suite >= 0) AND (suite <= 7)))
);
COMMENT ON TABLE devices IS 'Phones and bands: a band is bound to one phone. A key is held by one device until it is released, or lost for the waiting period.';
COMMENT ON COLUMN devices.keyless IS 'The medium has no key: public_key is a digest of its name, and its codes are made ahead.';
CREATE UNIQUE INDEX devices_key ON devices USING btree (tenant_id, public_key) WHERE (state <> 'released'::text);
CREATE INDEX devices_of_account ON devices USING btree (tenant_id, account_id);
CREATE INDEX devices_of_phone ON devices USING btree (tenant_id, phone_id) WHERE (phone_id IS NOT NULL);
ALTER TABLE devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE devices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON devices
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON devices TO citygate_app;
GRANT SELECT ON devices TO citygate_auditor;
GRANT UPDATE (state, lost_at) ON devices TO citygate_app;

CREATE TABLE early_outcomes (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    of_reference text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    charge_our_id text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    fee bigint NOT NULL,
    fee_unsaid boolean NOT NULL,
    reason text NOT NULL,
    provider_id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    state text COLLATE "C" NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT early_outcomes_pkey PRIMARY KEY (tenant_id, contract, of_reference, reference),
    CONSTRAINT early_outcomes_amount_check CHECK ((amount >= 0)),
    CONSTRAINT early_outcomes_of_reference_check CHECK (((length(of_reference) >= 1) AND (length(of_reference) <= 64))),
    CONSTRAINT early_outcomes_outcome_check CHECK ((outcome = ANY (ARRAY['won'::text, 'lost'::text]))),
    CONSTRAINT early_outcomes_reference_check CHECK (((length(reference) >= 1) AND (length(reference) <= 64))),
    CONSTRAINT early_outcomes_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'applied'::text, 'refused'::text]))),
    CONSTRAINT early_outcomes_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract)
);
COMMENT ON TABLE early_outcomes IS 'Outcomes of disputes that a provider told before anybody told of the reversal they are of. They wait for it, and are recorded with it, once.';
COMMENT ON COLUMN early_outcomes.digest IS 'With provider_id: the notice that told it, which says what became of it.';
CREATE INDEX early_outcomes_waiting ON early_outcomes USING btree (tenant_id, contract, of_reference) WHERE (state = 'waiting'::text);
ALTER TABLE early_outcomes ENABLE ROW LEVEL SECURITY;
ALTER TABLE early_outcomes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON early_outcomes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON early_outcomes TO citygate_app;
GRANT SELECT ON early_outcomes TO citygate_auditor;
GRANT UPDATE (state) ON early_outcomes TO citygate_app;

CREATE TABLE explanation_batches (
    tenant_id bigint NOT NULL,
    number bigint NOT NULL,
    size integer NOT NULL,
    root bytea NOT NULL,
    sealed_at timestamp with time zone NOT NULL,
    kid integer NOT NULL,
    signature bytea NOT NULL,
    CONSTRAINT explanation_batches_pkey PRIMARY KEY (tenant_id, number),
    CONSTRAINT explanation_batches_kid_check CHECK (((kid >= 0) AND (kid <= 255))),
    CONSTRAINT explanation_batches_number_check CHECK ((number > 0)),
    CONSTRAINT explanation_batches_root_check CHECK ((octet_length(root) = 32)),
    CONSTRAINT explanation_batches_size_check CHECK ((size > 0))
);
COMMENT ON TABLE explanation_batches IS 'Merkle roots over the explanations of fare decisions, signed by the tenant''s explain key. Append-only.';
ALTER TABLE explanation_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE explanation_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON explanation_batches
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON explanation_batches TO citygate_app;
GRANT SELECT ON explanation_batches TO citygate_auditor;

CREATE TABLE explanation_leaves (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    number bigint NOT NULL,
    position integer NOT NULL,
    leaf bytea NOT NULL,
    salt bytea,
    CONSTRAINT explanation_leaves_pkey PRIMARY KEY (tenant_id, journey_id, n),
    CONSTRAINT explanation_leaves_leaf_check CHECK ((octet_length(leaf) = 32)),
    CONSTRAINT explanation_leaves_n_check CHECK ((n > 0)),
    CONSTRAINT explanation_leaves_position_check CHECK (("position" >= 0)),
    CONSTRAINT explanation_leaves_salt_check CHECK ((octet_length(salt) = 16)),
    CONSTRAINT explanation_leaves_tenant_id_number_fkey FOREIGN KEY (tenant_id, number) REFERENCES explanation_batches(tenant_id, number),
    CONSTRAINT explanation_leaves_tenant_id_number_position_key UNIQUE (tenant_id, number, "position")
);
COMMENT ON TABLE explanation_leaves IS 'The leaf of each decision in its batch. The document is made again from the decision and its taps; when they are erased the salt goes and the leaf stays, so that other proofs hold.';
ALTER TABLE explanation_leaves ENABLE ROW LEVEL SECURITY;
ALTER TABLE explanation_leaves FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON explanation_leaves
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON explanation_leaves TO citygate_app;
GRANT SELECT ON explanation_leaves TO citygate_auditor;
GRANT UPDATE (salt) ON explanation_leaves TO citygate_app;

CREATE TABLE external_files (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    day date NOT NULL,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    lines integer NOT NULL,
    state text COLLATE "C" NOT NULL,
    matched_to integer NOT NULL,
    imported_at timestamp with time zone NOT NULL,
    processed_at timestamp with time zone,
    issue integer NOT NULL DEFAULT 1,
    issued_at timestamp with time zone,
    content bytea NOT NULL DEFAULT '\x'::bytea,
    checked_at timestamp with time zone,
    CONSTRAINT external_files_pkey PRIMARY KEY (tenant_id, contract, day, issue),
    CONSTRAINT external_files_check CHECK (((state = 'processed'::text) = (processed_at IS NOT NULL))),
    CONSTRAINT external_files_contract_check CHECK ((contract <> ''::text)),
    CONSTRAINT external_files_issue_check CHECK ((issue > 0)),
    CONSTRAINT external_files_lines_check CHECK ((lines >= 0)),
    CONSTRAINT external_files_matched_to_check CHECK ((matched_to >= 0)),
    CONSTRAINT external_files_sha256_check CHECK ((length(sha256) = 32)),
    CONSTRAINT external_files_state_check CHECK ((state = ANY (ARRAY['stored'::text, 'processed'::text])))
);
COMMENT ON TABLE external_files IS 'Providers'' bills, each issue of one for itself. A bill never changes; matched_to is how far the joining of its rows came.';
COMMENT ON COLUMN external_files.issued_at IS 'When the provider made the file, if it says.';
COMMENT ON COLUMN external_files.content IS 'SHA-256 of what the rows say, in their order; empty of files from before it was kept.';
COMMENT ON COLUMN external_files.checked_at IS 'When the provider was last asked whether there is another issue.';
ALTER TABLE external_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE external_files FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON external_files
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON external_files TO citygate_app;
GRANT SELECT ON external_files TO citygate_auditor;
GRANT UPDATE (lines, state, matched_to, processed_at, content, checked_at) ON external_files TO citygate_app;

CREATE TABLE external_lines (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    day date NOT NULL,
    line_no integer NOT NULL,
    is_refund boolean NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    refund_id text COLLATE "C" NOT NULL,
    provider_ref text NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    fee bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    reversed boolean NOT NULL DEFAULT false,
    issue integer NOT NULL DEFAULT 1,
    CONSTRAINT external_lines_pkey PRIMARY KEY (tenant_id, contract, day, issue, line_no),
    CONSTRAINT external_lines_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT external_lines_line_no_check CHECK ((line_no > 0))
);
COMMENT ON TABLE external_lines IS 'The rows of providers'' bills, of every issue, as they were read. Append-only.';
COMMENT ON COLUMN external_lines.reversed IS 'A refund row of a payment that the bank or provider took back, or gave back of it after a dispute: refund_id is its reference.';
ALTER TABLE external_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE external_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON external_lines
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON external_lines TO citygate_app;
GRANT SELECT ON external_lines TO citygate_auditor;

CREATE TABLE fare_adjustments (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    line integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    rule text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    funder text COLLATE "C" NOT NULL,
    applied boolean NOT NULL,
    prepaid bigint NOT NULL DEFAULT 0,
    CONSTRAINT fare_adjustments_pkey PRIMARY KEY (tenant_id, journey_id, n, line),
    CONSTRAINT fare_adjustments_line_check CHECK ((line > 0)),
    CONSTRAINT fare_adjustments_n_check CHECK ((n > 0)),
    CONSTRAINT fare_adjustments_tenant_id_journey_id_n_fkey FOREIGN KEY (tenant_id, journey_id, n) REFERENCES fare_decisions(tenant_id, journey_id, n)
);
COMMENT ON TABLE fare_adjustments IS 'The lines between the nominal price of a decision and what is paid, in order. Append-only.';
COMMENT ON COLUMN fare_adjustments.amount IS 'What the line takes off, in minor units of the decision''s currency; one that adds is negative.';
COMMENT ON COLUMN fare_adjustments.funder IS 'Who bears it beside the operator (city, programme or provider, a colon and a name); empty is the operator.';
COMMENT ON COLUMN fare_adjustments.applied IS 'False of a cap or transfer that was possible when another was better.';
COMMENT ON COLUMN fare_adjustments.prepaid IS 'Of a product that was bought: what of its price the ride used up, in minor units. The rule is the sale''s id.';
CREATE INDEX fare_adjustments_holding ON fare_adjustments USING btree (tenant_id, rule) WHERE (kind = ANY (ARRAY['product'::text, 'stored_value'::text]));
ALTER TABLE fare_adjustments ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_adjustments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_adjustments
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_adjustments TO citygate_app;
GRANT SELECT ON fare_adjustments TO citygate_auditor;

CREATE TABLE fare_advices (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    ref text COLLATE "C" NOT NULL,
    issuer_id bigint NOT NULL,
    contra text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT fare_advices_pkey PRIMARY KEY (tenant_id, journey_id, kind, ref),
    CONSTRAINT fare_advices_amount_check CHECK ((amount <> 0)),
    CONSTRAINT fare_advices_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT fare_advices_kind_check CHECK ((kind = ANY (ARRAY['fee'::text, 'uncollected'::text, 'recovered'::text, 'cleared'::text])))
);
COMMENT ON TABLE fare_advices IS 'What issuers told about fares that are divided, item by item: fees, what is owed, what was paid over. It is passed on to the operators of the pool.';
ALTER TABLE fare_advices ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_advices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_advices
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_advices TO citygate_app;
GRANT SELECT ON fare_advices TO citygate_auditor;

CREATE TABLE fare_decisions (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    supersedes integer,
    taps text COLLATE "C" NOT NULL,
    issuer_tenant bigint NOT NULL,
    account_id uuid,
    payee text NOT NULL,
    known boolean NOT NULL,
    reason text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    tariff_version bigint NOT NULL,
    inputs_hash bytea NOT NULL,
    explanation json NOT NULL,
    event_time timestamp with time zone NOT NULL,
    business_date date NOT NULL,
    calendar_version integer NOT NULL,
    window_date date NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    claim_state text COLLATE "C" NOT NULL,
    shared_by bigint NOT NULL DEFAULT 0,
    CONSTRAINT fare_decisions_pkey PRIMARY KEY (tenant_id, journey_id, n),
    CONSTRAINT fare_decisions_amount_check CHECK ((amount >= 0)),
    CONSTRAINT fare_decisions_check CHECK ((supersedes = (n - 1))),
    CONSTRAINT fare_decisions_claim_state_check CHECK ((claim_state = ANY (ARRAY['none'::text, 'pending'::text, 'accepted'::text, 'refused'::text]))),
    CONSTRAINT fare_decisions_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT fare_decisions_n_check CHECK ((n > 0)),
    CONSTRAINT fare_decisions_shared_by_check CHECK ((shared_by >= 0)),
    CONSTRAINT fare_decisions_tariff_version_check CHECK ((tariff_version >= 0)),
    CONSTRAINT fare_decisions_unknown CHECK ((known OR (amount = 0)))
);
COMMENT ON TABLE fare_decisions IS 'What a journey costs, decision by decision: n replaces n - 1. An unknown fare is set aside and costs nothing until it is known. Append-only.';
COMMENT ON COLUMN fare_decisions.explanation IS 'The steps to the amount, verbatim; json and not jsonb, so that not one byte changes.';
COMMENT ON COLUMN fare_decisions.claim_state IS 'What was known of the claim when the fare was decided; pending ones are answered in claim_verdicts.';
COMMENT ON COLUMN fare_decisions.shared_by IS 'The authority whose integrated tariff priced the ride, whose share this is; 0 = the tenant''s own fare. A share has no row in journeys.';
CREATE INDEX fare_decisions_decided ON fare_decisions USING brin (tenant_id, decided_at) WITH (pages_per_range='16');
CREATE INDEX fare_decisions_window ON fare_decisions USING brin (tenant_id, window_date) WITH (pages_per_range='16');
ALTER TABLE fare_decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_decisions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_decisions
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_decisions TO citygate_app;
GRANT SELECT ON fare_decisions TO citygate_auditor;
GRANT UPDATE (taps, inputs_hash, explanation) ON fare_decisions TO citygate_app;

CREATE TABLE fare_facts (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    operator_id bigint NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    ctr integer NOT NULL,
    kind smallint NOT NULL,
    event_time timestamp with time zone NOT NULL,
    stop text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    party smallint NOT NULL,
    product integer NOT NULL,
    entered bigint NOT NULL,
    entered_currency text COLLATE "C" NOT NULL,
    accepted boolean NOT NULL,
    refusal text COLLATE "C" NOT NULL,
    evidence bytea NOT NULL,
    received_at timestamp with time zone NOT NULL,
    medium text NOT NULL DEFAULT ''::text,
    party_shown smallint NOT NULL DEFAULT 0,
    CONSTRAINT fare_facts_pkey PRIMARY KEY (tenant_id, terminal, seq),
    CONSTRAINT fare_facts_kind_check CHECK (((kind >= 1) AND (kind <= 3))),
    CONSTRAINT fare_facts_party_check CHECK ((party >= 0)),
    CONSTRAINT fare_facts_product_check CHECK ((product >= 0))
);
COMMENT ON TABLE fare_facts IS 'Taps that members of the tenant''s integrated tariff handed over, to be priced here. Rider detail: erased after retention.';
COMMENT ON COLUMN fare_facts.seq IS 'The reader''s sequence number, with the member''s ordinal in the upper 16 bits.';
COMMENT ON COLUMN fare_facts.accepted IS 'What the operator says, as last heard.';
COMMENT ON COLUMN fare_facts.refusal IS 'Why the issuer refused the tap, empty if it did not. It stands whatever the operator says later.';
CREATE INDEX fare_facts_old ON fare_facts USING btree (tenant_id, event_time);
CREATE INDEX fare_facts_rider ON fare_facts USING btree (tenant_id, issuer, list, idx, event_time);
ALTER TABLE fare_facts ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_facts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_facts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON fare_facts TO citygate_app;
GRANT SELECT ON fare_facts TO citygate_auditor;
GRANT UPDATE (accepted, refusal) ON fare_facts TO citygate_app;

CREATE TABLE fare_handovers (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    authority_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT fare_handovers_pkey PRIMARY KEY (tenant_id, terminal, seq)
);
COMMENT ON TABLE fare_handovers IS 'Taps of an operator that its authority prices: they are in no journey here. Erased with the tap.';
ALTER TABLE fare_handovers ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_handovers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_handovers
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON fare_handovers TO citygate_app;
GRANT SELECT ON fare_handovers TO citygate_auditor;

CREATE TABLE fare_passed (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    part integer NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT fare_passed_pkey PRIMARY KEY (tenant_id, journey_id, operator_id, kind, part),
    CONSTRAINT fare_passed_amount_check CHECK ((amount <> 0)),
    CONSTRAINT fare_passed_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT fare_passed_kind_check CHECK ((kind = ANY (ARRAY['fee'::text, 'uncollected'::text, 'recovered'::text, 'cleared'::text]))),
    CONSTRAINT fare_passed_part_check CHECK ((part > 0))
);
COMMENT ON TABLE fare_passed IS 'What of fare_advices was passed on to each operator for its share of a ride. Append-only: what changes is told as a difference.';
ALTER TABLE fare_passed ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_passed FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_passed
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_passed TO citygate_app;
GRANT SELECT ON fare_passed TO citygate_auditor;

CREATE TABLE fare_pool_rides (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    pool_id uuid NOT NULL,
    CONSTRAINT fare_pool_rides_pkey PRIMARY KEY (tenant_id, journey_id)
);
COMMENT ON TABLE fare_pool_rides IS 'Which rides'' money is divided together; a pool is named by its first ride. Its locks order those who divide it.';
CREATE INDEX fare_pool_rides_pool ON fare_pool_rides USING btree (tenant_id, pool_id);
ALTER TABLE fare_pool_rides ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_pool_rides FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_pool_rides
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_pool_rides TO citygate_app;
GRANT SELECT ON fare_pool_rides TO citygate_auditor;
GRANT UPDATE (pool_id) ON fare_pool_rides TO citygate_app;

CREATE TABLE fare_refund_rules (
    tenant_id bigint NOT NULL,
    version integer NOT NULL,
    alone_up_to bigint NOT NULL,
    actor text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT fare_refund_rules_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT fare_refund_rules_alone_up_to_check CHECK ((alone_up_to >= 0)),
    CONSTRAINT fare_refund_rules_version_check CHECK ((version > 0))
);
COMMENT ON TABLE fare_refund_rules IS 'Up to what amount, in minor units of the tenant''s currency, one person alone gives a fare back where the tenant wants two for money that leaves. The last version holds; without one, two are wanted for every refund.';
ALTER TABLE fare_refund_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_refund_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_refund_rules
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_refund_rules TO citygate_app;
GRANT SELECT ON fare_refund_rules TO citygate_auditor;

CREATE TABLE fare_refunds (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    order_key text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT fare_refunds_pkey PRIMARY KEY (tenant_id, journey_id, order_key),
    CONSTRAINT fare_refunds_amount_check CHECK ((amount >= 0)),
    CONSTRAINT fare_refunds_check CHECK (((kind = 'goodwill'::text) = (amount > 0))),
    CONSTRAINT fare_refunds_kind_check CHECK ((kind = ANY (ARRAY['void'::text, 'goodwill'::text]))),
    CONSTRAINT fare_refunds_order_key_check CHECK (((length(order_key) >= 1) AND (length(order_key) <= 64)))
);
COMMENT ON TABLE fare_refunds IS 'Fares given back: void, as if the ride had not been, or an amount of goodwill. Every later decision of the journey goes by them. Append-only.';
ALTER TABLE fare_refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_refunds
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_refunds TO citygate_app;
GRANT SELECT ON fare_refunds TO citygate_auditor;

CREATE TABLE fare_rights (
    tenant_id bigint NOT NULL,
    right_id uuid NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    body json NOT NULL,
    evidence text NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    granted_at timestamp with time zone NOT NULL,
    CONSTRAINT fare_rights_pkey PRIMARY KEY (tenant_id, right_id),
    CONSTRAINT fare_rights_kind_check CHECK ((kind = ANY (ARRAY['holding'::text, 'proof'::text]))),
    CONSTRAINT fare_rights_times CHECK (((valid_until IS NULL) OR (valid_until >= valid_from)))
);
COMMENT ON TABLE fare_rights IS 'Products that riders hold and categories they have proved. A ride goes by the rights that hold at the event time of its first tap; what rides have used up of a holding follows from the rides.';
COMMENT ON COLUMN fare_rights.name IS 'The product, or the category.';
COMMENT ON COLUMN fare_rights.body IS 'The holding as it was given: what the product said on that day. When the rest of a bought product is given back or ends, what may be used of it is lowered to what was used.';
COMMENT ON COLUMN fare_rights.evidence IS 'What was shown for it: a reference of the tenant''s own, not a document.';
CREATE INDEX fare_rights_rider ON fare_rights USING btree (tenant_id, issuer, list, idx);
ALTER TABLE fare_rights ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_rights FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_rights
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_rights TO citygate_app;
GRANT SELECT ON fare_rights TO citygate_auditor;
GRANT UPDATE (body, valid_until) ON fare_rights TO citygate_app;

CREATE TABLE fare_shares (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    n integer NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    taps text COLLATE "C" NOT NULL,
    event_time timestamp with time zone NOT NULL,
    business_date date NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    CONSTRAINT fare_shares_pkey PRIMARY KEY (tenant_id, journey_id, operator_id, n),
    CONSTRAINT fare_shares_amount_check CHECK ((amount >= 0)),
    CONSTRAINT fare_shares_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT fare_shares_n_check CHECK ((n > 0))
);
COMMENT ON TABLE fare_shares IS 'What each operator gets for a ride priced by the tenant''s integrated tariff: n replaces n - 1. The shares of a pool add up to what its rides cost. Append-only.';
COMMENT ON COLUMN fare_shares.taps IS 'The operator''s own taps of the ride, by its own numbers; what tells it which ride it was.';
ALTER TABLE fare_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_shares
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON fare_shares TO citygate_app;
GRANT SELECT ON fare_shares TO citygate_auditor;
GRANT UPDATE (taps) ON fare_shares TO citygate_app;

CREATE TABLE fare_states (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    state json NOT NULL,
    CONSTRAINT fare_states_pkey PRIMARY KEY (tenant_id, journey_id)
);
COMMENT ON TABLE fare_states IS 'What a journey leaves behind for the rider''s next one: periods of caps, the chain of transfers. A late tap begins again after the journey before it. Rebuildable from the taps; erased with the journey''s rider.';
COMMENT ON COLUMN fare_states.state IS 'The state of package fare after this journey, in event order.';
ALTER TABLE fare_states ENABLE ROW LEVEL SECURITY;
ALTER TABLE fare_states FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON fare_states
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON fare_states TO citygate_app;
GRANT SELECT ON fare_states TO citygate_auditor;
GRANT UPDATE (state) ON fare_states TO citygate_app;

CREATE TABLE foreign_codes (
    tenant_id bigint NOT NULL,
    scheme text COLLATE "C" NOT NULL,
    once bytea NOT NULL,
    operator_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    subject bytea NOT NULL,
    proven boolean NOT NULL,
    cap_minor bigint NOT NULL,
    digest bytea NOT NULL,
    evidence bytea NOT NULL,
    event_time timestamp with time zone NOT NULL,
    fare_minor bigint NOT NULL,
    fare_currency text COLLATE "C" NOT NULL,
    give_up_at timestamp with time zone NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    list integer,
    idx bigint,
    ctr integer,
    attempts integer NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    told boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    CONSTRAINT foreign_codes_pkey PRIMARY KEY (tenant_id, scheme, once),
    CONSTRAINT foreign_codes_ctr_check CHECK (((ctr >= 1) AND (ctr <= 65535))),
    CONSTRAINT foreign_codes_decided CHECK (((state = ANY (ARRAY['named'::text, 'refused'::text])) = (decided_at IS NOT NULL))),
    CONSTRAINT foreign_codes_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT foreign_codes_named CHECK (((state = 'named'::text) = ((list IS NOT NULL) AND (idx IS NOT NULL) AND (ctr IS NOT NULL)))),
    CONSTRAINT foreign_codes_once_check CHECK ((octet_length(once) = 32)),
    CONSTRAINT foreign_codes_reason CHECK (((state = 'refused'::text) = (reason <> ''::text))),
    CONSTRAINT foreign_codes_rider FOREIGN KEY (tenant_id, list, idx) REFERENCES foreign_riders(tenant_id, list, idx),
    CONSTRAINT foreign_codes_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'sent'::text, 'unknown'::text, 'named'::text, 'refused'::text]))),
    CONSTRAINT foreign_codes_subject_check CHECK ((octet_length(subject) = 32))
);
COMMENT ON TABLE foreign_codes IS 'Each display of another scheme''s code that a tap asked this tenant about, once, with the first tap that showed it. sent is written before the provider is asked whose it is; unknown is the provider''s answer, or none.';
CREATE UNIQUE INDEX foreign_codes_display ON foreign_codes USING btree (tenant_id, list, idx, ctr) WHERE (list IS NOT NULL);
CREATE INDEX foreign_codes_open ON foreign_codes USING btree (tenant_id, next_try_at) WHERE (decided_at IS NULL);
CREATE INDEX foreign_codes_untold ON foreign_codes USING btree (tenant_id, operator_id) WHERE (NOT told);
ALTER TABLE foreign_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_codes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON foreign_codes TO citygate_app;
GRANT SELECT ON foreign_codes TO citygate_auditor;
GRANT UPDATE (subject, state, reason, list, idx, ctr, attempts, next_try_at, told, decided_at) ON foreign_codes TO citygate_app;

CREATE TABLE foreign_lists (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    riders bigint NOT NULL,
    CONSTRAINT foreign_lists_pkey PRIMARY KEY (tenant_id, list),
    CONSTRAINT foreign_lists_list_check CHECK (((list >= 32768) AND (list <= 65535))),
    CONSTRAINT foreign_lists_riders_check CHECK (((riders >= 0) AND (riders <= '4294967295'::bigint)))
);
COMMENT ON TABLE foreign_lists IS 'How many foreign riders a list has: the next free index. Lists from 32768 on hold no credentials.';
ALTER TABLE foreign_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_lists
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON foreign_lists TO citygate_app;
GRANT SELECT ON foreign_lists TO citygate_auditor;
GRANT UPDATE (riders) ON foreign_lists TO citygate_app;

CREATE TABLE foreign_riders (
    tenant_id bigint NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    scheme text COLLATE "C" NOT NULL,
    subject bytea NOT NULL,
    account_id uuid NOT NULL,
    opened_by text COLLATE "C" NOT NULL,
    displays integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT foreign_riders_pkey PRIMARY KEY (tenant_id, list, idx),
    CONSTRAINT foreign_riders_account FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT foreign_riders_displays_check CHECK (((displays >= 0) AND (displays <= 65535))),
    CONSTRAINT foreign_riders_idx_check CHECK (((idx >= 0) AND (idx <= '4294967294'::bigint))),
    CONSTRAINT foreign_riders_list FOREIGN KEY (tenant_id, list) REFERENCES foreign_lists(tenant_id, list),
    CONSTRAINT foreign_riders_opened_by_check CHECK ((opened_by = ANY (ARRAY['registered'::text, 'first_sight'::text, 'provider'::text]))),
    CONSTRAINT foreign_riders_subject_check CHECK ((octet_length(subject) = 32))
);
COMMENT ON TABLE foreign_riders IS 'Whose account is behind the codes of a subject of another scheme. subject is a digest in the scheme''s own terms. A rider keeps the account; displays is the last counter that was given to one of the codes.';
CREATE UNIQUE INDEX foreign_riders_subject ON foreign_riders USING btree (tenant_id, scheme, subject);
ALTER TABLE foreign_riders ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_riders FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_riders
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON foreign_riders TO citygate_app;
GRANT SELECT ON foreign_riders TO citygate_auditor;
GRANT UPDATE (displays) ON foreign_riders TO citygate_app;

CREATE TABLE foreign_taps (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    kind smallint NOT NULL,
    opened boolean NOT NULL,
    event_time timestamp with time zone NOT NULL,
    generated_at timestamp with time zone,
    business_date date NOT NULL,
    calendar_version integer NOT NULL,
    policy_version bigint NOT NULL,
    clock_suspect boolean NOT NULL,
    issuer integer NOT NULL,
    product integer NOT NULL,
    party smallint NOT NULL,
    stop text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    vehicle text COLLATE "C" NOT NULL,
    driver text COLLATE "C" NOT NULL,
    entered_minor bigint,
    entered_currency text COLLATE "C",
    evidence_digest bytea NOT NULL,
    record bytea NOT NULL,
    scheme text COLLATE "C" NOT NULL,
    deferred boolean NOT NULL,
    give_up_at timestamp with time zone NOT NULL,
    state text COLLATE "C" NOT NULL,
    decided_at timestamp with time zone,
    rule text COLLATE "C" NOT NULL,
    medium text NOT NULL DEFAULT ''::text,
    party_shown smallint NOT NULL DEFAULT 0,
    CONSTRAINT foreign_taps_pkey PRIMARY KEY (tenant_id, terminal, seq),
    CONSTRAINT foreign_taps_decided CHECK (((state = 'waiting'::text) = (decided_at IS NULL))),
    CONSTRAINT foreign_taps_seen FOREIGN KEY (tenant_id, terminal, seq) REFERENCES tap_seen(tenant_id, terminal, seq),
    CONSTRAINT foreign_taps_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'named'::text, 'refused'::text])))
);
COMMENT ON TABLE foreign_taps IS 'Taps recorded with a code whose rider another tenant, or a provider, is still to name. They become taps, accepted or refused, when that is known.';
COMMENT ON COLUMN foreign_taps.rule IS 'As in taps: the rule of the policy version that decided beyond its fixed checks; empty = none did.';
CREATE INDEX foreign_taps_waiting ON foreign_taps USING btree (tenant_id, give_up_at) WHERE (state = 'waiting'::text);
ALTER TABLE foreign_taps ENABLE ROW LEVEL SECURITY;
ALTER TABLE foreign_taps FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON foreign_taps
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON foreign_taps TO citygate_app;
GRANT SELECT ON foreign_taps TO citygate_auditor;
GRANT UPDATE (state, decided_at) ON foreign_taps TO citygate_app;

CREATE TABLE idempotency_keys (
    tenant_id bigint NOT NULL,
    key text NOT NULL,
    route text NOT NULL,
    request_hash bytea NOT NULL,
    state text NOT NULL,
    status integer,
    body bytea,
    created_at timestamp with time zone NOT NULL,
    holder uuid,
    content_type text,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, route, key),
    CONSTRAINT idempotency_keys_check CHECK (((state = 'done'::text) = (status IS NOT NULL))),
    CONSTRAINT idempotency_keys_key_check CHECK (((char_length(key) >= 1) AND (char_length(key) <= 255))),
    CONSTRAINT idempotency_keys_state_check CHECK ((state = ANY (ARRAY['running'::text, 'done'::text])))
);
COMMENT ON TABLE idempotency_keys IS 'Answers to unsafe requests by route and key, kept for a day so that the same request again gets the same answer. holder is the attempt that runs or ran. A cache: natural keys keep money single for ever.';
CREATE INDEX idempotency_keys_age ON idempotency_keys USING btree (tenant_id, created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency_keys
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON idempotency_keys TO citygate_app;
GRANT SELECT ON idempotency_keys TO citygate_auditor;
GRANT UPDATE (state, status, body, content_type) ON idempotency_keys TO citygate_app;

CREATE TABLE inbox (
    tenant_id bigint NOT NULL,
    from_tenant bigint NOT NULL,
    position bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT inbox_pkey PRIMARY KEY (tenant_id, from_tenant, "position")
);
COMMENT ON TABLE inbox IS 'Messages from other tenants that were handled; a row here and the effect of the message are one transaction.';
ALTER TABLE inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON inbox
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON inbox TO citygate_app;
GRANT SELECT ON inbox TO citygate_auditor;

CREATE TABLE issuance_policies (
    tenant_id bigint NOT NULL,
    version integer NOT NULL,
    body jsonb NOT NULL,
    actor text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT issuance_policies_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT issuance_policies_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT issuance_policies_version_check CHECK ((version >= 1))
);
COMMENT ON TABLE issuance_policies IS 'What an issuer gives to devices: immutable versions, the highest one is in force.';
ALTER TABLE issuance_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE issuance_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON issuance_policies
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON issuance_policies TO citygate_app;
GRANT SELECT ON issuance_policies TO citygate_auditor;

CREATE TABLE journey_claims (
    tenant_id bigint NOT NULL,
    claim_id uuid NOT NULL,
    journey_id uuid NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    missing text COLLATE "C" NOT NULL,
    stop text COLLATE "C" NOT NULL,
    at timestamp with time zone,
    month date NOT NULL,
    claimed_at timestamp with time zone NOT NULL,
    CONSTRAINT journey_claims_pkey PRIMARY KEY (tenant_id, claim_id),
    CONSTRAINT journey_claims_missing_check CHECK ((missing = ANY (ARRAY['missing_on'::text, 'missing_off'::text])))
);
COMMENT ON TABLE journey_claims IS 'What riders say about a journey that lacks a tap: where it began or ended. It holds until the tap itself arrives.';
COMMENT ON COLUMN journey_claims.terminal IS 'Terminal and seq are the tap that is there.';
COMMENT ON COLUMN journey_claims.month IS 'First day of the calendar month it was claimed in, where the tenant is: the rules bound the claims of a month.';
CREATE UNIQUE INDEX journey_claims_once ON journey_claims USING btree (tenant_id, journey_id, terminal, seq);
CREATE INDEX journey_claims_rider ON journey_claims USING btree (tenant_id, issuer, list, idx);
ALTER TABLE journey_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_claims FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_claims
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON journey_claims TO citygate_app;
GRANT SELECT ON journey_claims TO citygate_auditor;

CREATE TABLE journey_corrections (
    tenant_id bigint NOT NULL,
    from_journey uuid NOT NULL,
    from_n integer NOT NULL,
    to_journey uuid NOT NULL,
    to_n integer NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    CONSTRAINT journey_corrections_pkey PRIMARY KEY (tenant_id, from_journey, from_n, to_journey, to_n),
    CONSTRAINT journey_corrections_amount_check CHECK ((amount > 0)),
    CONSTRAINT journey_corrections_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT journey_corrections_from_n_check CHECK ((from_n > 0)),
    CONSTRAINT journey_corrections_to_n_check CHECK ((to_n > 0)),
    CONSTRAINT journey_corrections_two CHECK ((from_journey <> to_journey))
);
COMMENT ON TABLE journey_corrections IS 'Fares that moved from one journey of a rider to another when late knowledge changed both at once: the two halves, minus and plus amount, sum to zero.';
CREATE INDEX journey_corrections_to ON journey_corrections USING btree (tenant_id, to_journey);
ALTER TABLE journey_corrections ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_corrections FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_corrections
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON journey_corrections TO citygate_app;
GRANT SELECT ON journey_corrections TO citygate_auditor;

CREATE TABLE journey_facts (
    tenant_id bigint NOT NULL,
    fact_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    terminal bigint NOT NULL,
    stop text COLLATE "C" NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    actor text COLLATE "C" NOT NULL,
    CONSTRAINT journey_facts_pkey PRIMARY KEY (tenant_id, fact_id),
    CONSTRAINT journey_facts_about CHECK ((((kind = 'gates_opened'::text) = (stop <> ''::text)) AND ((kind = 'gates_opened'::text) = (terminal = 0)))),
    CONSTRAINT journey_facts_check CHECK ((ends_at >= starts_at)),
    CONSTRAINT journey_facts_kind_check CHECK ((kind = ANY (ARRAY['reader_kind_wrong'::text, 'reader_place_wrong'::text, 'gates_opened'::text]))),
    CONSTRAINT journey_facts_terminal_check CHECK ((terminal >= 0))
);
COMMENT ON TABLE journey_facts IS 'What the tenant knows of its readers and stations: a reader that declared kind or place wrongly, gates that were opened. Times are event times.';
CREATE INDEX journey_facts_ends ON journey_facts USING btree (tenant_id, ends_at);
ALTER TABLE journey_facts ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_facts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_facts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON journey_facts TO citygate_app;
GRANT SELECT ON journey_facts TO citygate_auditor;

CREATE TABLE journey_rules (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    body json NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT journey_rules_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT journey_rules_version_check CHECK ((version > 0))
);
COMMENT ON TABLE journey_rules IS 'Every version of how the tenant''s taps are paired and completed. A journey is built by the version in force at its first tap; versions never change. Before the first one the acceptance policy alone decides.';
CREATE UNIQUE INDEX journey_rules_valid_from ON journey_rules USING btree (tenant_id, valid_from);
ALTER TABLE journey_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE journey_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journey_rules
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON journey_rules TO citygate_app;
GRANT SELECT ON journey_rules TO citygate_auditor;

CREATE TABLE journeys (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    paired boolean NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    taps text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    closes_at timestamp with time zone,
    last_n integer NOT NULL,
    amount bigint NOT NULL,
    payee text NOT NULL,
    account_id uuid,
    claimed boolean NOT NULL,
    reading text COLLATE "C" NOT NULL DEFAULT ''::text,
    lacks boolean NOT NULL DEFAULT false,
    CONSTRAINT journeys_pkey PRIMARY KEY (tenant_id, journey_id),
    CONSTRAINT journeys_amount CHECK (((amount = 0) OR (state = 'priced'::text))),
    CONSTRAINT journeys_amount_check CHECK ((amount >= 0)),
    CONSTRAINT journeys_last_n_check CHECK ((last_n >= 0)),
    CONSTRAINT journeys_open CHECK (((state = 'open'::text) = (closes_at IS NOT NULL))),
    CONSTRAINT journeys_state_check CHECK ((state = ANY (ARRAY['open'::text, 'priced'::text, 'set_aside'::text, 'empty'::text])))
);
COMMENT ON TABLE journeys IS 'Rides as they stand: the taps of each ("terminal:seq", in order), its state and what is posted for it. fare_decisions say how it came to this.';
COMMENT ON COLUMN journeys.issuer IS '0: the rider and the taps are erased.';
COMMENT ON COLUMN journeys.reason IS 'Why the fare is unknown (set_aside) or the ride empty.';
COMMENT ON COLUMN journeys.reading IS 'What was not taken as the taps declare it, as JSON: kinds and places in doubt, how a missing end was found and with which confidence. Empty = everything was.';
COMMENT ON COLUMN journeys.lacks IS 'An end is missing, or its place is not believed: late taps and facts of other days can change what is inferred.';
CREATE INDEX journeys_due ON journeys USING btree (tenant_id, closes_at) WHERE (state = 'open'::text);
CREATE INDEX journeys_lacks ON journeys USING btree (tenant_id, issuer, list, idx, starts_at) WHERE lacks;
CREATE INDEX journeys_lacks_at ON journeys USING btree (tenant_id, starts_at) WHERE lacks;
CREATE INDEX journeys_rider ON journeys USING btree (tenant_id, issuer, list, idx, starts_at);
CREATE INDEX journeys_set_aside ON journeys USING btree (tenant_id, journey_id) WHERE (state = 'set_aside'::text);
ALTER TABLE journeys ENABLE ROW LEVEL SECURITY;
ALTER TABLE journeys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON journeys
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON journeys TO citygate_app;
GRANT SELECT ON journeys TO citygate_auditor;
GRANT UPDATE (issuer, list, idx, starts_at, ends_at, taps, state, reason, closes_at, last_n, amount, payee, account_id, claimed, reading, lacks) ON journeys TO citygate_app;

CREATE TABLE liability_disputes (
    tenant_id bigint NOT NULL,
    dispute_id uuid NOT NULL,
    debt_id uuid NOT NULL,
    bearer text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    evidence text NOT NULL,
    opened_by text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    bears_instead text COLLATE "C" NOT NULL DEFAULT ''::text,
    decision text NOT NULL DEFAULT ''::text,
    decided_by text NOT NULL DEFAULT ''::text,
    decided_at timestamp with time zone,
    CONSTRAINT liability_disputes_pkey PRIMARY KEY (tenant_id, dispute_id),
    CONSTRAINT liability_disputes_bearer_check CHECK ((bearer = ANY (ARRAY['issuer'::text, 'provider'::text, 'platform'::text]))),
    CONSTRAINT liability_disputes_bears_instead_check CHECK ((bears_instead = ANY (ARRAY[''::text, 'operator'::text, 'issuer'::text]))),
    CONSTRAINT liability_disputes_check CHECK ((((state = 'open'::text) = (decided_at IS NULL)) AND ((state = 'open'::text) = (decided_by = ''::text)) AND ((state = 'upheld'::text) = (bears_instead <> ''::text)))),
    CONSTRAINT liability_disputes_check1 CHECK ((bears_instead <> bearer)),
    CONSTRAINT liability_disputes_state_check CHECK ((state = ANY (ARRAY['open'::text, 'upheld'::text, 'rejected'::text]))),
    CONSTRAINT liability_disputes_tenant_id_debt_id_bearer_key UNIQUE (tenant_id, debt_id, bearer)
);
COMMENT ON TABLE liability_disputes IS 'Disputes of who bears what of a debt, each once for a debt and bearer. While one is open nothing of that is paid; one that is upheld moves it to who bears it instead.';
ALTER TABLE liability_disputes ENABLE ROW LEVEL SECURITY;
ALTER TABLE liability_disputes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON liability_disputes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON liability_disputes TO citygate_app;
GRANT SELECT ON liability_disputes TO citygate_auditor;
GRANT UPDATE (state, bears_instead, decision, decided_by, decided_at) ON liability_disputes TO citygate_app;

CREATE TABLE managed (
    tenant_id bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    file text NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT managed_pkey PRIMARY KEY (tenant_id, kind, name),
    CONSTRAINT managed_file_check CHECK ((file <> ''::text)),
    CONSTRAINT managed_kind_check CHECK ((kind <> ''::text))
);
COMMENT ON TABLE managed IS 'What a file manages (citygate apply): the API refuses to change it.';
ALTER TABLE managed ENABLE ROW LEVEL SECURITY;
ALTER TABLE managed FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON managed
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON managed TO citygate_app;
GRANT SELECT ON managed TO citygate_auditor;
GRANT UPDATE (file, since) ON managed TO citygate_app;

CREATE TABLE notify_addresses (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT notify_addresses_pkey PRIMARY KEY (tenant_id, contract),
    CONSTRAINT notify_addresses_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract),
    CONSTRAINT notify_addresses_tenant_id_token_key UNIQUE (tenant_id, token),
    CONSTRAINT notify_addresses_token_check CHECK ((token ~ '^[a-z2-7]{26}$'::text))
);
COMMENT ON TABLE notify_addresses IS 'Where the provider of a contract sends its notifications: the part of the address that nobody can guess. It finds the contract; what is believed is the signature.';
ALTER TABLE notify_addresses ENABLE ROW LEVEL SECURITY;
ALTER TABLE notify_addresses FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notify_addresses
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON notify_addresses TO citygate_app;
GRANT SELECT ON notify_addresses TO citygate_auditor;

CREATE TABLE outbox (
    tenant_id bigint NOT NULL,
    to_tenant bigint NOT NULL,
    position bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    delivered_at timestamp with time zone,
    CONSTRAINT outbox_pkey PRIMARY KEY (tenant_id, to_tenant, "position"),
    CONSTRAINT outbox_other CHECK ((to_tenant <> tenant_id))
);
COMMENT ON TABLE outbox IS 'Messages to other tenants, stored with what they speak of and delivered later.';
CREATE INDEX outbox_undelivered ON outbox USING btree (tenant_id, to_tenant, "position") WHERE (delivered_at IS NULL);
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outbox
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON outbox TO citygate_app;
GRANT SELECT ON outbox TO citygate_auditor;
GRANT UPDATE (body, delivered_at) ON outbox TO citygate_app;

CREATE TABLE outbox_heads (
    tenant_id bigint NOT NULL,
    to_tenant bigint NOT NULL,
    last_position bigint NOT NULL,
    CONSTRAINT outbox_heads_pkey PRIMARY KEY (tenant_id, to_tenant),
    CONSTRAINT outbox_heads_positive CHECK ((last_position > 0))
);
COMMENT ON TABLE outbox_heads IS 'The number of the last message to each tenant; its lock orders messages as their transactions commit.';
ALTER TABLE outbox_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON outbox_heads
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON outbox_heads TO citygate_app;
GRANT SELECT ON outbox_heads TO citygate_auditor;
GRANT UPDATE (last_position) ON outbox_heads TO citygate_app;

CREATE TABLE payees (
    tenant_id bigint NOT NULL,
    payee text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    account text NOT NULL,
    bank_id text NOT NULL,
    is_default boolean NOT NULL,
    CONSTRAINT payees_pkey PRIMARY KEY (tenant_id, payee),
    CONSTRAINT payees_kind_check CHECK ((kind = ANY (ARRAY['operator'::text, 'owner'::text, 'driver'::text]))),
    CONSTRAINT payees_name_check CHECK ((name <> ''::text)),
    CONSTRAINT payees_payee_check CHECK ((payee ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
);
COMMENT ON TABLE payees IS 'Who is paid: the operator, owners of vehicles, drivers. The default payee gets what no assignment gives to another.';
CREATE UNIQUE INDEX payees_default ON payees USING btree (tenant_id) WHERE is_default;
ALTER TABLE payees ENABLE ROW LEVEL SECURITY;
ALTER TABLE payees FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payees
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON payees TO citygate_app;
GRANT SELECT ON payees TO citygate_auditor;
GRANT UPDATE (name, account, bank_id) ON payees TO citygate_app;

CREATE TABLE payment_exchanges (
    tenant_id bigint NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    paid bigint NOT NULL,
    paid_currency text COLLATE "C" NOT NULL,
    pair text COLLATE "C" NOT NULL,
    price text COLLATE "C" NOT NULL,
    told_at timestamp with time zone NOT NULL,
    CONSTRAINT payment_exchanges_pkey PRIMARY KEY (tenant_id, our_id),
    CONSTRAINT payment_exchanges_our_id_check CHECK (((length(our_id) >= 1) AND (length(our_id) <= 64))),
    CONSTRAINT payment_exchanges_paid_check CHECK ((paid > 0)),
    CONSTRAINT payment_exchanges_paid_currency_check CHECK ((paid_currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payment_exchanges_pair_check CHECK ((length(pair) <= 16)),
    CONSTRAINT payment_exchanges_price_check CHECK ((length(price) <= 40))
);
COMMENT ON TABLE payment_exchanges IS 'What payers paid in a currency other than the charge''s, as the provider told with the payment. Payments that were quoted have what was agreed on in payment_quotes.';
COMMENT ON COLUMN payment_exchanges.our_id IS 'Of the charge.';
COMMENT ON COLUMN payment_exchanges.paid IS 'Minor units of the payer''s currency.';
COMMENT ON COLUMN payment_exchanges.price IS 'Decimal text: units of the pair''s second currency for one of the first; empty, as the pair is, where the provider names no rate.';
ALTER TABLE payment_exchanges ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_exchanges FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payment_exchanges
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON payment_exchanges TO citygate_app;
GRANT SELECT ON payment_exchanges TO citygate_auditor;

CREATE TABLE payment_quotes (
    tenant_id bigint NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    n integer NOT NULL,
    charge_our_id text COLLATE "C" NOT NULL,
    asked bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    pays bigint NOT NULL,
    pays_currency text COLLATE "C" NOT NULL,
    quote_id text COLLATE "C" NOT NULL,
    pair text COLLATE "C" NOT NULL,
    price text COLLATE "C" NOT NULL,
    valid_from timestamp with time zone,
    valid_until timestamp with time zone,
    guaranteed boolean NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT payment_quotes_pkey PRIMARY KEY (tenant_id, our_id, n),
    CONSTRAINT payment_quotes_asked_check CHECK ((asked > 0)),
    CONSTRAINT payment_quotes_check CHECK ((currency <> pays_currency)),
    CONSTRAINT payment_quotes_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payment_quotes_n_check CHECK ((n > 0)),
    CONSTRAINT payment_quotes_our_id_check CHECK (((length(our_id) >= 1) AND (length(our_id) <= 64))),
    CONSTRAINT payment_quotes_pays_check CHECK ((pays >= 0)),
    CONSTRAINT payment_quotes_pays_currency_check CHECK ((pays_currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payment_quotes_price_check CHECK ((price ~ '^[0-9]+(\.[0-9]+)?$'::text))
);
COMMENT ON TABLE payment_quotes IS 'Rates that providers offered for charges, and what of them goes back with refunds. The highest n of a payment holds; there is a further one only while the payment was certainly not performed.';
COMMENT ON COLUMN payment_quotes.our_id IS 'Of the charge or of the refund.';
COMMENT ON COLUMN payment_quotes.charge_our_id IS 'Of the charge; of a refund the one it gives back of.';
COMMENT ON COLUMN payment_quotes.asked IS 'Minor units in the charge''s currency.';
COMMENT ON COLUMN payment_quotes.pays IS 'Minor units in the payer''s currency; of a refund what he gets back, at the rate of his payment.';
COMMENT ON COLUMN payment_quotes.price IS 'Decimal text as the provider wrote it: units of the pair''s second currency for one of the first.';
CREATE INDEX payment_quotes_charge ON payment_quotes USING btree (tenant_id, charge_our_id);
ALTER TABLE payment_quotes ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment_quotes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payment_quotes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON payment_quotes TO citygate_app;
GRANT SELECT ON payment_quotes TO citygate_auditor;

CREATE TABLE payout_rules (
    tenant_id bigint NOT NULL,
    version integer NOT NULL,
    manual boolean NOT NULL,
    hold_above bigint,
    hold_payees text[] NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT payout_rules_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT payout_rules_created_by_check CHECK ((created_by <> ''::text)),
    CONSTRAINT payout_rules_hold_above_check CHECK ((hold_above >= 0)),
    CONSTRAINT payout_rules_version_check CHECK ((version > 0))
);
COMMENT ON TABLE payout_rules IS 'Which payouts wait for a release: all (manual), those above an amount of the tenant''s currency, those to certain payees. The last version holds for what is paid from then on; without one none waits.';
ALTER TABLE payout_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE payout_rules FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payout_rules
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON payout_rules TO citygate_app;
GRANT SELECT ON payout_rules TO citygate_auditor;

CREATE TABLE payouts (
    tenant_id bigint NOT NULL,
    payout_id uuid NOT NULL,
    window_date date NOT NULL,
    payee text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    receipts bigint NOT NULL,
    end_to_end_id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    csv_file text NOT NULL,
    xml_file text NOT NULL,
    business_date date NOT NULL,
    calendar_version integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    batch integer NOT NULL DEFAULT 0,
    held_for text NOT NULL DEFAULT ''::text,
    released_at timestamp with time zone,
    released_by text NOT NULL DEFAULT ''::text,
    pay_to text NOT NULL DEFAULT ''::text,
    cancelled_at timestamp with time zone,
    cancelled_by text NOT NULL DEFAULT ''::text,
    CONSTRAINT payouts_pkey PRIMARY KEY (tenant_id, payout_id),
    CONSTRAINT payouts_amount_check CHECK ((amount > 0)),
    CONSTRAINT payouts_batch_check CHECK ((batch >= 0)),
    CONSTRAINT payouts_cancel CHECK ((((state = 'cancelled'::text) = (cancelled_at IS NOT NULL)) AND ((state = 'cancelled'::text) = (cancelled_by <> ''::text)))),
    CONSTRAINT payouts_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payouts_end_to_end_id_check CHECK (((length(end_to_end_id) >= 1) AND (length(end_to_end_id) <= 35))),
    CONSTRAINT payouts_receipts_check CHECK ((receipts > 0)),
    CONSTRAINT payouts_release CHECK (
CASE
    WHEN (held_for = ''::text) THEN ((state = ANY (ARRAY['created'::text, 'sent'::text])) AND (released_at IS NULL) AND (batch = 0) AND (pay_to = ''::text))
    ELSE (((state = ANY (ARRAY['held'::text, 'cancelled'::text])) = (released_at IS NULL)) AND ((state = ANY (ARRAY['held'::text, 'cancelled'::text])) = (released_by = ''::text)) AND ((state = ANY (ARRAY['held'::text, 'cancelled'::text])) = (batch = 0)))
END),
    CONSTRAINT payouts_sent CHECK ((((state = 'sent'::text) = (sent_at IS NOT NULL)) AND ((state = 'sent'::text) = ((csv_file <> ''::text) AND (xml_file <> ''::text))))),
    CONSTRAINT payouts_state_check CHECK ((state = ANY (ARRAY['held'::text, 'created'::text, 'sent'::text, 'cancelled'::text]))),
    CONSTRAINT payouts_tenant_id_end_to_end_id_key UNIQUE (tenant_id, end_to_end_id),
    CONSTRAINT payouts_tenant_id_window_date_payee_currency_key UNIQUE (tenant_id, window_date, payee, currency)
);
COMMENT ON TABLE payouts IS 'What was paid to each payee for a window, and the files that ordered it. One that is held waits for a release: it is owed, posts nothing and is in no file. What is released together has a batch and files of its own; its business date is that of the release. pay_to is another payee who gets the money in the place of the one it is owed to. One that is cancelled is owed again: a carried receipt takes it out of its window, and the next window that is paid has it.';
CREATE INDEX payouts_created ON payouts USING btree (tenant_id, window_date) WHERE (state = 'created'::text);
CREATE INDEX payouts_held ON payouts USING btree (tenant_id, window_date) WHERE (state = 'held'::text);
ALTER TABLE payouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE payouts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payouts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON payouts TO citygate_app;
GRANT SELECT ON payouts TO citygate_auditor;
GRANT UPDATE (state, csv_file, xml_file, business_date, calendar_version, sent_at, batch, released_at, released_by, pay_to, cancelled_at, cancelled_by) ON payouts TO citygate_app;

CREATE TABLE person_devices (
    tenant_id bigint NOT NULL,
    device bytea NOT NULL,
    subject bytea NOT NULL,
    sealed bytea NOT NULL,
    since timestamp with time zone NOT NULL,
    until timestamp with time zone,
    CONSTRAINT person_devices_pkey PRIMARY KEY (tenant_id, device, since),
    CONSTRAINT person_devices_check CHECK ((until > since)),
    CONSTRAINT person_devices_device_check CHECK ((octet_length(device) = 32)),
    CONSTRAINT person_devices_subject_check CHECK ((octet_length(subject) = 16))
);
COMMENT ON TABLE person_devices IS 'Which devices their rider joined into one person. device is a keyed hash, sealed the device encrypted; the key is in the tenant''s secret store. since and until are beginnings of business dates. No part of any export.';
CREATE UNIQUE INDEX person_devices_now ON person_devices USING btree (tenant_id, device) WHERE (until IS NULL);
CREATE INDEX person_devices_subject ON person_devices USING btree (tenant_id, subject);
ALTER TABLE person_devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE person_devices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON person_devices
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON person_devices TO citygate_app;
GRANT UPDATE (until) ON person_devices TO citygate_app;
GRANT SELECT (tenant_id, since, until) ON person_devices TO citygate_auditor;

CREATE TABLE platform.access_issuers (
    tenant_id bigint NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    client_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT access_issuers_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT access_issuers_client_id_check CHECK ((client_id <> ''::text)),
    CONSTRAINT access_issuers_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,30}$'::text)),
    CONSTRAINT access_issuers_tenant_id_check CHECK ((tenant_id = 0)),
    CONSTRAINT access_issuers_url UNIQUE (tenant_id, url),
    CONSTRAINT access_issuers_url_check CHECK ((url <> ''::text))
);
COMMENT ON TABLE platform.access_issuers IS 'OpenID Connect issuers whose people may sign in to the platform. The URL never changes under a name: members are of that issuer.';
GRANT DELETE, INSERT, SELECT ON platform.access_issuers TO citygate_app;
GRANT SELECT ON platform.access_issuers TO citygate_auditor;
GRANT UPDATE (client_id) ON platform.access_issuers TO citygate_app;

CREATE TABLE platform.access_keys (
    tenant_id bigint NOT NULL,
    key_id uuid NOT NULL,
    name text NOT NULL,
    owner text NOT NULL,
    scopes text[] NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT access_keys_pkey PRIMARY KEY (tenant_id, key_id),
    CONSTRAINT access_keys_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT access_keys_name_check CHECK ((name <> ''::text)),
    CONSTRAINT access_keys_owner_check CHECK ((owner <> ''::text)),
    CONSTRAINT access_keys_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.access_keys IS 'API keys of the platform: SHA-256 of 32 random bytes. A key does what its scopes name of what its owner may do at that moment, and nothing when the owner is no member any more.';
GRANT INSERT, SELECT ON platform.access_keys TO citygate_app;
GRANT SELECT ON platform.access_keys TO citygate_auditor;
GRANT UPDATE (last_used_at, revoked_at) ON platform.access_keys TO citygate_app;

CREATE TABLE platform.access_members (
    tenant_id bigint NOT NULL,
    subject text NOT NULL,
    issuer text NOT NULL,
    external text NOT NULL,
    name text NOT NULL,
    roles text[] NOT NULL,
    added_by text NOT NULL,
    added_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT access_members_pkey PRIMARY KEY (tenant_id, subject),
    CONSTRAINT access_members_added_by_check CHECK ((added_by <> ''::text)),
    CONSTRAINT access_members_external_check CHECK ((external <> ''::text)),
    CONSTRAINT access_members_person UNIQUE (tenant_id, issuer, external),
    CONSTRAINT access_members_subject_check CHECK ((subject <> ''::text)),
    CONSTRAINT access_members_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.access_members IS 'People of the platform and their roles. An empty issuer has no sign-in: its people are given tokens by command. external is what the issuer calls the person.';
GRANT DELETE, INSERT, SELECT ON platform.access_members TO citygate_app;
GRANT SELECT ON platform.access_members TO citygate_auditor;
GRANT UPDATE (name, roles, changed_at) ON platform.access_members TO citygate_app;

CREATE TABLE platform.access_proposals (
    tenant_id bigint NOT NULL,
    proposal_id uuid NOT NULL,
    kind text NOT NULL,
    operation text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    body bytea NOT NULL,
    content_hash bytea NOT NULL,
    proposer text NOT NULL,
    person text NOT NULL,
    state text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    second text,
    decided_at timestamp with time zone,
    tried_at timestamp with time zone,
    ended_at timestamp with time zone,
    status integer,
    holder uuid,
    done text[] NOT NULL,
    CONSTRAINT access_proposals_pkey PRIMARY KEY (tenant_id, proposal_id),
    CONSTRAINT access_proposals_check CHECK (((state = ANY (ARRAY['open'::text, 'withdrawn'::text, 'expired'::text, 'void'::text])) OR (second IS NOT NULL))),
    CONSTRAINT access_proposals_check1 CHECK (((second IS NULL) OR (second <> person))),
    CONSTRAINT access_proposals_content_hash_check CHECK ((octet_length(content_hash) = 32)),
    CONSTRAINT access_proposals_kind_check CHECK ((kind <> ''::text)),
    CONSTRAINT access_proposals_method_check CHECK ((method <> ''::text)),
    CONSTRAINT access_proposals_operation_check CHECK ((operation <> ''::text)),
    CONSTRAINT access_proposals_path_check CHECK ((path <> ''::text)),
    CONSTRAINT access_proposals_person_check CHECK ((person <> ''::text)),
    CONSTRAINT access_proposals_proposer_check CHECK ((proposer <> ''::text)),
    CONSTRAINT access_proposals_state_check CHECK ((state = ANY (ARRAY['open'::text, 'approved'::text, 'executed'::text, 'refused'::text, 'withdrawn'::text, 'void'::text, 'expired'::text]))),
    CONSTRAINT access_proposals_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.access_proposals IS 'Requests to the platform that wait for a second person, or had one: as access_proposals.';
CREATE INDEX access_proposals_approved ON platform.access_proposals USING btree (tenant_id, decided_at) WHERE (state = 'approved'::text);
GRANT INSERT, SELECT ON platform.access_proposals TO citygate_app;
GRANT SELECT ON platform.access_proposals TO citygate_auditor;
GRANT UPDATE (state, second, decided_at, tried_at, ended_at, status, holder, done) ON platform.access_proposals TO citygate_app;

CREATE TABLE platform.access_revocations (
    subject text NOT NULL,
    before timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT access_revocations_pkey PRIMARY KEY (subject)
);
COMMENT ON TABLE platform.access_revocations IS 'Access tokens of the platform that count no more: those of a subject, or of everybody (no subject), issued until then.';
GRANT DELETE, INSERT, SELECT ON platform.access_revocations TO citygate_app;
GRANT SELECT ON platform.access_revocations TO citygate_auditor;
GRANT UPDATE (before, expires_at) ON platform.access_revocations TO citygate_app;

CREATE TABLE platform.access_settings (
    tenant_id bigint NOT NULL,
    two_person text[] NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT access_settings_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT access_settings_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.access_settings IS 'Which operations of the platform need a second person. Without a row: all of them while it has two administrators or more.';
GRANT INSERT, SELECT ON platform.access_settings TO citygate_app;
GRANT SELECT ON platform.access_settings TO citygate_auditor;
GRANT UPDATE (two_person, changed_at) ON platform.access_settings TO citygate_app;

CREATE TABLE platform.access_versions (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT access_versions_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT access_versions_tenant_id_check CHECK ((tenant_id >= 0)),
    CONSTRAINT access_versions_version_check CHECK ((version > 0))
);
COMMENT ON TABLE platform.access_versions IS 'Counts the changes of a tenant''s people, roles, keys and issuers, in the transaction of the change. Every instance looks here once a second. 0 is the platform; no row is version 0.';
GRANT INSERT, SELECT ON platform.access_versions TO citygate_app;
GRANT SELECT ON platform.access_versions TO citygate_auditor;
GRANT UPDATE (version) ON platform.access_versions TO citygate_app;

CREATE TABLE platform.audit_checkpoints (
    tenant_id bigint NOT NULL,
    n bigint NOT NULL,
    seq bigint NOT NULL,
    root bytea NOT NULL,
    prev_root bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    kid smallint NOT NULL,
    signature bytea NOT NULL,
    CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (tenant_id, n),
    CONSTRAINT audit_checkpoints_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT audit_checkpoints_n_check CHECK ((n > 0)),
    CONSTRAINT audit_checkpoints_prev_root_check CHECK ((octet_length(prev_root) = 32)),
    CONSTRAINT audit_checkpoints_root_check CHECK ((octet_length(root) = 32)),
    CONSTRAINT audit_checkpoints_seq UNIQUE (tenant_id, seq),
    CONSTRAINT audit_checkpoints_seq_check CHECK ((seq > 0)),
    CONSTRAINT audit_checkpoints_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.audit_checkpoints IS 'Signed seals over the platform''s audit chain, by the platform''s audit key.';
GRANT INSERT, SELECT ON platform.audit_checkpoints TO citygate_app;
GRANT SELECT ON platform.audit_checkpoints TO citygate_auditor;

CREATE TABLE platform.audit_heads (
    tenant_id bigint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_heads_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT audit_heads_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT audit_heads_seq_check CHECK ((seq >= 0)),
    CONSTRAINT audit_heads_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.audit_heads IS 'The last link of the platform''s audit chain.';
GRANT INSERT, SELECT ON platform.audit_heads TO citygate_app;
GRANT SELECT ON platform.audit_heads TO citygate_auditor;
GRANT UPDATE (seq, hash) ON platform.audit_heads TO citygate_app;

CREATE TABLE platform.audit_log (
    entry_id uuid NOT NULL,
    actor text NOT NULL,
    verb text NOT NULL,
    object text NOT NULL,
    before jsonb,
    after jsonb,
    at timestamp with time zone NOT NULL,
    seq bigint,
    prev_hash bytea,
    hash bytea,
    tenant_id bigint NOT NULL DEFAULT 0,
    CONSTRAINT audit_log_pkey PRIMARY KEY (entry_id),
    CONSTRAINT audit_log_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT audit_log_chained CHECK ((num_nulls(seq, prev_hash, hash) = ANY (ARRAY[0, 3]))),
    CONSTRAINT audit_log_tenant_id_check CHECK ((tenant_id = 0)),
    CONSTRAINT audit_log_verb_check CHECK ((verb <> ''::text))
);
COMMENT ON TABLE platform.audit_log IS 'Who changed what outside any tenant. Rows are added, chained by seq, prev_hash and hash, and then never changed.';
CREATE INDEX audit_log_at ON platform.audit_log USING btree (at, entry_id);
CREATE UNIQUE INDEX audit_log_seq ON platform.audit_log USING btree (tenant_id, seq);
CREATE INDEX audit_log_waiting ON platform.audit_log USING btree (tenant_id, at, entry_id) WHERE (seq IS NULL);
GRANT INSERT, SELECT ON platform.audit_log TO citygate_app;
GRANT SELECT ON platform.audit_log TO citygate_auditor;
GRANT UPDATE (seq, prev_hash, hash) ON platform.audit_log TO citygate_app;

CREATE TABLE platform.calendars (
    tenant_id bigint NOT NULL,
    version integer NOT NULL,
    from_date date NOT NULL,
    time_zone text NOT NULL,
    cut_minutes integer NOT NULL,
    rest_weekdays smallint[] NOT NULL,
    holidays date[] NOT NULL,
    created_at timestamp with time zone NOT NULL,
    workdays date[] NOT NULL DEFAULT '{}'::date[],
    CONSTRAINT calendars_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT calendars_cut_minutes_check CHECK (((cut_minutes >= 0) AND (cut_minutes <= 1439))),
    CONSTRAINT calendars_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES platform.tenants(tenant_id),
    CONSTRAINT calendars_time_zone_check CHECK ((time_zone <> ''::text)),
    CONSTRAINT calendars_version_check CHECK ((version > 1))
);
COMMENT ON TABLE platform.calendars IS 'Later versions of tenants'' settlement calendars, each from a business date on; the first one is in the row of the tenant. A version never changes.';
COMMENT ON COLUMN platform.calendars.rest_weekdays IS 'Days of the week on which nothing is paid out: 0 Sunday to 6 Saturday.';
COMMENT ON COLUMN platform.calendars.workdays IS 'Dates that are worked although their weekday rests.';
GRANT INSERT, SELECT ON platform.calendars TO citygate_app;
GRANT SELECT ON platform.calendars TO citygate_auditor;

CREATE TABLE platform.fare_members (
    authority_id bigint NOT NULL,
    operator_id bigint NOT NULL,
    version integer NOT NULL,
    ordinal integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    asked_from timestamp with time zone,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    agreed_by text,
    agreed_at timestamp with time zone,
    effective_at timestamp with time zone,
    ender_id bigint,
    ended_by text,
    ended_at timestamp with time zone,
    ends_at timestamp with time zone,
    CONSTRAINT fare_members_pkey PRIMARY KEY (authority_id, operator_id, version),
    CONSTRAINT fare_members_agreed CHECK (((num_nulls(agreed_by, agreed_at, effective_at) = ANY (ARRAY[0, 3])) AND (effective_at >= agreed_at))),
    CONSTRAINT fare_members_agreed_by_check CHECK ((agreed_by <> ''::text)),
    CONSTRAINT fare_members_check CHECK (((ender_id = authority_id) OR (ender_id = operator_id))),
    CONSTRAINT fare_members_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT fare_members_ended CHECK (((num_nulls(ender_id, ended_by, ended_at, ends_at) = ANY (ARRAY[0, 4])) AND (ends_at >= ended_at))),
    CONSTRAINT fare_members_ended_by_check CHECK ((ended_by <> ''::text)),
    CONSTRAINT fare_members_name_check CHECK ((name <> ''::text)),
    CONSTRAINT fare_members_ordinal_check CHECK (((ordinal >= 1) AND (ordinal <= 32767))),
    CONSTRAINT fare_members_proposed_by_check CHECK ((proposed_by <> ''::text)),
    CONSTRAINT fare_members_two CHECK ((authority_id <> operator_id)),
    CONSTRAINT fare_members_version_check CHECK ((version > 0))
);
COMMENT ON TABLE platform.fare_members IS 'Versions of what makes an operator a member of its authority''s integrated tariff: the authority proposes, the operator agrees, either ends. Taps of the operator from effective_at until ends_at are priced by the authority. Both see their rows, nobody else does.';
COMMENT ON COLUMN platform.fare_members.ordinal IS 'Tells the taps of an authority''s members apart: the upper 16 bits of their sequence numbers in its tables. An operator keeps it.';
COMMENT ON COLUMN platform.fare_members.name IS 'What the tariff calls the operator.';
CREATE INDEX fare_members_operator ON platform.fare_members USING btree (operator_id, authority_id, version);
CREATE UNIQUE INDEX fare_members_ordinal ON platform.fare_members USING btree (authority_id, ordinal) WHERE (version = 1);
ALTER TABLE platform.fare_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform.fare_members FORCE ROW LEVEL SECURITY;
CREATE POLICY party ON platform.fare_members
    USING (((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = authority_id) OR ((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = operator_id))
    WITH CHECK (((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = authority_id) OR ((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = operator_id));
GRANT INSERT, SELECT ON platform.fare_members TO citygate_app;
GRANT SELECT ON platform.fare_members TO citygate_auditor;
GRANT UPDATE (agreed_by, agreed_at, effective_at, ender_id, ended_by, ended_at, ends_at) ON platform.fare_members TO citygate_app;

CREATE TABLE platform.idempotency_keys (
    tenant_id bigint NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    state text NOT NULL,
    holder uuid NOT NULL,
    status integer,
    content_type text,
    body bytea,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, route, key),
    CONSTRAINT idempotency_keys_key_check CHECK ((key <> ''::text)),
    CONSTRAINT idempotency_keys_request_hash_check CHECK ((octet_length(request_hash) = 32)),
    CONSTRAINT idempotency_keys_route_check CHECK ((route <> ''::text)),
    CONSTRAINT idempotency_keys_state_check CHECK ((state = ANY (ARRAY['running'::text, 'done'::text]))),
    CONSTRAINT idempotency_keys_tenant_id_check CHECK ((tenant_id = 0))
);
COMMENT ON TABLE platform.idempotency_keys IS 'Answers to unsafe requests that are about no tenant, kept so that the same request again gets the same answer.';
CREATE INDEX idempotency_keys_age ON platform.idempotency_keys USING btree (tenant_id, created_at);
GRANT DELETE, INSERT, SELECT ON platform.idempotency_keys TO citygate_app;
GRANT SELECT ON platform.idempotency_keys TO citygate_auditor;
GRANT UPDATE (state, status, content_type, body) ON platform.idempotency_keys TO citygate_app;

CREATE TABLE platform.key_holders (
    tenant_id bigint NOT NULL,
    purpose text NOT NULL,
    kid smallint NOT NULL,
    operator_id bigint NOT NULL,
    first_held bigint NOT NULL,
    last_held bigint NOT NULL,
    CONSTRAINT key_holders_pkey PRIMARY KEY (tenant_id, purpose, kid, operator_id),
    CONSTRAINT key_holders_check CHECK ((last_held >= first_held)),
    CONSTRAINT key_holders_first_held_check CHECK ((first_held > 0)),
    CONSTRAINT key_holders_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT key_holders_purpose_check CHECK ((purpose ~ '^[a-z][a-z0-9-]{0,39}$'::text))
);
COMMENT ON TABLE platform.key_holders IS 'Which operator''s bundles hold a tenant''s key: the first and the last version that does.';
GRANT INSERT, SELECT ON platform.key_holders TO citygate_app;
GRANT SELECT ON platform.key_holders TO citygate_auditor;
GRANT UPDATE (last_held) ON platform.key_holders TO citygate_app;

CREATE TABLE platform.memberships (
    tenant_id bigint NOT NULL,
    authority_id bigint NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT memberships_pkey PRIMARY KEY (tenant_id, authority_id),
    CONSTRAINT memberships_authority_id_fkey FOREIGN KEY (authority_id) REFERENCES platform.tenants(tenant_id),
    CONSTRAINT memberships_check CHECK ((tenant_id <> authority_id)),
    CONSTRAINT memberships_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES platform.tenants(tenant_id)
);
COMMENT ON TABLE platform.memberships IS 'The authorities an operator serves besides the one that owns it.';
GRANT DELETE, INSERT, SELECT ON platform.memberships TO citygate_app;
GRANT SELECT ON platform.memberships TO citygate_auditor;

CREATE TABLE platform.platform_keys (
    tenant_id bigint NOT NULL,
    purpose text NOT NULL,
    kid smallint NOT NULL,
    version integer NOT NULL,
    algorithm text NOT NULL,
    public_key bytea NOT NULL,
    state text NOT NULL,
    not_before timestamp with time zone NOT NULL,
    expires timestamp with time zone NOT NULL,
    not_issued_after timestamp with time zone,
    published_at timestamp with time zone NOT NULL,
    CONSTRAINT platform_keys_pkey PRIMARY KEY (tenant_id, purpose, kid),
    CONSTRAINT platform_keys_algorithm_check CHECK ((algorithm = ANY (ARRAY['ed25519'::text, 'ecdsa-p256'::text]))),
    CONSTRAINT platform_keys_check CHECK ((expires > not_before)),
    CONSTRAINT platform_keys_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT platform_keys_public_key_check CHECK ((octet_length(public_key) > 0)),
    CONSTRAINT platform_keys_purpose_check CHECK ((purpose = ANY (ARRAY['root'::text, 'token'::text, 'audit'::text]))),
    CONSTRAINT platform_keys_state_check CHECK ((state = ANY (ARRAY['published'::text, 'active'::text, 'retiring'::text, 'revoked'::text]))),
    CONSTRAINT platform_keys_tenant_id_check CHECK ((tenant_id = 0)),
    CONSTRAINT platform_keys_version UNIQUE (tenant_id, purpose, version),
    CONSTRAINT platform_keys_version_check CHECK ((version > 0))
);
COMMENT ON TABLE platform.platform_keys IS 'Public keys of the platform (tenant 0 to a signer): roots that sign bundles, keys that sign access tokens, keys that seal the audit log.';
CREATE UNIQUE INDEX platform_keys_active ON platform.platform_keys USING btree (tenant_id, purpose) WHERE (state = 'active'::text);
GRANT INSERT, SELECT ON platform.platform_keys TO citygate_app;
GRANT SELECT ON platform.platform_keys TO citygate_auditor;
GRANT UPDATE (state, not_issued_after) ON platform.platform_keys TO citygate_app;

CREATE TABLE platform.roaming_terms (
    issuer_id bigint NOT NULL,
    host_id bigint NOT NULL,
    version integer NOT NULL,
    terms jsonb NOT NULL,
    currency text COLLATE "C" NOT NULL,
    asked_from timestamp with time zone,
    proposer_id bigint NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    agreed_by text,
    agreed_at timestamp with time zone,
    effective_at timestamp with time zone,
    ender_id bigint,
    ended_by text,
    ended_at timestamp with time zone,
    ends_at timestamp with time zone,
    CONSTRAINT roaming_terms_pkey PRIMARY KEY (issuer_id, host_id, version),
    CONSTRAINT roaming_terms_agreed CHECK (((num_nulls(agreed_by, agreed_at, effective_at) = ANY (ARRAY[0, 3])) AND (effective_at >= agreed_at))),
    CONSTRAINT roaming_terms_agreed_by_check CHECK ((agreed_by <> ''::text)),
    CONSTRAINT roaming_terms_check CHECK (((proposer_id = issuer_id) OR (proposer_id = host_id))),
    CONSTRAINT roaming_terms_check1 CHECK (((ender_id = issuer_id) OR (ender_id = host_id))),
    CONSTRAINT roaming_terms_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT roaming_terms_ended CHECK (((num_nulls(ender_id, ended_by, ended_at, ends_at) = ANY (ARRAY[0, 4])) AND (ends_at >= ended_at))),
    CONSTRAINT roaming_terms_ended_by_check CHECK ((ended_by <> ''::text)),
    CONSTRAINT roaming_terms_proposed_by_check CHECK ((proposed_by <> ''::text)),
    CONSTRAINT roaming_terms_two CHECK ((issuer_id <> host_id)),
    CONSTRAINT roaming_terms_version_check CHECK ((version > 0))
);
COMMENT ON TABLE platform.roaming_terms IS 'Versions of the terms on which riders of one tenant (the issuer) are taken by another (the host). Both see their rows, nobody else does. What was agreed never changes; from ends_at on it holds no more.';
CREATE INDEX roaming_terms_host ON platform.roaming_terms USING btree (host_id, issuer_id, version);
ALTER TABLE platform.roaming_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE platform.roaming_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY party ON platform.roaming_terms
    USING (((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = issuer_id) OR ((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = host_id))
    WITH CHECK (((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = issuer_id) OR ((NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint = host_id));
GRANT INSERT, SELECT ON platform.roaming_terms TO citygate_app;
GRANT SELECT ON platform.roaming_terms TO citygate_auditor;
GRANT UPDATE (agreed_by, agreed_at, effective_at, ender_id, ended_by, ended_at, ends_at) ON platform.roaming_terms TO citygate_app;

CREATE TABLE platform.root_sets (
    version bigint NOT NULL,
    body bytea NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT root_sets_pkey PRIMARY KEY (version),
    CONSTRAINT root_sets_version_check CHECK ((version > 0))
);
COMMENT ON TABLE platform.root_sets IS 'Who signs bundles, one signed root set (TR1) a row, verbatim: each signed by a threshold of the set before and of its own. Private keys are never here.';
GRANT INSERT, SELECT ON platform.root_sets TO citygate_app;
GRANT SELECT ON platform.root_sets TO citygate_auditor;

CREATE TABLE platform.tenants (
    tenant_id bigint NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    parent_id bigint,
    mode text NOT NULL,
    issuer integer,
    currency text NOT NULL,
    time_zone text NOT NULL,
    cut_minutes integer NOT NULL,
    calendar_version integer NOT NULL,
    cap_unit bigint NOT NULL,
    state text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    state_since timestamp with time zone,
    clock_ahead_us bigint NOT NULL DEFAULT 0,
    quota jsonb,
    CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenants_calendar_version_check CHECK ((calendar_version > 0)),
    CONSTRAINT tenants_cap_unit_check CHECK ((cap_unit >= 0)),
    CONSTRAINT tenants_check CHECK ((parent_id <> tenant_id)),
    CONSTRAINT tenants_clock_ahead CHECK (((clock_ahead_us >= 0) AND ((mode = 'sandbox'::text) OR (clock_ahead_us = 0)))),
    CONSTRAINT tenants_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT tenants_cut_minutes_check CHECK (((cut_minutes >= 0) AND (cut_minutes <= 1439))),
    CONSTRAINT tenants_issuer_check CHECK (((issuer >= 1) AND (issuer <= 65535))),
    CONSTRAINT tenants_issuer_key UNIQUE (issuer),
    CONSTRAINT tenants_kind_check CHECK ((kind <> ''::text)),
    CONSTRAINT tenants_mode_check CHECK ((mode = ANY (ARRAY['sandbox'::text, 'live'::text]))),
    CONSTRAINT tenants_name_check CHECK ((name <> ''::text)),
    CONSTRAINT tenants_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES platform.tenants(tenant_id),
    CONSTRAINT tenants_slug_check CHECK ((slug ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'::text)),
    CONSTRAINT tenants_slug_key UNIQUE (slug),
    CONSTRAINT tenants_state_check CHECK ((state = ANY (ARRAY['draft'::text, 'active'::text, 'suspended'::text, 'closing'::text, 'closed'::text]))),
    CONSTRAINT tenants_tenant_id_check CHECK ((tenant_id > 0)),
    CONSTRAINT tenants_time_zone_check CHECK ((time_zone <> ''::text))
);
COMMENT ON TABLE platform.tenants IS 'Every tenant there is or was. Numbers are never reused; mode, slug and issuer number never change.';
COMMENT ON COLUMN platform.tenants.state_since IS 'When the tenant came into its state; none: with its creation.';
COMMENT ON COLUMN platform.tenants.clock_ahead_us IS 'How far the tenant''s clock is ahead of the platform''s, in microseconds; 0 for every live tenant.';
COMMENT ON COLUMN platform.tenants.quota IS 'What the tenant may ask of one process; none: the usual quota.';
GRANT INSERT, SELECT ON platform.tenants TO citygate_app;
GRANT SELECT ON platform.tenants TO citygate_auditor;
GRANT UPDATE (name, kind, parent_id, time_zone, cut_minutes, calendar_version, cap_unit, state, state_since, clock_ahead_us, quota) ON platform.tenants TO citygate_app;

CREATE TABLE policies (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    published_at timestamp with time zone NOT NULL,
    effective_at timestamp with time zone NOT NULL,
    CONSTRAINT policies_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT policies_version_check CHECK ((version > 0))
);
COMMENT ON TABLE policies IS 'Acceptance rules, one immutable version a row, in the canonical form terminals carry.';
COMMENT ON COLUMN policies.effective_at IS 'The event time from which the version holds. Of those that are not from later than a tap, the highest version decides on it.';
ALTER TABLE policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE policies FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON policies
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON policies TO citygate_app;
GRANT SELECT ON policies TO citygate_auditor;

CREATE TABLE pricing_riders (
    tenant_id bigint NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    CONSTRAINT pricing_riders_pkey PRIMARY KEY (tenant_id, issuer, list, idx)
);
COMMENT ON TABLE pricing_riders IS 'One row for each rider with paired taps; its lock orders those who build the rider''s journeys.';
ALTER TABLE pricing_riders ENABLE ROW LEVEL SECURITY;
ALTER TABLE pricing_riders FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON pricing_riders
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON pricing_riders TO citygate_app;
GRANT SELECT ON pricing_riders TO citygate_auditor;
GRANT UPDATE (idx) ON pricing_riders TO citygate_app;

CREATE TABLE product_catalogues (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    body json NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT product_catalogues_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT product_catalogues_tenant_id_valid_from_key UNIQUE (tenant_id, valid_from),
    CONSTRAINT product_catalogues_version_check CHECK ((version > 0))
);
COMMENT ON TABLE product_catalogues IS 'Versions of what the tenant sells and gives. A sale goes by the version in force when it was asked for.';
ALTER TABLE product_catalogues ENABLE ROW LEVEL SECURITY;
ALTER TABLE product_catalogues FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON product_catalogues
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON product_catalogues TO citygate_app;
GRANT SELECT ON product_catalogues TO citygate_auditor;

CREATE TABLE product_sales (
    tenant_id bigint NOT NULL,
    sale_id uuid NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    order_key text COLLATE "C" NOT NULL,
    account_id uuid NOT NULL,
    product text COLLATE "C" NOT NULL,
    catalogue bigint NOT NULL,
    offer json NOT NULL,
    price bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    contract text COLLATE "C" NOT NULL,
    sold_by text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    paid_at timestamp with time zone,
    held_at timestamp with time zone,
    ended_at timestamp with time zone,
    closes_at timestamp with time zone,
    refund bigint NOT NULL,
    left_over bigint NOT NULL,
    closed_on date,
    used bigint NOT NULL DEFAULT 0,
    CONSTRAINT product_sales_pkey PRIMARY KEY (tenant_id, sale_id),
    CONSTRAINT product_sales_check CHECK (((refund >= 0) AND (refund <= price))),
    CONSTRAINT product_sales_check1 CHECK (((left_over >= 0) AND (left_over <= price))),
    CONSTRAINT product_sales_check2 CHECK (((used >= 0) AND (used <= price))),
    CONSTRAINT product_sales_closed CHECK (
CASE state
    WHEN 'closed'::text THEN (closed_on IS NOT NULL)
    WHEN 'reversed'::text THEN true
    ELSE (closed_on IS NULL)
END),
    CONSTRAINT product_sales_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT product_sales_order_key_check CHECK (((length(order_key) >= 1) AND (length(order_key) <= 64))),
    CONSTRAINT product_sales_price_check CHECK ((price >= 0)),
    CONSTRAINT product_sales_sold_by_check CHECK ((sold_by = ANY (ARRAY['rider'::text, 'operator'::text]))),
    CONSTRAINT product_sales_state_check CHECK ((state = ANY (ARRAY['asked'::text, 'paid'::text, 'held'::text, 'declined'::text, 'refunding'::text, 'refunded'::text, 'closed'::text, 'reversed'::text]))),
    CONSTRAINT product_sales_tenant_id_issuer_list_idx_order_key_key UNIQUE (tenant_id, issuer, list, idx, order_key)
);
COMMENT ON TABLE product_sales IS 'Products that riders bought. The charge and the right have the sale''s id; the right is there from the state held on.';
COMMENT ON COLUMN product_sales.order_key IS 'The buyer''s own name for the order: asked for again under it, nothing is bought twice.';
COMMENT ON COLUMN product_sales.offer IS 'The product as the catalogue said it then.';
COMMENT ON COLUMN product_sales.refund IS 'What goes back, or went back, through the provider, in minor units.';
COMMENT ON COLUMN product_sales.left_over IS 'What was left when it ended and is the seller''s.';
COMMENT ON COLUMN product_sales.used IS 'Of one that is reversed: what of its price rides had used when it was last looked at.';
CREATE INDEX product_sales_closing ON product_sales USING btree (tenant_id, closes_at) WHERE ((state = 'held'::text) AND (closes_at IS NOT NULL));
CREATE INDEX product_sales_paid ON product_sales USING btree (tenant_id, sale_id) WHERE (state = 'paid'::text);
CREATE INDEX product_sales_reversed ON product_sales USING btree (tenant_id, sale_id) WHERE (state = 'reversed'::text);
ALTER TABLE product_sales ENABLE ROW LEVEL SECURITY;
ALTER TABLE product_sales FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON product_sales
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON product_sales TO citygate_app;
GRANT SELECT ON product_sales TO citygate_auditor;
GRANT UPDATE (state, paid_at, held_at, ended_at, closes_at, refund, left_over, closed_on, used) ON product_sales TO citygate_app;

CREATE TABLE provider_breakers (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    failures integer NOT NULL,
    opened_at timestamp with time zone,
    probe_at timestamp with time zone,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT provider_breakers_pkey PRIMARY KEY (tenant_id, contract),
    CONSTRAINT provider_breakers_check CHECK (((opened_at IS NULL) = (probe_at IS NULL))),
    CONSTRAINT provider_breakers_failures_check CHECK ((failures >= 0)),
    CONSTRAINT provider_breakers_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract)
);
COMMENT ON TABLE provider_breakers IS 'Contracts whose provider did not answer lately; one without a row always did.';
COMMENT ON COLUMN provider_breakers.failures IS 'Calls in a row that the provider did not answer.';
COMMENT ON COLUMN provider_breakers.opened_at IS 'Since when routing takes it to be down; none: it is up.';
COMMENT ON COLUMN provider_breakers.probe_at IS 'From when on one payment is routed to it again, to try.';
ALTER TABLE provider_breakers ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_breakers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_breakers
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON provider_breakers TO citygate_app;
GRANT SELECT ON provider_breakers TO citygate_auditor;
GRANT UPDATE (failures, opened_at, probe_at, changed_at) ON provider_breakers TO citygate_app;

CREATE TABLE provider_codes (
    tenant_id bigint NOT NULL,
    code_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    request bytea NOT NULL,
    rider_ref text NOT NULL,
    card_ref text NOT NULL,
    code bytea NOT NULL,
    status integer NOT NULL,
    kind text NOT NULL,
    answer bytea NOT NULL,
    not_before timestamp with time zone NOT NULL,
    not_after timestamp with time zone NOT NULL,
    issued_at timestamp with time zone NOT NULL,
    CONSTRAINT provider_codes_pkey PRIMARY KEY (tenant_id, code_id),
    CONSTRAINT provider_codes_request_check CHECK ((length(request) = 32)),
    CONSTRAINT provider_codes_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract),
    CONSTRAINT provider_codes_tenant_id_contract_request_key UNIQUE (tenant_id, contract, request)
);
COMMENT ON TABLE provider_codes IS 'Codes that the operator signed on a provider''s request, stored before they are given out. The same request again gets the same answer.';
COMMENT ON COLUMN provider_codes.request IS 'Digest of the request''s body.';
COMMENT ON COLUMN provider_codes.answer IS 'The answer as it was sent, sealed as the provider wants it; status and kind are its HTTP status and content type.';
CREATE INDEX provider_codes_old ON provider_codes USING btree (tenant_id, not_after);
ALTER TABLE provider_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_codes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_codes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON provider_codes TO citygate_app;
GRANT SELECT ON provider_codes TO citygate_auditor;

CREATE TABLE provider_contracts (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    adapter text COLLATE "C" NOT NULL,
    config jsonb NOT NULL,
    fee_ppm bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT provider_contracts_pkey PRIMARY KEY (tenant_id, contract),
    CONSTRAINT provider_contracts_adapter_check CHECK ((adapter <> ''::text)),
    CONSTRAINT provider_contracts_contract_check CHECK ((contract <> ''::text)),
    CONSTRAINT provider_contracts_fee_ppm_check CHECK (((fee_ppm >= 0) AND (fee_ppm <= 1000000))),
    CONSTRAINT provider_contracts_state_check CHECK ((state = ANY (ARRAY['active'::text, 'closed'::text])))
);
COMMENT ON TABLE provider_contracts IS 'Contracts with payment providers: which product, with what settings, at what fee.';
ALTER TABLE provider_contracts ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_contracts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_contracts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON provider_contracts TO citygate_app;
GRANT SELECT ON provider_contracts TO citygate_auditor;
GRANT UPDATE (config, fee_ppm, state) ON provider_contracts TO citygate_app;

CREATE TABLE provider_feeds (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    feed text COLLATE "C" NOT NULL,
    due_at timestamp with time zone NOT NULL,
    pulled_at timestamp with time zone,
    items integer,
    failures integer NOT NULL,
    failed_at timestamp with time zone,
    error text COLLATE "C" NOT NULL DEFAULT ''::text,
    carried boolean NOT NULL DEFAULT true,
    let_through boolean NOT NULL DEFAULT false,
    CONSTRAINT provider_feeds_pkey PRIMARY KEY (tenant_id, contract, feed),
    CONSTRAINT provider_feeds_check CHECK (((pulled_at IS NULL) = (items IS NULL))),
    CONSTRAINT provider_feeds_error_check CHECK ((length(error) <= 500)),
    CONSTRAINT provider_feeds_failures_check CHECK ((failures >= 0)),
    CONSTRAINT provider_feeds_feed_check CHECK ((feed = ANY (ARRAY['deny'::text, 'keys'::text]))),
    CONSTRAINT provider_feeds_items_check CHECK ((items >= 0)),
    CONSTRAINT provider_feeds_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract)
);
COMMENT ON TABLE provider_feeds IS 'The lists of a provider that the tenant follows. Deny entries that come of one have the reason provider_list.';
COMMENT ON COLUMN provider_feeds.due_at IS 'When the list is read again.';
COMMENT ON COLUMN provider_feeds.pulled_at IS 'When it was last read whole; none: never.';
COMMENT ON COLUMN provider_feeds.items IS 'Riders on it then, of whom the tenant may know few.';
COMMENT ON COLUMN provider_feeds.failures IS 'Readings in a row that failed; nothing was changed by them.';
COMMENT ON COLUMN provider_feeds.failed_at IS 'When the list last could not be read or was refused; none: never.';
COMMENT ON COLUMN provider_feeds.error IS 'Why, then; empty since the list was read again.';
COMMENT ON COLUMN provider_feeds.carried IS 'False while readers'' bundles do not have what the list changed.';
COMMENT ON COLUMN provider_feeds.let_through IS 'Somebody looked: the next list is taken as it is, also with keys that were out of force.';
ALTER TABLE provider_feeds ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_feeds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_feeds
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON provider_feeds TO citygate_app;
GRANT SELECT ON provider_feeds TO citygate_auditor;
GRANT UPDATE (due_at, pulled_at, items, failures, failed_at, error, carried, let_through) ON provider_feeds TO citygate_app;

CREATE TABLE provider_keys (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    key_id bigint NOT NULL,
    since timestamp with time zone NOT NULL,
    material bytea NOT NULL,
    missed_at timestamp with time zone,
    until timestamp with time zone,
    CONSTRAINT provider_keys_pkey PRIMARY KEY (tenant_id, contract, key_id, since),
    CONSTRAINT provider_keys_key_id_check CHECK (((key_id >= 0) AND (key_id <= '4294967295'::bigint))),
    CONSTRAINT provider_keys_material_check CHECK (((length(material) >= 1) AND (length(material) <= 2048))),
    CONSTRAINT provider_keys_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract)
);
COMMENT ON TABLE provider_keys IS 'Keys of a provider''s own codes as its list gave them, those in force and those that were.';
COMMENT ON COLUMN provider_keys.since IS 'When a list had it first.';
COMMENT ON COLUMN provider_keys.missed_at IS 'When the list came without it; one more such list later takes it out of force. None: it is on the newest list.';
COMMENT ON COLUMN provider_keys.until IS 'When it went out of force; none: it is in force.';
ALTER TABLE provider_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_keys
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON provider_keys TO citygate_app;
GRANT SELECT ON provider_keys TO citygate_auditor;
GRANT UPDATE (missed_at, until) ON provider_keys TO citygate_app;

CREATE TABLE provider_notices (
    tenant_id bigint NOT NULL,
    notice_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    provider_id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    kind text COLLATE "C" NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    charge_our_id text COLLATE "C" NOT NULL,
    rider_ref text NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    amount bigint,
    currency text COLLATE "C",
    provider_ref text NOT NULL,
    reason text NOT NULL,
    said_at timestamp with time zone,
    verdict text COLLATE "C" NOT NULL,
    detail text NOT NULL,
    state text COLLATE "C" NOT NULL,
    note text NOT NULL,
    repeats integer NOT NULL,
    received_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT provider_notices_pkey PRIMARY KEY (tenant_id, notice_id),
    CONSTRAINT provider_notices_check CHECK (((amount IS NULL) = (currency IS NULL))),
    CONSTRAINT provider_notices_check1 CHECK (((state = 'resolved'::text) = (resolved_at IS NOT NULL))),
    CONSTRAINT provider_notices_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT provider_notices_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT provider_notices_kind_check CHECK ((kind = ANY (ARRAY['payment'::text, 'refund'::text, 'agreement'::text, 'rider'::text, 'reversal'::text, 'other'::text]))),
    CONSTRAINT provider_notices_repeats_check CHECK ((repeats >= 0)),
    CONSTRAINT provider_notices_state_check CHECK ((state = ANY (ARRAY['done'::text, 'open'::text, 'resolved'::text]))),
    CONSTRAINT provider_notices_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract),
    CONSTRAINT provider_notices_tenant_id_contract_provider_id_digest_key UNIQUE (tenant_id, contract, provider_id, digest),
    CONSTRAINT provider_notices_verdict_check CHECK ((verdict = ANY (ARRAY['applied'::text, 'known'::text, 'asked'::text, 'noted'::text, 'held'::text, 'waiting'::text, 'unknown_order'::text, 'mismatch'::text, 'contradiction'::text])))
);
COMMENT ON TABLE provider_notices IS 'Notifications of providers that were proven to be theirs, each once: stored before they are acknowledged.';
COMMENT ON COLUMN provider_notices.provider_id IS 'The provider''s own id of the notice, equal in its repetitions; empty where it has none.';
COMMENT ON COLUMN provider_notices.digest IS 'Of what the notice says: one id with two meanings is two rows.';
COMMENT ON COLUMN provider_notices.said_at IS 'When it became so, of riders and agreements: an older notice changes nothing that a later one said.';
COMMENT ON COLUMN provider_notices.verdict IS 'What was done about it. unknown_order, mismatch and contradiction changed nothing and are open until somebody has looked; held came for a tenant that is closed; waiting tells the outcome of what nobody has told yet.';
COMMENT ON COLUMN provider_notices.repeats IS 'Times it came again; they were answered as the first.';
CREATE INDEX provider_notices_open ON provider_notices USING btree (tenant_id, notice_id) WHERE (state = 'open'::text);
CREATE INDEX provider_notices_rider ON provider_notices USING btree (tenant_id, contract, rider_ref, said_at) WHERE (rider_ref <> ''::text);
ALTER TABLE provider_notices ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_notices FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON provider_notices
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON provider_notices TO citygate_app;
GRANT SELECT ON provider_notices TO citygate_auditor;
GRANT UPDATE (rider_ref, verdict, detail, state, note, repeats, last_at, resolved_at) ON provider_notices TO citygate_app;

CREATE TABLE receipts (
    tenant_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    ref text COLLATE "C" NOT NULL,
    issuer_id bigint NOT NULL,
    contra text COLLATE "C" NOT NULL,
    payee text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    calendar_version integer NOT NULL,
    window_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT receipts_pkey PRIMARY KEY (tenant_id, journey_id, kind, ref),
    CONSTRAINT receipts_amount_check CHECK ((amount <> 0)),
    CONSTRAINT receipts_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT receipts_kind_check CHECK ((kind = ANY (ARRAY['fee'::text, 'uncollected'::text, 'recovered'::text, 'cleared'::text, 'carried'::text])))
);
COMMENT ON TABLE receipts IS 'What an issuer told about a journey''s fare, item by item. What is cleared is money that came in and is paid to the payee with its window; what is carried moves a payee''s negative sum to the next window.';
COMMENT ON COLUMN receipts.contra IS 'The account on the other side of the payable; the bank''s partner for cleared money of another tenant, empty where nothing is posted.';
CREATE INDEX receipts_window ON receipts USING brin (tenant_id, window_date) WITH (pages_per_range='16');
ALTER TABLE receipts ENABLE ROW LEVEL SECURITY;
ALTER TABLE receipts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON receipts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON receipts TO citygate_app;
GRANT SELECT ON receipts TO citygate_auditor;

CREATE TABLE recon_history (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    item text COLLATE "C" NOT NULL,
    n integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    charge_id uuid,
    refund_id uuid,
    our_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    issue integer NOT NULL,
    line_no integer,
    currency text COLLATE "C" NOT NULL,
    expected bigint NOT NULL,
    expected_fee bigint NOT NULL,
    actual bigint NOT NULL,
    actual_fee bigint NOT NULL,
    resolution text COLLATE "C" NOT NULL,
    note text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    resolved_at timestamp with time zone,
    ended_at timestamp with time zone NOT NULL,
    ended_day date NOT NULL,
    ended_issue integer NOT NULL,
    CONSTRAINT recon_history_pkey PRIMARY KEY (tenant_id, contract, item, n)
);
COMMENT ON TABLE recon_history IS 'What reconciliation items were before a later bill, or another issue of one, had something else to say. Append-only.';
COMMENT ON COLUMN recon_history.ended_at IS 'When that bill was imported; the reversal of what the item had moved is of this instant.';
COMMENT ON COLUMN recon_history.ended_day IS 'Of that bill.';
CREATE INDEX recon_history_ended ON recon_history USING btree (tenant_id, contract, ended_day, ended_issue, item, n);
ALTER TABLE recon_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE recon_history FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON recon_history
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON recon_history TO citygate_app;
GRANT SELECT ON recon_history TO citygate_auditor;

CREATE TABLE recon_items (
    tenant_id bigint NOT NULL,
    contract text COLLATE "C" NOT NULL,
    item text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    charge_id uuid,
    refund_id uuid,
    our_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    line_no integer,
    currency text COLLATE "C" NOT NULL,
    expected bigint NOT NULL,
    expected_fee bigint NOT NULL,
    actual bigint NOT NULL,
    actual_fee bigint NOT NULL,
    diff bigint NOT NULL,
    resolution text COLLATE "C" NOT NULL DEFAULT ''::text,
    note text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    resolved_at timestamp with time zone,
    issue integer NOT NULL DEFAULT 1,
    n integer NOT NULL DEFAULT 1,
    CONSTRAINT recon_items_pkey PRIMARY KEY (tenant_id, contract, item),
    CONSTRAINT recon_items_check CHECK (((kind = 'matched'::text) = (state = 'matched'::text))),
    CONSTRAINT recon_items_check1 CHECK (((kind = 'matched'::text) = (owner = ''::text))),
    CONSTRAINT recon_items_check2 CHECK (((state = 'open'::text) = (resolved_at IS NULL))),
    CONSTRAINT recon_items_check3 CHECK (((state = 'resolved'::text) OR (resolution = ''::text))),
    CONSTRAINT recon_items_check4 CHECK (((kind = 'missing_provider'::text) = (line_no IS NULL))),
    CONSTRAINT recon_items_check5 CHECK ((diff = (actual - expected))),
    CONSTRAINT recon_items_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT recon_items_item_check CHECK ((item <> ''::text)),
    CONSTRAINT recon_items_kind_check CHECK ((kind = ANY (ARRAY['matched'::text, 'missing_provider'::text, 'missing_ledger'::text, 'amount_diff'::text, 'currency_diff'::text, 'refund_unexpected'::text, 'duplicate'::text, 'date_diff'::text]))),
    CONSTRAINT recon_items_n_check CHECK ((n > 0)),
    CONSTRAINT recon_items_owner_check CHECK ((owner = ANY (ARRAY[''::text, 'provider'::text, 'finance'::text, 'operator'::text]))),
    CONSTRAINT recon_items_resolution_check CHECK ((resolution = ANY (ARRAY[''::text, 'accept_provider'::text, 'accept_ours'::text, 'write_off'::text]))),
    CONSTRAINT recon_items_state_check CHECK ((state = ANY (ARRAY['open'::text, 'matched'::text, 'resolved'::text])))
);
COMMENT ON TABLE recon_items IS 'What became of every row of every bill and of every payment without a row: matched, or an exception with an owner.';
COMMENT ON COLUMN recon_items.resolution IS 'How a person ended the exception; its transfers follow from it.';
COMMENT ON COLUMN recon_items.issue IS 'Of the bill that its row is in: the first one with a row that says this.';
COMMENT ON COLUMN recon_items.n IS 'Counts what the item was; what it was before is in recon_history.';
CREATE INDEX recon_items_charge ON recon_items USING btree (tenant_id, charge_id) WHERE (charge_id IS NOT NULL);
CREATE UNIQUE INDEX recon_items_line ON recon_items USING btree (tenant_id, day, contract, issue, line_no) WHERE (line_no IS NOT NULL);
CREATE INDEX recon_items_open ON recon_items USING btree (tenant_id, opened_at, contract, item) WHERE (state = 'open'::text);
ALTER TABLE recon_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE recon_items FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON recon_items
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON recon_items TO citygate_app;
GRANT SELECT ON recon_items TO citygate_auditor;
GRANT UPDATE (kind, state, owner, charge_id, refund_id, day, line_no, expected, expected_fee, actual, actual_fee, diff, resolution, note, opened_at, resolved_at, issue, n) ON recon_items TO citygate_app;

CREATE TABLE refunds (
    tenant_id bigint NOT NULL,
    refund_id uuid NOT NULL,
    charge_id uuid NOT NULL,
    ordinal integer NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    our_id text COLLATE "C" NOT NULL,
    contract text COLLATE "C" NOT NULL,
    account_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    n integer NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    state text COLLATE "C" NOT NULL,
    ever_unknown boolean NOT NULL,
    attempts integer NOT NULL,
    provider_ref text NOT NULL,
    reason text NOT NULL,
    next_do text COLLATE "C" NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    final_at timestamp with time zone,
    mark text COLLATE "C" NOT NULL DEFAULT ''::text,
    bill_name text COLLATE "C" NOT NULL DEFAULT ''::text,
    CONSTRAINT refunds_pkey PRIMARY KEY (tenant_id, refund_id),
    CONSTRAINT refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT refunds_attempt_check CHECK ((attempt > 0)),
    CONSTRAINT refunds_bill_name_check CHECK ((length(bill_name) <= 160)),
    CONSTRAINT refunds_check CHECK (((state = ANY (ARRAY['succeeded'::text, 'declined'::text, 'void'::text, 'replaced'::text])) = (final_at IS NOT NULL))),
    CONSTRAINT refunds_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT refunds_mark_check CHECK ((length(mark) <= 64)),
    CONSTRAINT refunds_ordinal_check CHECK ((ordinal > 0)),
    CONSTRAINT refunds_our_id_check CHECK (((length(our_id) >= 1) AND (length(our_id) <= 32))),
    CONSTRAINT refunds_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'created'::text, 'sent'::text, 'unknown'::text, 'succeeded'::text, 'declined'::text, 'void'::text, 'replaced'::text]))),
    CONSTRAINT refunds_tenant_id_charge_id_ordinal_attempt_key UNIQUE (tenant_id, charge_id, ordinal, attempt),
    CONSTRAINT refunds_tenant_id_our_id_key UNIQUE (tenant_id, our_id)
);
COMMENT ON TABLE refunds IS 'Corrections below what was collected. One waits while its charge is not final, and is void (it lowers the debt) if that is declined. One that the provider declined is replaced by the next attempt.';
COMMENT ON COLUMN refunds.mark IS 'As of charges.';
COMMENT ON COLUMN refunds.bill_name IS 'What bills call it where that is not our_id: the provider named it, as the money of a reversed payment went back without a refund of ours.';
CREATE UNIQUE INDEX refunds_bill_name ON refunds USING btree (tenant_id, bill_name) WHERE (bill_name <> ''::text);
CREATE INDEX refunds_due ON refunds USING btree (tenant_id, contract, next_try_at) WHERE (state = ANY (ARRAY['created'::text, 'sent'::text, 'unknown'::text]));
CREATE INDEX refunds_final ON refunds USING btree (tenant_id, contract, final_at);
CREATE INDEX refunds_refused ON refunds USING btree (tenant_id, final_at) WHERE (state = 'declined'::text);
ALTER TABLE refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON refunds
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON refunds TO citygate_app;
GRANT SELECT ON refunds TO citygate_auditor;
GRANT UPDATE (state, ever_unknown, attempts, provider_ref, reason, next_do, next_try_at, sent_at, final_at, mark, bill_name) ON refunds TO citygate_app;

CREATE TABLE retention (
    tenant_id bigint NOT NULL,
    keep_days integer NOT NULL,
    automatic boolean NOT NULL,
    erased_before timestamp with time zone,
    taps bigint NOT NULL,
    journeys bigint NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT retention_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT retention_journeys_check CHECK ((journeys >= 0)),
    CONSTRAINT retention_keep_days_check CHECK (((keep_days >= 120) AND (keep_days <= 3660))),
    CONSTRAINT retention_taps_check CHECK ((taps >= 0))
);
COMMENT ON TABLE retention IS 'How long taps and rider detail are kept, and how far they are erased: everything with an event time before erased_before, but what open work held back. Without a row: 120 days, erased by command only.';
COMMENT ON COLUMN retention.automatic IS 'Erased by the work that is due; else by command only.';
COMMENT ON COLUMN retention.taps IS 'Taps erased so far.';
COMMENT ON COLUMN retention.journeys IS 'Journeys whose taps, rider and explanation were erased so far; their fares stay.';
ALTER TABLE retention ENABLE ROW LEVEL SECURITY;
ALTER TABLE retention FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON retention
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON retention TO citygate_app;
GRANT SELECT ON retention TO citygate_auditor;
GRANT UPDATE (keep_days, automatic, erased_before, taps, journeys, changed_at) ON retention TO citygate_app;

CREATE TABLE reversal_outcomes (
    tenant_id bigint NOT NULL,
    reversal_id uuid NOT NULL,
    reference text COLLATE "C" NOT NULL,
    outcome_id uuid NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    fee bigint NOT NULL,
    to_debt bigint NOT NULL DEFAULT 0,
    to_rider bigint NOT NULL DEFAULT 0,
    to_suspense bigint NOT NULL DEFAULT 0,
    reason text NOT NULL,
    source text COLLATE "C" NOT NULL,
    recorded_by text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    applied_at timestamp with time zone,
    business_date date,
    to_sale bigint NOT NULL DEFAULT 0,
    fee_unsaid boolean NOT NULL DEFAULT false,
    fee_at timestamp with time zone,
    fee_on date,
    to_till bigint NOT NULL DEFAULT 0,
    CONSTRAINT reversal_outcomes_pkey PRIMARY KEY (tenant_id, reversal_id, reference),
    CONSTRAINT reversal_outcomes_amount_check CHECK ((amount >= 0)),
    CONSTRAINT reversal_outcomes_check CHECK (((outcome = 'lost'::text) OR (amount > 0))),
    CONSTRAINT reversal_outcomes_check1 CHECK (((applied_at IS NULL) = (business_date IS NULL))),
    CONSTRAINT reversal_outcomes_fee_said CHECK ((((fee_at IS NULL) = (fee_on IS NULL)) AND ((NOT fee_unsaid) OR ((fee = 0) AND (fee_at IS NULL))))),
    CONSTRAINT reversal_outcomes_outcome_check CHECK ((outcome = ANY (ARRAY['won'::text, 'lost'::text]))),
    CONSTRAINT reversal_outcomes_parts CHECK ((((((to_debt + to_rider) + to_suspense) + to_sale) + to_till) =
CASE
    WHEN ((outcome = 'won'::text) AND (applied_at IS NOT NULL)) THEN amount
    ELSE to_suspense
END)),
    CONSTRAINT reversal_outcomes_reference_check CHECK (((length(reference) >= 1) AND (length(reference) <= 64))),
    CONSTRAINT reversal_outcomes_source_check CHECK ((source = ANY (ARRAY['bill'::text, 'notice'::text, 'person'::text]))),
    CONSTRAINT reversal_outcomes_tenant_id_reversal_id_fkey FOREIGN KEY (tenant_id, reversal_id) REFERENCES reversals(tenant_id, reversal_id),
    CONSTRAINT reversal_outcomes_to_debt_check CHECK ((to_debt >= 0)),
    CONSTRAINT reversal_outcomes_to_rider_check CHECK ((to_rider >= 0)),
    CONSTRAINT reversal_outcomes_to_sale_check CHECK ((to_sale >= 0)),
    CONSTRAINT reversal_outcomes_to_suspense_check CHECK ((to_suspense >= 0)),
    CONSTRAINT reversal_outcomes_to_till_check CHECK ((to_till >= 0))
);
COMMENT ON TABLE reversal_outcomes IS 'What became of reversals that were disputed with the provider: won is money that came back (off the debt, to the rider who had paid it meanwhile, or off the suspense account), lost ends it. One that is not applied waits for a payment under way.';
COMMENT ON COLUMN reversal_outcomes.to_sale IS 'What came back to a sale, which is what its rider paid for it again.';
COMMENT ON COLUMN reversal_outcomes.fee_unsaid IS 'As of reversals.';
COMMENT ON COLUMN reversal_outcomes.fee_at IS 'As of reversals.';
COMMENT ON COLUMN reversal_outcomes.to_till IS 'What came back to a payment at a till.';
CREATE INDEX reversal_outcomes_waiting ON reversal_outcomes USING btree (tenant_id, reversal_id) WHERE (applied_at IS NULL);
ALTER TABLE reversal_outcomes ENABLE ROW LEVEL SECURITY;
ALTER TABLE reversal_outcomes FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON reversal_outcomes
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON reversal_outcomes TO citygate_app;
GRANT SELECT ON reversal_outcomes TO citygate_auditor;
GRANT UPDATE (fee, to_debt, to_rider, to_suspense, applied_at, business_date, to_sale, fee_unsaid, fee_at, fee_on, to_till) ON reversal_outcomes TO citygate_app;

CREATE TABLE reversal_shares (
    tenant_id bigint NOT NULL,
    reversal_id uuid NOT NULL,
    operator_id bigint NOT NULL,
    journey_id uuid NOT NULL,
    part integer NOT NULL,
    charge_id uuid NOT NULL,
    amount bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT reversal_shares_pkey PRIMARY KEY (tenant_id, reversal_id, operator_id, journey_id, part),
    CONSTRAINT reversal_shares_amount_check CHECK ((amount <> 0)),
    CONSTRAINT reversal_shares_tenant_id_reversal_id_fkey FOREIGN KEY (tenant_id, reversal_id) REFERENCES reversals(tenant_id, reversal_id)
);
COMMENT ON TABLE reversal_shares IS 'What of a reversal is whose fare; negative: came back.';
CREATE INDEX reversal_shares_charge ON reversal_shares USING btree (tenant_id, charge_id);
ALTER TABLE reversal_shares ENABLE ROW LEVEL SECURITY;
ALTER TABLE reversal_shares FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON reversal_shares
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON reversal_shares TO citygate_app;
GRANT SELECT ON reversal_shares TO citygate_auditor;

CREATE TABLE reversals (
    tenant_id bigint NOT NULL,
    reversal_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    charge_our_id text COLLATE "C" NOT NULL,
    charge_id uuid,
    debt_id uuid,
    amount bigint NOT NULL,
    fee bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    owed bigint NOT NULL DEFAULT 0,
    returned bigint NOT NULL DEFAULT 0,
    account_id uuid,
    state text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    source text COLLATE "C" NOT NULL,
    recorded_by text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    applied_at timestamp with time zone,
    business_date date,
    closed_at timestamp with time zone,
    sale_id uuid,
    covered bigint NOT NULL DEFAULT 0,
    fee_unsaid boolean NOT NULL DEFAULT false,
    fee_at timestamp with time zone,
    fee_on date,
    till_payment_id uuid,
    borne bigint NOT NULL DEFAULT 0,
    CONSTRAINT reversals_pkey PRIMARY KEY (tenant_id, reversal_id),
    CONSTRAINT reversals_amount_check CHECK ((amount > 0)),
    CONSTRAINT reversals_borne_check CHECK ((borne >= 0)),
    CONSTRAINT reversals_check CHECK (((owed <= amount) AND (returned <= amount))),
    CONSTRAINT reversals_check1 CHECK (((state = 'waiting'::text) = (applied_at IS NULL))),
    CONSTRAINT reversals_check2 CHECK ((((applied_at IS NULL) = (charge_id IS NULL)) AND ((applied_at IS NULL) = (account_id IS NULL)) AND ((applied_at IS NULL) = (business_date IS NULL)))),
    CONSTRAINT reversals_check3 CHECK (((debt_id IS NULL) = (owed = 0))),
    CONSTRAINT reversals_check4 CHECK (((state = ANY (ARRAY['won'::text, 'lost'::text])) = (closed_at IS NOT NULL))),
    CONSTRAINT reversals_covered_check CHECK ((covered >= 0)),
    CONSTRAINT reversals_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT reversals_fee_check CHECK ((fee >= 0)),
    CONSTRAINT reversals_fee_said CHECK ((((fee_at IS NULL) = (fee_on IS NULL)) AND ((NOT fee_unsaid) OR ((fee = 0) AND (fee_at IS NULL))))),
    CONSTRAINT reversals_owed_check CHECK ((owed >= 0)),
    CONSTRAINT reversals_parts CHECK (((((owed + covered) + borne) <= amount) AND ((covered = 0) OR (sale_id IS NOT NULL)) AND ((borne = 0) OR (till_payment_id IS NOT NULL)))),
    CONSTRAINT reversals_reference_check CHECK (((length(reference) >= 1) AND (length(reference) <= 64))),
    CONSTRAINT reversals_returned_check CHECK ((returned >= 0)),
    CONSTRAINT reversals_source_check CHECK ((source = ANY (ARRAY['bill'::text, 'notice'::text, 'person'::text]))),
    CONSTRAINT reversals_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'open'::text, 'won'::text, 'lost'::text]))),
    CONSTRAINT reversals_tenant_id_contract_reference_key UNIQUE (tenant_id, contract, reference)
);
COMMENT ON TABLE reversals IS 'Collected payments, or parts of them, that the provider of a contract took back. One that waits speaks of a payment that is not known to have succeeded yet. owed is what riders owe again by it, the rest was not theirs any more when it was taken.';
COMMENT ON COLUMN reversals.reference IS 'What the provider calls the reversal: the same again is the same.';
COMMENT ON COLUMN reversals.fee IS 'What the provider keeps for it, in minor units.';
COMMENT ON COLUMN reversals.returned IS 'What the provider gave back of it since.';
COMMENT ON COLUMN reversals.sale_id IS 'The sale whose price, or whose debt, the payment was of; null: it was of fares.';
COMMENT ON COLUMN reversals.covered IS 'Of a sale: what of the amount nobody had used, so that nobody owes it.';
COMMENT ON COLUMN reversals.fee_unsaid IS 'Nobody has said yet what the provider keeps for it.';
COMMENT ON COLUMN reversals.fee_at IS 'When the fee was said, if that was after it was booked.';
COMMENT ON COLUMN reversals.till_payment_id IS 'The payment at a till that was taken back; null: it was none.';
COMMENT ON COLUMN reversals.borne IS 'Of a payment at a till: what of the amount it still held when it was taken, borne by its payee or the tenant.';
CREATE INDEX reversals_charge ON reversals USING btree (tenant_id, charge_id) WHERE (charge_id IS NOT NULL);
CREATE INDEX reversals_waiting ON reversals USING btree (tenant_id, charge_our_id) WHERE (state = 'waiting'::text);
ALTER TABLE reversals ENABLE ROW LEVEL SECURITY;
ALTER TABLE reversals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON reversals
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON reversals TO citygate_app;
GRANT SELECT ON reversals TO citygate_auditor;
GRANT UPDATE (charge_id, debt_id, fee, owed, returned, account_id, state, applied_at, business_date, closed_at, sale_id, covered, fee_unsaid, fee_at, fee_on, till_payment_id, borne) ON reversals TO citygate_app;

CREATE TABLE rider_proofs (
    tenant_id bigint NOT NULL,
    code bytea NOT NULL,
    shown_at timestamp with time zone NOT NULL,
    CONSTRAINT rider_proofs_pkey PRIMARY KEY (tenant_id, code),
    CONSTRAINT rider_proofs_code_check CHECK ((length(code) = 32))
);
COMMENT ON TABLE rider_proofs IS 'Digests of codes that riders asked about their trips with: each proves its rider once. Rows older than a code lives are removed.';
CREATE INDEX rider_proofs_shown_at ON rider_proofs USING btree (tenant_id, shown_at);
ALTER TABLE rider_proofs ENABLE ROW LEVEL SECURITY;
ALTER TABLE rider_proofs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rider_proofs
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON rider_proofs TO citygate_app;
GRANT SELECT ON rider_proofs TO citygate_auditor;

CREATE TABLE rider_questions (
    tenant_id bigint NOT NULL,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    denied boolean NOT NULL,
    asks integer NOT NULL,
    next_ask_at timestamp with time zone NOT NULL,
    CONSTRAINT rider_questions_pkey PRIMARY KEY (tenant_id, account_id),
    CONSTRAINT rider_questions_asks_check CHECK ((asks >= 0)),
    CONSTRAINT rider_questions_tenant_id_account_id_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id)
);
COMMENT ON TABLE rider_questions IS 'Accounts of whose payers the provider is to be asked how they stand. A row ends with the answer, or with the denial.';
COMMENT ON COLUMN rider_questions.denied IS 'The payer is denied for what was said; otherwise his account was opened.';
COMMENT ON COLUMN rider_questions.asks IS 'Questions since the last answer.';
CREATE INDEX rider_questions_due ON rider_questions USING btree (tenant_id, contract, next_ask_at);
ALTER TABLE rider_questions ENABLE ROW LEVEL SECURITY;
ALTER TABLE rider_questions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rider_questions
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON rider_questions TO citygate_app;
GRANT SELECT ON rider_questions TO citygate_auditor;
GRANT UPDATE (denied, asks, next_ask_at) ON rider_questions TO citygate_app;

CREATE TABLE ridership_days (
    tenant_id bigint NOT NULL,
    business_date date NOT NULL,
    report_id uuid NOT NULL,
    CONSTRAINT ridership_days_pkey PRIMARY KEY (tenant_id, business_date),
    CONSTRAINT ridership_days_tenant_id_report_id_fkey FOREIGN KEY (tenant_id, report_id) REFERENCES ridership_reports(tenant_id, report_id)
);
COMMENT ON TABLE ridership_days IS 'Which report a business date is in: at most one.';
ALTER TABLE ridership_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE ridership_days FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ridership_days
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON ridership_days TO citygate_app;
GRANT SELECT ON ridership_days TO citygate_auditor;

CREATE TABLE ridership_reports (
    tenant_id bigint NOT NULL,
    report_id uuid NOT NULL,
    first_date date NOT NULL,
    last_date date NOT NULL,
    made_at timestamp with time zone NOT NULL,
    made_by text NOT NULL,
    CONSTRAINT ridership_reports_pkey PRIMARY KEY (tenant_id, report_id),
    CONSTRAINT ridership_reports_check CHECK ((first_date <= last_date)),
    CONSTRAINT ridership_reports_made_by_check CHECK ((made_by <> ''::text))
);
COMMENT ON TABLE ridership_reports IS 'Published reports of ridership. A report stays as it was made, whatever is uploaded later: two reports of one date could be subtracted.';
CREATE INDEX ridership_reports_dates ON ridership_reports USING btree (tenant_id, first_date, last_date);
ALTER TABLE ridership_reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE ridership_reports FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ridership_reports
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON ridership_reports TO citygate_app;
GRANT SELECT ON ridership_reports TO citygate_auditor;

CREATE TABLE ridership_tables (
    tenant_id bigint NOT NULL,
    report_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    n_rows bigint NOT NULL,
    suppressed bigint NOT NULL,
    sha256 bytea NOT NULL,
    body bytea NOT NULL,
    CONSTRAINT ridership_tables_pkey PRIMARY KEY (tenant_id, report_id, name),
    CONSTRAINT ridership_tables_n_rows_check CHECK ((n_rows >= 0)),
    CONSTRAINT ridership_tables_name_check CHECK ((name <> ''::text)),
    CONSTRAINT ridership_tables_sha256_check CHECK ((length(sha256) = 32)),
    CONSTRAINT ridership_tables_suppressed_check CHECK ((suppressed >= 0)),
    CONSTRAINT ridership_tables_tenant_id_report_id_fkey FOREIGN KEY (tenant_id, report_id) REFERENCES ridership_reports(tenant_id, report_id)
);
COMMENT ON TABLE ridership_tables IS 'The tables of a report as CSV. Counts that fewer than 10 riders are behind, and those from which they would follow, are not in them.';
COMMENT ON COLUMN ridership_tables.suppressed IS 'Rows with a count that is withheld.';
ALTER TABLE ridership_tables ENABLE ROW LEVEL SECURITY;
ALTER TABLE ridership_tables FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ridership_tables
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON ridership_tables TO citygate_app;
GRANT SELECT ON ridership_tables TO citygate_auditor;

CREATE TABLE risk_flags (
    tenant_id bigint NOT NULL,
    flag_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    terminals bigint[] NOT NULL,
    seqs bigint[] NOT NULL,
    at timestamp with time zone NOT NULL,
    found_at timestamp with time zone NOT NULL,
    state text COLLATE "C" NOT NULL,
    blocks boolean NOT NULL,
    reason text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT risk_flags_pkey PRIMARY KEY (tenant_id, flag_id),
    CONSTRAINT risk_flags_check CHECK (((cardinality(seqs) = cardinality(terminals)) AND (cardinality(seqs) >= 2))),
    CONSTRAINT risk_flags_check1 CHECK (((state <> 'closed'::text) OR (reason <> ''::text))),
    CONSTRAINT risk_flags_kind_check CHECK ((kind = ANY (ARRAY['clone'::text, 'impossible_travel'::text, 'velocity'::text]))),
    CONSTRAINT risk_flags_reason_check CHECK ((length(reason) <= 500)),
    CONSTRAINT risk_flags_state_check CHECK ((state = ANY (ARRAY['open'::text, 'acknowledged'::text, 'closed'::text])))
);
COMMENT ON TABLE risk_flags IS 'Taps that cannot be one person''s, with the taps. A flag blocks nobody unless the tenant''s risk terms say so (blocks). name is the natural key: kind and the taps it was found by.';
CREATE INDEX risk_flags_at ON risk_flags USING btree (tenant_id, at);
CREATE UNIQUE INDEX risk_flags_name ON risk_flags USING btree (tenant_id, name);
CREATE INDEX risk_flags_open ON risk_flags USING btree (tenant_id, flag_id) WHERE (state <> 'closed'::text);
CREATE INDEX risk_flags_rider ON risk_flags USING btree (tenant_id, issuer, list, idx);
ALTER TABLE risk_flags ENABLE ROW LEVEL SECURITY;
ALTER TABLE risk_flags FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON risk_flags
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON risk_flags TO citygate_app;
GRANT SELECT ON risk_flags TO citygate_auditor;
GRANT UPDATE (terminals, seqs, at, state, blocks, reason, changed_by, changed_at) ON risk_flags TO citygate_app;

CREATE TABLE risk_scans (
    tenant_id bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    scanned_at timestamp with time zone NOT NULL,
    CONSTRAINT risk_scans_pkey PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE risk_scans IS 'Up to which receipt a tenant''s taps were looked at for flags. Looking again finds the same.';
ALTER TABLE risk_scans ENABLE ROW LEVEL SECURITY;
ALTER TABLE risk_scans FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON risk_scans
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON risk_scans TO citygate_app;
GRANT SELECT ON risk_scans TO citygate_auditor;
GRANT UPDATE (received_at, scanned_at) ON risk_scans TO citygate_app;

CREATE TABLE risk_terms (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    body json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT risk_terms_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT risk_terms_version_check CHECK ((version > 0))
);
COMMENT ON TABLE risk_terms IS 'Every version of the tenant''s terms about money that does not come: limits of charges by contract, retries, and who bears late, expired and denied records. Versions never change.';
CREATE UNIQUE INDEX risk_terms_valid_from ON risk_terms USING btree (tenant_id, valid_from);
ALTER TABLE risk_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE risk_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON risk_terms
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON risk_terms TO citygate_app;
GRANT SELECT ON risk_terms TO citygate_auditor;

CREATE TABLE roaming_days (
    tenant_id bigint NOT NULL,
    operator_id bigint NOT NULL,
    account_id uuid NOT NULL,
    business_date date NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT roaming_days_pkey PRIMARY KEY (tenant_id, operator_id, account_id, business_date, currency),
    CONSTRAINT roaming_days_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text))
);
COMMENT ON TABLE roaming_days IS 'What was accepted of the fares of operators of other trees, by account and business date: what terms with a highest sum per day are held to. It follows from claims.';
ALTER TABLE roaming_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE roaming_days FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON roaming_days
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON roaming_days TO citygate_app;
GRANT SELECT ON roaming_days TO citygate_auditor;
GRANT UPDATE (amount) ON roaming_days TO citygate_app;

CREATE TABLE rule_sets (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    source bytea NOT NULL,
    hash bytea NOT NULL,
    restores bigint,
    published_by text NOT NULL,
    CONSTRAINT rule_sets_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT rule_sets_check CHECK ((restores < version)),
    CONSTRAINT rule_sets_hash_check CHECK ((octet_length(hash) = 32)),
    CONSTRAINT rule_sets_source_check CHECK (((octet_length(source) >= 1) AND (octet_length(source) <= 65536))),
    CONSTRAINT rule_sets_tenant_id_version_fkey FOREIGN KEY (tenant_id, version) REFERENCES policies(tenant_id, version)
);
COMMENT ON TABLE rule_sets IS 'The file that a version of the policy was compiled from, as it was written. A version without a row was made by the gateway''s own code and has no rules beyond its fields.';
COMMENT ON COLUMN rule_sets.hash IS 'SHA-256 of what the file says in its canonical form.';
COMMENT ON COLUMN rule_sets.restores IS 'The earlier version whose file this is again.';
ALTER TABLE rule_sets ENABLE ROW LEVEL SECURITY;
ALTER TABLE rule_sets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON rule_sets
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON rule_sets TO citygate_app;
GRANT SELECT ON rule_sets TO citygate_auditor;

CREATE TABLE settlement_terms (
    tenant_id bigint NOT NULL,
    version integer NOT NULL,
    from_date date NOT NULL,
    close_minutes integer NOT NULL,
    pay_minutes integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT settlement_terms_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT settlement_terms_close_minutes_check CHECK (((close_minutes >= 0) AND (close_minutes <= 10080))),
    CONSTRAINT settlement_terms_order CHECK ((close_minutes <= pay_minutes)),
    CONSTRAINT settlement_terms_pay_minutes_check CHECK (((pay_minutes >= 0) AND (pay_minutes <= 44640))),
    CONSTRAINT settlement_terms_version_check CHECK ((version > 0))
);
COMMENT ON TABLE settlement_terms IS 'Immutable versions of how long after its business date a window closes and is paid, in minutes. The highest version that is not from later than the date holds; without any it is 2 and 32 hours.';
ALTER TABLE settlement_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON settlement_terms
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON settlement_terms TO citygate_app;
GRANT SELECT ON settlement_terms TO citygate_auditor;

CREATE TABLE stops (
    tenant_id bigint NOT NULL,
    stop text COLLATE "C" NOT NULL,
    name text NOT NULL,
    area text COLLATE "C" NOT NULL,
    CONSTRAINT stops_pkey PRIMARY KEY (tenant_id, stop),
    CONSTRAINT stops_area_check CHECK ((length(area) <= 80)),
    CONSTRAINT stops_name_check CHECK (((name <> ''::text) AND (length(name) <= 200))),
    CONSTRAINT stops_stop_check CHECK (((stop <> ''::text) AND (length(stop) <= 80)))
);
COMMENT ON TABLE stops IS 'Stops and stations of an operator by the ids that taps and tariffs use; area groups them, or is empty.';
ALTER TABLE stops ENABLE ROW LEVEL SECURITY;
ALTER TABLE stops FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON stops
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON stops TO citygate_app;
GRANT SELECT ON stops TO citygate_auditor;
GRANT UPDATE (name, area) ON stops TO citygate_app;

CREATE TABLE taken_sale_lines (
    tenant_id bigint NOT NULL,
    sale_id uuid NOT NULL,
    part integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    debt_id uuid,
    charge_id uuid,
    account_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT taken_sale_lines_pkey PRIMARY KEY (tenant_id, sale_id, part),
    CONSTRAINT taken_sale_lines_amount_check CHECK ((amount <> 0)),
    CONSTRAINT taken_sale_lines_check CHECK (((kind = 'owed'::text) = (debt_id IS NOT NULL))),
    CONSTRAINT taken_sale_lines_check1 CHECK (((kind = ANY (ARRAY['unowed'::text, 'given_up'::text])) = (charge_id IS NOT NULL))),
    CONSTRAINT taken_sale_lines_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT taken_sale_lines_kind_check CHECK ((kind = ANY (ARRAY['owed'::text, 'unowed'::text, 'given_up'::text, 'kept'::text]))),
    CONSTRAINT taken_sale_lines_tenant_id_sale_id_fkey FOREIGN KEY (tenant_id, sale_id) REFERENCES taken_sales(tenant_id, sale_id)
);
COMMENT ON TABLE taken_sale_lines IS 'What was booked of a sale beside its payments: what its rider owes of it (owed, by debt), what was taken beyond what a payment held (unowed, claimed from the provider; given_up when that was lost), and what the seller keeps of a payment that came back (kept). A negative one takes back. Append-only.';
CREATE INDEX taken_sale_lines_debt ON taken_sale_lines USING btree (tenant_id, debt_id) WHERE (debt_id IS NOT NULL);
ALTER TABLE taken_sale_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE taken_sale_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON taken_sale_lines
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON taken_sale_lines TO citygate_app;
GRANT SELECT ON taken_sale_lines TO citygate_auditor;

CREATE TABLE taken_sales (
    tenant_id bigint NOT NULL,
    sale_id uuid NOT NULL,
    charge_id uuid NOT NULL,
    unsettled boolean NOT NULL,
    first_at timestamp with time zone NOT NULL,
    CONSTRAINT taken_sales_pkey PRIMARY KEY (tenant_id, sale_id)
);
COMMENT ON TABLE taken_sales IS 'Sales of which a payment was taken back. One that is unsettled is looked at again when no payment of its debts is under way.';
CREATE INDEX taken_sales_unsettled ON taken_sales USING btree (tenant_id, sale_id) WHERE unsettled;
ALTER TABLE taken_sales ENABLE ROW LEVEL SECURITY;
ALTER TABLE taken_sales FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON taken_sales
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON taken_sales TO citygate_app;
GRANT SELECT ON taken_sales TO citygate_auditor;
GRANT UPDATE (unsettled) ON taken_sales TO citygate_app;

CREATE TABLE tap_batches (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    first_seq bigint NOT NULL,
    sha256 bytea NOT NULL,
    taps integer NOT NULL,
    prev_sha256 bytea NOT NULL,
    recorded integer NOT NULL,
    refused integer NOT NULL,
    duplicate integer NOT NULL,
    resent bigint NOT NULL,
    chain text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT tap_batches_pkey PRIMARY KEY (tenant_id, terminal, sha256),
    CONSTRAINT tap_batches_chain_check CHECK ((chain = ANY (ARRAY['ok'::text, 'gap'::text, 'lost'::text, 'fork'::text]))),
    CONSTRAINT tap_batches_duplicate_check CHECK ((duplicate >= 0)),
    CONSTRAINT tap_batches_prev_sha256_check CHECK ((octet_length(prev_sha256) = 32)),
    CONSTRAINT tap_batches_recorded_check CHECK ((recorded >= 0)),
    CONSTRAINT tap_batches_refused_check CHECK ((refused >= 0)),
    CONSTRAINT tap_batches_resent_check CHECK ((resent >= 0)),
    CONSTRAINT tap_batches_sha256_check CHECK ((octet_length(sha256) = 32)),
    CONSTRAINT tap_batches_sum CHECK ((((recorded + refused) + duplicate) = taps)),
    CONSTRAINT tap_batches_taps_check CHECK ((taps > 0))
);
COMMENT ON TABLE tap_batches IS 'Batches as terminals signed them. chain says whether the batch named as the one before is here (ok), may still come (gap), did not come in time (lost) or is another (fork).';
COMMENT ON COLUMN tap_batches.resent IS 'Taps received once more because this very batch came again.';
CREATE INDEX tap_batches_gaps ON tap_batches USING btree (tenant_id, received_at) WHERE (chain = 'gap'::text);
CREATE INDEX tap_batches_prev ON tap_batches USING btree (tenant_id, terminal, prev_sha256);
CREATE INDEX tap_batches_received ON tap_batches USING btree (tenant_id, received_at, terminal, first_seq);
ALTER TABLE tap_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_batches
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON tap_batches TO citygate_app;
GRANT SELECT ON tap_batches TO citygate_auditor;
GRANT UPDATE (resent, chain) ON tap_batches TO citygate_app;

CREATE TABLE tap_conflicts (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    record bytea NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT tap_conflicts_pkey PRIMARY KEY (tenant_id, terminal, seq, digest)
);
COMMENT ON TABLE tap_conflicts IS 'Records that came under a number which already had other content, whole, as evidence.';
ALTER TABLE tap_conflicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_conflicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_conflicts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON tap_conflicts TO citygate_app;
GRANT SELECT ON tap_conflicts TO citygate_auditor;

CREATE TABLE tap_evidence (
    tenant_id bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    digest bytea NOT NULL,
    raw bytea NOT NULL,
    CONSTRAINT tap_evidence_pkey PRIMARY KEY (tenant_id, received_at, digest),
    CONSTRAINT tap_evidence_digest_check CHECK ((octet_length(digest) = 32))
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE tap_evidence IS 'Raw code bytes by digest, by month of receipt, so that a month can be dropped while the money it proves stays.';
ALTER TABLE tap_evidence ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_evidence FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_evidence
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON tap_evidence TO citygate_app;
GRANT SELECT ON tap_evidence TO citygate_auditor;

CREATE TABLE tap_evidence_202610 PARTITION OF tap_evidence FOR VALUES FROM ('2026-10-01 00:00:00+00') TO ('2026-11-01 00:00:00+00');

CREATE TABLE tap_evidence_202611 PARTITION OF tap_evidence FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');

CREATE TABLE tap_evidence_202612 PARTITION OF tap_evidence FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');

CREATE TABLE tap_evidence_202701 PARTITION OF tap_evidence FOR VALUES FROM ('2027-01-01 00:00:00+00') TO ('2027-02-01 00:00:00+00');

CREATE TABLE tap_evidence_202702 PARTITION OF tap_evidence FOR VALUES FROM ('2027-02-01 00:00:00+00') TO ('2027-03-01 00:00:00+00');

CREATE TABLE tap_evidence_202703 PARTITION OF tap_evidence FOR VALUES FROM ('2027-03-01 00:00:00+00') TO ('2027-04-01 00:00:00+00');

CREATE TABLE tap_evidence_202704 PARTITION OF tap_evidence FOR VALUES FROM ('2027-04-01 00:00:00+00') TO ('2027-05-01 00:00:00+00');

CREATE TABLE tap_evidence_202705 PARTITION OF tap_evidence FOR VALUES FROM ('2027-05-01 00:00:00+00') TO ('2027-06-01 00:00:00+00');

CREATE TABLE tap_evidence_202706 PARTITION OF tap_evidence FOR VALUES FROM ('2027-06-01 00:00:00+00') TO ('2027-07-01 00:00:00+00');

CREATE TABLE tap_evidence_202707 PARTITION OF tap_evidence FOR VALUES FROM ('2027-07-01 00:00:00+00') TO ('2027-08-01 00:00:00+00');

CREATE TABLE tap_evidence_202708 PARTITION OF tap_evidence FOR VALUES FROM ('2027-08-01 00:00:00+00') TO ('2027-09-01 00:00:00+00');

CREATE TABLE tap_evidence_202709 PARTITION OF tap_evidence FOR VALUES FROM ('2027-09-01 00:00:00+00') TO ('2027-10-01 00:00:00+00');

CREATE TABLE tap_evidence_202710 PARTITION OF tap_evidence FOR VALUES FROM ('2027-10-01 00:00:00+00') TO ('2027-11-01 00:00:00+00');

CREATE TABLE tap_evidence_202711 PARTITION OF tap_evidence FOR VALUES FROM ('2027-11-01 00:00:00+00') TO ('2027-12-01 00:00:00+00');

CREATE TABLE tap_evidence_202712 PARTITION OF tap_evidence FOR VALUES FROM ('2027-12-01 00:00:00+00') TO ('2028-01-01 00:00:00+00');

CREATE TABLE tap_evidence_202801 PARTITION OF tap_evidence FOR VALUES FROM ('2028-01-01 00:00:00+00') TO ('2028-02-01 00:00:00+00');

CREATE TABLE tap_evidence_202802 PARTITION OF tap_evidence FOR VALUES FROM ('2028-02-01 00:00:00+00') TO ('2028-03-01 00:00:00+00');

CREATE TABLE tap_evidence_202803 PARTITION OF tap_evidence FOR VALUES FROM ('2028-03-01 00:00:00+00') TO ('2028-04-01 00:00:00+00');

CREATE TABLE tap_evidence_default PARTITION OF tap_evidence DEFAULT;

CREATE TABLE tap_seen (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    accepted boolean NOT NULL,
    reason text COLLATE "C" NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT tap_seen_pkey PRIMARY KEY (tenant_id, terminal, seq),
    CONSTRAINT tap_seen_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT tap_seen_reason CHECK ((accepted = (reason = ''::text))),
    CONSTRAINT tap_seen_seq_check CHECK ((seq > 0)),
    CONSTRAINT tap_seen_terminal_check CHECK (((terminal >= 0) AND (terminal <= '4294967295'::bigint)))
);
COMMENT ON TABLE tap_seen IS 'One row for every tap ever received, with the digest of its content: decides fresh, duplicate or conflict. received_at says which partition holds the tap.';
ALTER TABLE tap_seen ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_seen FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_seen
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON tap_seen TO citygate_app;
GRANT SELECT ON tap_seen TO citygate_auditor;

CREATE TABLE tap_terminals (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    offsets_ms bigint[] NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT tap_terminals_pkey PRIMARY KEY (tenant_id, terminal)
);
COMMENT ON TABLE tap_terminals IS 'One row for each terminal that uploads; its lock orders the terminal''s batches. offsets_ms: code time minus event time of its last taps.';
ALTER TABLE tap_terminals ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_terminals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_terminals
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON tap_terminals TO citygate_app;
GRANT SELECT ON tap_terminals TO citygate_auditor;
GRANT UPDATE (offsets_ms, last_at) ON tap_terminals TO citygate_app;

CREATE TABLE tap_uses (
    tenant_id bigint NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    idx bigint NOT NULL,
    ctr integer NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT tap_uses_pkey PRIMARY KEY (tenant_id, issuer, list, idx, ctr)
);
COMMENT ON TABLE tap_uses IS 'Who used a display of a credential first, among this tenant''s terminals. The same code bytes again are a double use, other bytes with the same counter are a clone.';
ALTER TABLE tap_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_uses FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_uses
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON tap_uses TO citygate_app;
GRANT SELECT ON tap_uses TO citygate_auditor;

CREATE TABLE tap_verdicts (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    reason text COLLATE "C" NOT NULL,
    source text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT tap_verdicts_pkey PRIMARY KEY (tenant_id, terminal, seq),
    CONSTRAINT tap_verdicts_reason_check CHECK ((reason <> ''::text)),
    CONSTRAINT tap_verdicts_source_check CHECK ((source <> ''::text)),
    CONSTRAINT tap_verdicts_tenant_id_terminal_seq_fkey FOREIGN KEY (tenant_id, terminal, seq) REFERENCES tap_seen(tenant_id, terminal, seq)
);
COMMENT ON TABLE tap_verdicts IS 'Taps refused after they were recorded, by the issuer of the code. The first verdict stands.';
ALTER TABLE tap_verdicts ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap_verdicts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tap_verdicts
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON tap_verdicts TO citygate_app;
GRANT SELECT ON tap_verdicts TO citygate_auditor;

CREATE TABLE taps (
    tenant_id bigint NOT NULL,
    terminal bigint NOT NULL,
    seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    kind smallint NOT NULL,
    accepted boolean NOT NULL,
    reason text COLLATE "C" NOT NULL,
    opened boolean NOT NULL,
    event_time timestamp with time zone NOT NULL,
    generated_at timestamp with time zone,
    business_date date NOT NULL,
    calendar_version integer NOT NULL,
    policy_version bigint NOT NULL,
    clock_suspect boolean NOT NULL,
    issuer integer,
    list integer,
    idx bigint,
    ctr integer,
    product integer,
    party smallint NOT NULL,
    stop text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    vehicle text COLLATE "C" NOT NULL,
    driver text COLLATE "C" NOT NULL,
    entered_minor bigint,
    entered_currency text COLLATE "C",
    evidence_digest bytea NOT NULL,
    record bytea NOT NULL,
    rule text COLLATE "C" NOT NULL,
    medium text NOT NULL DEFAULT ''::text,
    party_shown smallint NOT NULL DEFAULT 0,
    CONSTRAINT taps_pkey PRIMARY KEY (tenant_id, terminal, seq, received_at),
    CONSTRAINT taps_entered CHECK (((entered_minor IS NULL) = (entered_currency IS NULL))),
    CONSTRAINT taps_entered_currency_check CHECK ((entered_currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT taps_kind_check CHECK (((kind >= 1) AND (kind <= 3))),
    CONSTRAINT taps_reason CHECK ((accepted = (reason = ''::text))),
    CONSTRAINT taps_rider CHECK (((NOT accepted) OR ((issuer IS NOT NULL) AND (list IS NOT NULL) AND (idx IS NOT NULL) AND (ctr IS NOT NULL))))
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE taps IS 'Every tap received, accepted or refused, by month of receipt. record is the terminal''s record without the raw code: boot, clock, versions, trip, shift and fields newer than this gateway.';
COMMENT ON COLUMN taps.opened IS 'What the terminal decided; accepted and reason are what the gateway did.';
COMMENT ON COLUMN taps.clock_suspect IS 'The terminal was not sure of its time, or its time is far from the codes it reads.';
COMMENT ON COLUMN taps.issuer IS 'Issuer, list and idx are the rider as the code says it; not proven on a refused tap.';
COMMENT ON COLUMN taps.rule IS 'The rule of the policy version that decided beyond its fixed checks; empty = none did.';
COMMENT ON COLUMN taps.medium IS 'What the code was shown on: phone, band, server, other, or the code scheme where that is not CT1; empty where no code could be read.';
COMMENT ON COLUMN taps.party_shown IS 'Riders the code itself states, 0 = unknown; party is at least that, and more where the reader was told of companions.';
CREATE INDEX taps_rider ON ONLY taps USING btree (tenant_id, issuer, list, idx, event_time) WHERE (accepted AND (kind < 3));
ALTER TABLE taps ENABLE ROW LEVEL SECURITY;
ALTER TABLE taps FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON taps
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON taps TO citygate_app;
GRANT SELECT ON taps TO citygate_auditor;

CREATE TABLE taps_202610 PARTITION OF taps FOR VALUES FROM ('2026-10-01 00:00:00+00') TO ('2026-11-01 00:00:00+00');

CREATE TABLE taps_202611 PARTITION OF taps FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00');

CREATE TABLE taps_202612 PARTITION OF taps FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');

CREATE TABLE taps_202701 PARTITION OF taps FOR VALUES FROM ('2027-01-01 00:00:00+00') TO ('2027-02-01 00:00:00+00');

CREATE TABLE taps_202702 PARTITION OF taps FOR VALUES FROM ('2027-02-01 00:00:00+00') TO ('2027-03-01 00:00:00+00');

CREATE TABLE taps_202703 PARTITION OF taps FOR VALUES FROM ('2027-03-01 00:00:00+00') TO ('2027-04-01 00:00:00+00');

CREATE TABLE taps_202704 PARTITION OF taps FOR VALUES FROM ('2027-04-01 00:00:00+00') TO ('2027-05-01 00:00:00+00');

CREATE TABLE taps_202705 PARTITION OF taps FOR VALUES FROM ('2027-05-01 00:00:00+00') TO ('2027-06-01 00:00:00+00');

CREATE TABLE taps_202706 PARTITION OF taps FOR VALUES FROM ('2027-06-01 00:00:00+00') TO ('2027-07-01 00:00:00+00');

CREATE TABLE taps_202707 PARTITION OF taps FOR VALUES FROM ('2027-07-01 00:00:00+00') TO ('2027-08-01 00:00:00+00');

CREATE TABLE taps_202708 PARTITION OF taps FOR VALUES FROM ('2027-08-01 00:00:00+00') TO ('2027-09-01 00:00:00+00');

CREATE TABLE taps_202709 PARTITION OF taps FOR VALUES FROM ('2027-09-01 00:00:00+00') TO ('2027-10-01 00:00:00+00');

CREATE TABLE taps_202710 PARTITION OF taps FOR VALUES FROM ('2027-10-01 00:00:00+00') TO ('2027-11-01 00:00:00+00');

CREATE TABLE taps_202711 PARTITION OF taps FOR VALUES FROM ('2027-11-01 00:00:00+00') TO ('2027-12-01 00:00:00+00');

CREATE TABLE taps_202712 PARTITION OF taps FOR VALUES FROM ('2027-12-01 00:00:00+00') TO ('2028-01-01 00:00:00+00');

CREATE TABLE taps_202801 PARTITION OF taps FOR VALUES FROM ('2028-01-01 00:00:00+00') TO ('2028-02-01 00:00:00+00');

CREATE TABLE taps_202802 PARTITION OF taps FOR VALUES FROM ('2028-02-01 00:00:00+00') TO ('2028-03-01 00:00:00+00');

CREATE TABLE taps_202803 PARTITION OF taps FOR VALUES FROM ('2028-03-01 00:00:00+00') TO ('2028-04-01 00:00:00+00');

CREATE TABLE taps_default PARTITION OF taps DEFAULT;

CREATE TABLE tariff_heads (
    tenant_id bigint NOT NULL,
    published_at timestamp with time zone NOT NULL,
    CONSTRAINT tariff_heads_pkey PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE tariff_heads IS 'One row for each tenant with a tariff; its lock orders those who publish one.';
ALTER TABLE tariff_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE tariff_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tariff_heads
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON tariff_heads TO citygate_app;
GRANT SELECT ON tariff_heads TO citygate_auditor;
GRANT UPDATE (published_at) ON tariff_heads TO citygate_app;

CREATE TABLE tariffs (
    tenant_id bigint NOT NULL,
    version bigint NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    body jsonb NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    withdrawn_at timestamp with time zone,
    CONSTRAINT tariffs_pkey PRIMARY KEY (tenant_id, version),
    CONSTRAINT tariffs_check CHECK ((withdrawn_at < valid_from)),
    CONSTRAINT tariffs_version_check CHECK ((version > 0))
);
COMMENT ON TABLE tariffs IS 'Every version of the tenant''s prices. A ride is priced by the version that was valid at its first tap; versions never change. One that has not begun can be withdrawn: then it never holds.';
COMMENT ON COLUMN tariffs.withdrawn_at IS 'When the version was taken back, before it began; null: it holds from valid_from on.';
CREATE UNIQUE INDEX tariffs_valid_from ON tariffs USING btree (tenant_id, valid_from) WHERE (withdrawn_at IS NULL);
ALTER TABLE tariffs ENABLE ROW LEVEL SECURITY;
ALTER TABLE tariffs FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tariffs
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON tariffs TO citygate_app;
GRANT SELECT ON tariffs TO citygate_auditor;
GRANT UPDATE (withdrawn_at) ON tariffs TO citygate_app;

CREATE TABLE tenant_keys (
    tenant_id bigint NOT NULL,
    purpose text NOT NULL,
    kid smallint NOT NULL,
    version integer NOT NULL,
    algorithm text NOT NULL,
    public_key bytea NOT NULL,
    state text NOT NULL,
    not_before timestamp with time zone NOT NULL,
    expires timestamp with time zone NOT NULL,
    not_issued_after timestamp with time zone,
    published_at timestamp with time zone NOT NULL,
    CONSTRAINT tenant_keys_pkey PRIMARY KEY (tenant_id, purpose, kid),
    CONSTRAINT tenant_keys_algorithm_check CHECK ((algorithm = ANY (ARRAY['ed25519'::text, 'ecdsa-p256'::text, 'rsa-2048'::text]))),
    CONSTRAINT tenant_keys_check CHECK ((expires > not_before)),
    CONSTRAINT tenant_keys_kid_check CHECK (((kid >= 1) AND (kid <= 255))),
    CONSTRAINT tenant_keys_public_key_check CHECK ((octet_length(public_key) > 0)),
    CONSTRAINT tenant_keys_purpose_check CHECK ((purpose ~ '^[a-z][a-z0-9-]{0,39}$'::text)),
    CONSTRAINT tenant_keys_state_check CHECK ((state = ANY (ARRAY['published'::text, 'active'::text, 'retiring'::text, 'revoked'::text]))),
    CONSTRAINT tenant_keys_version UNIQUE (tenant_id, purpose, version),
    CONSTRAINT tenant_keys_version_check CHECK ((version > 0))
);
COMMENT ON TABLE tenant_keys IS 'Public keys of a tenant by purpose. kid is the byte on a code, version the signer''s number; one key per purpose is active.';
CREATE UNIQUE INDEX tenant_keys_active ON tenant_keys USING btree (tenant_id, purpose) WHERE (state = 'active'::text);
ALTER TABLE tenant_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenant_keys
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON tenant_keys TO citygate_app;
GRANT SELECT ON tenant_keys TO citygate_auditor;
GRANT UPDATE (state, not_issued_after) ON tenant_keys TO citygate_app;

CREATE TABLE terminal_flags (
    tenant_id bigint NOT NULL,
    terminal_id bigint NOT NULL,
    flag text NOT NULL,
    since timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    times bigint NOT NULL,
    detail text NOT NULL,
    cleared_at timestamp with time zone,
    CONSTRAINT terminal_flags_pkey PRIMARY KEY (tenant_id, terminal_id, flag),
    CONSTRAINT terminal_flags_flag_check CHECK ((flag ~ '^[a-z][a-z_]{0,39}$'::text)),
    CONSTRAINT terminal_flags_tenant_id_terminal_id_fkey FOREIGN KEY (tenant_id, terminal_id) REFERENCES terminals(tenant_id, terminal_id),
    CONSTRAINT terminal_flags_times_check CHECK ((times > 0))
);
COMMENT ON TABLE terminal_flags IS 'What is wrong with a terminal. A flag never refuses taps; people look at it. detail is the first case since it was raised.';
ALTER TABLE terminal_flags ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminal_flags FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminal_flags
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON terminal_flags TO citygate_app;
GRANT SELECT ON terminal_flags TO citygate_auditor;
GRANT UPDATE (since, last_seen, times, detail, cleared_at) ON terminal_flags TO citygate_app;

CREATE TABLE terminal_lists (
    tenant_id bigint NOT NULL,
    terminal_id bigint NOT NULL,
    issuer integer NOT NULL,
    list integer NOT NULL,
    seq bigint NOT NULL,
    proven_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone NOT NULL,
    CONSTRAINT terminal_lists_pkey PRIMARY KEY (tenant_id, terminal_id, issuer, list),
    CONSTRAINT terminal_lists_issuer_check CHECK (((issuer >= 1) AND (issuer <= 65535))),
    CONSTRAINT terminal_lists_list_check CHECK (((list >= 0) AND (list <= 65535))),
    CONSTRAINT terminal_lists_seq_check CHECK (((seq >= 1) AND (seq <= '4294967295'::bigint))),
    CONSTRAINT terminal_lists_terminal FOREIGN KEY (tenant_id, terminal_id) REFERENCES terminals(tenant_id, terminal_id)
);
COMMENT ON TABLE terminal_lists IS 'The deny list a terminal last decided by, as its taps say: used_at is the tap, proven_at when that list was last known to be the newest.';
ALTER TABLE terminal_lists ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminal_lists FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminal_lists
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT DELETE, INSERT, SELECT ON terminal_lists TO citygate_app;
GRANT SELECT ON terminal_lists TO citygate_auditor;
GRANT UPDATE (seq, proven_at, used_at) ON terminal_lists TO citygate_app;

CREATE TABLE terminal_profiles (
    tenant_id bigint NOT NULL,
    terminal_id bigint NOT NULL,
    body jsonb NOT NULL,
    modes text[] COLLATE "C" NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT terminal_profiles_pkey PRIMARY KEY (tenant_id, terminal_id),
    CONSTRAINT terminal_profiles_terminal FOREIGN KEY (tenant_id, terminal_id) REFERENCES terminals(tenant_id, terminal_id)
);
COMMENT ON TABLE terminal_profiles IS 'Overrides of single terminals, as their next bundle carries them; modes are all that a terminal was ever given, under each of which taps may still come in.';
ALTER TABLE terminal_profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminal_profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminal_profiles
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON terminal_profiles TO citygate_app;
GRANT SELECT ON terminal_profiles TO citygate_auditor;
GRANT UPDATE (body, modes, updated_at) ON terminal_profiles TO citygate_app;

CREATE TABLE terminals (
    tenant_id bigint NOT NULL,
    terminal_id bigint NOT NULL,
    name text NOT NULL,
    public_key bytea NOT NULL,
    algorithm text NOT NULL,
    kind text NOT NULL,
    mode text NOT NULL,
    stop text NOT NULL,
    route text NOT NULL,
    vehicle text NOT NULL,
    state text NOT NULL,
    bundle_floor bigint NOT NULL,
    software text NOT NULL,
    clock_offset_ms bigint,
    enrolled_at timestamp with time zone NOT NULL,
    floor_seq bigint,
    floor_at timestamp with time zone,
    seen_at timestamp with time zone,
    CONSTRAINT terminals_pkey PRIMARY KEY (tenant_id, terminal_id),
    CONSTRAINT terminals_algorithm_check CHECK ((algorithm = ANY (ARRAY['ed25519'::text, 'ecdsa-p256'::text]))),
    CONSTRAINT terminals_bundle_floor_check CHECK ((bundle_floor >= 0)),
    CONSTRAINT terminals_kind_check CHECK ((kind = ANY (ARRAY['gate'::text, 'validator'::text, 'taximeter'::text]))),
    CONSTRAINT terminals_mode_check CHECK ((mode = ANY (ARRAY['on_off'::text, 'single'::text]))),
    CONSTRAINT terminals_name_check CHECK ((name <> ''::text)),
    CONSTRAINT terminals_public_key UNIQUE (tenant_id, public_key),
    CONSTRAINT terminals_public_key_check CHECK ((octet_length(public_key) > 0)),
    CONSTRAINT terminals_state_check CHECK ((state = ANY (ARRAY['active'::text, 'suspended'::text]))),
    CONSTRAINT terminals_terminal_id_check CHECK (((terminal_id >= 1) AND (terminal_id <= '4294967295'::bigint)))
);
COMMENT ON TABLE terminals IS 'Terminal keys. A device that gets a new key is a new row: the id names the key that signed its taps for ever.';
COMMENT ON COLUMN terminals.bundle_floor IS 'The highest bundle that a tap named. A later tap that names a lower one shows a terminal set back to an old copy of its memory.';
COMMENT ON COLUMN terminals.floor_seq IS 'Number of the first tap known that named bundle_floor.';
COMMENT ON COLUMN terminals.floor_at IS 'Event time of that tap.';
COMMENT ON COLUMN terminals.seen_at IS 'Last upload, to within ten minutes.';
ALTER TABLE terminals ENABLE ROW LEVEL SECURITY;
ALTER TABLE terminals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON terminals
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON terminals TO citygate_app;
GRANT SELECT ON terminals TO citygate_auditor;
GRANT UPDATE (name, stop, route, vehicle, state, bundle_floor, software, clock_offset_ms, floor_seq, floor_at, seen_at) ON terminals TO citygate_app;

CREATE TABLE till_payments (
    tenant_id bigint NOT NULL,
    payment_id uuid NOT NULL,
    order_key text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    contract text COLLATE "C" NOT NULL,
    named text COLLATE "C" NOT NULL,
    till text NOT NULL,
    payee text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    our_id text COLLATE "C" NOT NULL,
    business_date date NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    wait_until timestamp with time zone NOT NULL,
    next_at timestamp with time zone,
    reversing_for text COLLATE "C" NOT NULL,
    reversals integer NOT NULL,
    reversed_at timestamp with time zone,
    reversal_said text COLLATE "C" NOT NULL,
    paid_at timestamp with time zone,
    ended_at timestamp with time zone,
    refunded bigint NOT NULL,
    returned bigint NOT NULL,
    cleared_at timestamp with time zone,
    cleared_on date,
    cleared bigint,
    taken bigint NOT NULL DEFAULT 0,
    taken_bearer text COLLATE "C" NOT NULL DEFAULT ''::text,
    route_version bigint NOT NULL DEFAULT 0,
    route_rule text COLLATE "C" NOT NULL DEFAULT ''::text,
    route_finding text NOT NULL DEFAULT ''::text,
    CONSTRAINT till_payments_pkey PRIMARY KEY (tenant_id, payment_id),
    CONSTRAINT till_payments_amount_check CHECK ((amount > 0)),
    CONSTRAINT till_payments_check CHECK ((wait_until > asked_at)),
    CONSTRAINT till_payments_check1 CHECK (((refunded >= 0) AND (refunded <= amount))),
    CONSTRAINT till_payments_check2 CHECK (((returned >= 0) AND (returned <= amount))),
    CONSTRAINT till_payments_check3 CHECK ((((cleared_at IS NULL) = (cleared_on IS NULL)) AND ((cleared_at IS NULL) = (cleared IS NULL)))),
    CONSTRAINT till_payments_check4 CHECK (((state = 'reversing'::text) <= (reversing_for <> ''::text))),
    CONSTRAINT till_payments_check5 CHECK (((state = ANY (ARRAY['declined'::text, 'closed'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT till_payments_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT till_payments_order_key_check CHECK (((length(order_key) >= 1) AND (length(order_key) <= 64))),
    CONSTRAINT till_payments_our_id_check CHECK (((length(our_id) >= 1) AND (length(our_id) <= 32))),
    CONSTRAINT till_payments_payee_check CHECK (((length(payee) >= 1) AND (length(payee) <= 128))),
    CONSTRAINT till_payments_reason_check CHECK ((length(reason) <= 200)),
    CONSTRAINT till_payments_reversal_said_check CHECK ((reversal_said = ANY (ARRAY[''::text, 'closed'::text, 'returned'::text, 'refused'::text]))),
    CONSTRAINT till_payments_reversals_check CHECK ((reversals >= 0)),
    CONSTRAINT till_payments_reversing_for_check CHECK ((reversing_for = ANY (ARRAY[''::text, 'timeout'::text, 'cancelled'::text]))),
    CONSTRAINT till_payments_route_finding_check CHECK ((length(route_finding) <= 2000)),
    CONSTRAINT till_payments_route_rule_check CHECK ((length(route_rule) <= 200)),
    CONSTRAINT till_payments_route_version_check CHECK ((route_version >= 0)),
    CONSTRAINT till_payments_state_check CHECK ((state = ANY (ARRAY['asked'::text, 'paying'::text, 'paid'::text, 'declined'::text, 'reversing'::text, 'closed'::text, 'refunded'::text]))),
    CONSTRAINT till_payments_subject_check CHECK (((length(subject) >= 1) AND (length(subject) <= 120))),
    CONSTRAINT till_payments_taken CHECK (((taken = 0) OR (taken_bearer <> ''::text))),
    CONSTRAINT till_payments_taken_bearer_check CHECK ((taken_bearer = ANY (ARRAY[''::text, 'payee'::text, 'tenant'::text]))),
    CONSTRAINT till_payments_taken_check CHECK ((taken >= 0)),
    CONSTRAINT till_payments_tenant_id_order_key_key UNIQUE (tenant_id, order_key),
    CONSTRAINT till_payments_till_check CHECK ((length(till) <= 64))
);
COMMENT ON TABLE till_payments IS 'Payments that a customer''s wallet was asked for by the code it showed. The code itself is nowhere. The charge has the payment''s id.';
COMMENT ON COLUMN till_payments.order_key IS 'The shop''s own name for the order: asked for again under it, nothing is charged twice.';
COMMENT ON COLUMN till_payments.named IS 'The contract that the request named; empty = it was told from the code.';
COMMENT ON COLUMN till_payments.till IS 'Which counter or gate, as the shop calls it.';
COMMENT ON COLUMN till_payments.payee IS 'Who earns it.';
COMMENT ON COLUMN till_payments.wait_until IS 'Until when the customer may confirm; then the payment is reversed.';
COMMENT ON COLUMN till_payments.next_at IS 'When the provider is asked next; NULL = nothing is open.';
COMMENT ON COLUMN till_payments.reversing_for IS 'Why it is taken back; from then on it is never paid, and money that moved goes back.';
COMMENT ON COLUMN till_payments.reversed_at IS 'When a reversal was last asked for.';
COMMENT ON COLUMN till_payments.refunded IS 'What is given back or to be given back by refunds, in minor units.';
COMMENT ON COLUMN till_payments.returned IS 'What of it is certain.';
COMMENT ON COLUMN till_payments.cleared_at IS 'When its bill had it and it became the payee''s to be paid out.';
COMMENT ON COLUMN till_payments.cleared IS 'What was cleared: the amount less fee and what had gone back.';
COMMENT ON COLUMN till_payments.taken IS 'What its provider took back of it and has not returned.';
COMMENT ON COLUMN till_payments.taken_bearer IS 'Who bears what is taken back, by the tenant''s terms when it was first; empty = nothing was.';
COMMENT ON COLUMN till_payments.route_version IS 'Of the rule set that chose the contract; 0 = none did: the order named it, or the code told.';
COMMENT ON COLUMN till_payments.route_rule IS 'The rule that chose it.';
COMMENT ON COLUMN till_payments.route_finding IS 'Why rules that matched were not followed to the letter, and which contract was certainly not reached before.';
CREATE INDEX till_payments_due ON till_payments USING btree (tenant_id, next_at) WHERE (next_at IS NOT NULL);
ALTER TABLE till_payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE till_payments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON till_payments
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON till_payments TO citygate_app;
GRANT SELECT ON till_payments TO citygate_auditor;
GRANT UPDATE (contract, state, reason, next_at, reversing_for, reversals, reversed_at, reversal_said, paid_at, ended_at, refunded, returned, cleared_at, cleared_on, cleared, taken, taken_bearer, route_version, route_rule, route_finding) ON till_payments TO citygate_app;

CREATE TABLE till_refunds (
    tenant_id bigint NOT NULL,
    payment_id uuid NOT NULL,
    ordinal integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    reason text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    uncleared boolean,
    CONSTRAINT till_refunds_pkey PRIMARY KEY (tenant_id, payment_id, ordinal),
    CONSTRAINT till_refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT till_refunds_check CHECK (((length(name) <= 64) AND ((kind = 'asked'::text) = (name <> ''::text)))),
    CONSTRAINT till_refunds_kind_check CHECK ((kind = ANY (ARRAY['asked'::text, 'reversal'::text, 'late'::text]))),
    CONSTRAINT till_refunds_ordinal_check CHECK ((ordinal > 0)),
    CONSTRAINT till_refunds_reason_check CHECK ((length(reason) <= 500))
);
COMMENT ON TABLE till_refunds IS 'Why money of a payment at a till goes back. What becomes of it is in refunds, under the same ordinal.';
COMMENT ON COLUMN till_refunds.kind IS 'asked: somebody did; reversal: the provider returned it as the payment was reversed; late: it was paid although it was being reversed.';
COMMENT ON COLUMN till_refunds.name IS 'The shop''s own name for it, once per payment.';
COMMENT ON COLUMN till_refunds.uncleared IS 'Whether it went back before the payment was cleared; NULL = it has not yet.';
CREATE UNIQUE INDEX till_refunds_name ON till_refunds USING btree (tenant_id, payment_id, name) WHERE (name <> ''::text);
ALTER TABLE till_refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE till_refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON till_refunds
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON till_refunds TO citygate_app;
GRANT SELECT ON till_refunds TO citygate_auditor;
GRANT UPDATE (uncleared) ON till_refunds TO citygate_app;

CREATE TABLE till_taking_lines (
    tenant_id bigint NOT NULL,
    payment_id uuid NOT NULL,
    part integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    on_payee text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    business_date date NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT till_taking_lines_pkey PRIMARY KEY (tenant_id, payment_id, part),
    CONSTRAINT till_taking_lines_amount_check CHECK ((amount <> 0)),
    CONSTRAINT till_taking_lines_check CHECK (((on_payee = ANY (ARRAY[''::text, 'uncleared'::text, 'payable'::text])) AND ((on_payee = ''::text) OR (kind = ANY (ARRAY['borne'::text, 'fee'::text]))))),
    CONSTRAINT till_taking_lines_kind_check CHECK ((kind = ANY (ARRAY['borne'::text, 'unowed'::text, 'given_up'::text, 'fee'::text]))),
    CONSTRAINT till_taking_lines_part_check CHECK ((part > 0)),
    CONSTRAINT till_taking_lines_tenant_id_payment_id_fkey FOREIGN KEY (tenant_id, payment_id) REFERENCES till_payments(tenant_id, payment_id)
);
COMMENT ON TABLE till_taking_lines IS 'What was booked of payments at tills that were taken back: what their bearer bears (borne), what was taken beyond what the payment held (unowed, claimed from the provider; given_up when that was lost), and the provider''s fees for it that the payee bears (fee). A negative one takes back. Append-only.';
COMMENT ON COLUMN till_taking_lines.on_payee IS 'Which account of the payee bears it: of what no bill has shown, or of what is to be paid out; empty = none.';
ALTER TABLE till_taking_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE till_taking_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON till_taking_lines
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON till_taking_lines TO citygate_app;
GRANT SELECT ON till_taking_lines TO citygate_auditor;

CREATE TABLE transfers (
    tenant_id bigint NOT NULL,
    transfer_id uuid NOT NULL,
    debit text COLLATE "C" NOT NULL,
    credit text COLLATE "C" NOT NULL,
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    interbook_id uuid,
    link_id uuid,
    phase text COLLATE "C" NOT NULL,
    pending_id uuid,
    effective_at timestamp with time zone NOT NULL,
    business_date date NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT transfers_pkey PRIMARY KEY (tenant_id, transfer_id),
    CONSTRAINT transfers_accounts CHECK (((debit <> credit) AND (debit <> ''::text) AND (credit <> ''::text))),
    CONSTRAINT transfers_amount CHECK ((amount > 0)),
    CONSTRAINT transfers_currency CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT transfers_phase CHECK (((phase = ANY (ARRAY['posted'::text, 'pending'::text, 'post'::text, 'void'::text])) AND ((phase = ANY (ARRAY['post'::text, 'void'::text])) = (pending_id IS NOT NULL))))
);
COMMENT ON TABLE transfers IS 'The books: one row moves an amount from one account to another. Append-only.';
CREATE UNIQUE INDEX transfers_ends ON transfers USING btree (tenant_id, pending_id) WHERE (pending_id IS NOT NULL);
CREATE INDEX transfers_interbook ON transfers USING btree (tenant_id, interbook_id) WHERE (interbook_id IS NOT NULL);
ALTER TABLE transfers ENABLE ROW LEVEL SECURITY;
ALTER TABLE transfers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON transfers
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON transfers TO citygate_app;
GRANT SELECT ON transfers TO citygate_auditor;

CREATE TABLE vehicles (
    tenant_id bigint NOT NULL,
    vehicle text NOT NULL,
    kind text NOT NULL,
    plate text NOT NULL,
    CONSTRAINT vehicles_pkey PRIMARY KEY (tenant_id, vehicle),
    CONSTRAINT vehicles_kind_check CHECK ((kind = ANY (ARRAY['train'::text, 'bus'::text, 'minibus'::text, 'taxi'::text, 'ferry'::text]))),
    CONSTRAINT vehicles_vehicle_check CHECK ((vehicle <> ''::text))
);
COMMENT ON TABLE vehicles IS 'Vehicles of an operator.';
ALTER TABLE vehicles ENABLE ROW LEVEL SECURITY;
ALTER TABLE vehicles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON vehicles
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON vehicles TO citygate_app;
GRANT SELECT ON vehicles TO citygate_auditor;
GRANT UPDATE (kind, plate) ON vehicles TO citygate_app;

CREATE TABLE wallet_cards (
    tenant_id bigint NOT NULL,
    card_id uuid NOT NULL,
    contract text COLLATE "C" NOT NULL,
    card_ref text COLLATE "C" NOT NULL,
    rider_ref text COLLATE "C" NOT NULL,
    account_id uuid,
    locked text COLLATE "C" NOT NULL,
    tip text COLLATE "C" NOT NULL,
    told text COLLATE "C" NOT NULL,
    told_tip text COLLATE "C" NOT NULL,
    touched boolean NOT NULL,
    n integer NOT NULL,
    wanted text COLLATE "C" NOT NULL,
    wanted_tip text COLLATE "C" NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    state text COLLATE "C" NOT NULL,
    attempts integer NOT NULL,
    next_try_at timestamp with time zone NOT NULL,
    told_at timestamp with time zone,
    error text COLLATE "C" NOT NULL,
    created_at timestamp with time zone NOT NULL,
    unsure boolean NOT NULL DEFAULT false,
    CONSTRAINT wallet_cards_pkey PRIMARY KEY (tenant_id, card_id),
    CONSTRAINT wallet_cards_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT wallet_cards_card_ref_check CHECK (((card_ref <> ''::text) AND (length(card_ref) <= 64))),
    CONSTRAINT wallet_cards_error_check CHECK ((length(error) <= 500)),
    CONSTRAINT wallet_cards_locked_check CHECK ((locked = ANY (ARRAY[''::text, 'overdue'::text, 'revoked'::text]))),
    CONSTRAINT wallet_cards_n_check CHECK ((n >= 0)),
    CONSTRAINT wallet_cards_rider_ref_check CHECK ((length(rider_ref) <= 200)),
    CONSTRAINT wallet_cards_state_check CHECK ((state = ANY (ARRAY['told'::text, 'waiting'::text, 'unknown'::text, 'refused'::text]))),
    CONSTRAINT wallet_cards_tenant_id_account_id_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts(tenant_id, account_id),
    CONSTRAINT wallet_cards_tenant_id_contract_card_ref_key UNIQUE (tenant_id, contract, card_ref),
    CONSTRAINT wallet_cards_tenant_id_contract_fkey FOREIGN KEY (tenant_id, contract) REFERENCES provider_contracts(tenant_id, contract),
    CONSTRAINT wallet_cards_tip_check CHECK ((length(tip) <= 200)),
    CONSTRAINT wallet_cards_told_check CHECK ((told = ANY (ARRAY['nothing'::text, 'enabled'::text, 'overdue'::text, 'revoked'::text]))),
    CONSTRAINT wallet_cards_wanted_check CHECK ((wanted = ANY (ARRAY['enabled'::text, 'overdue'::text, 'revoked'::text])))
);
COMMENT ON TABLE wallet_cards IS 'The tenant''s cards in riders'' wallets: how each is to be, what its wallet was told last, and the change under way.';
COMMENT ON COLUMN wallet_cards.card_ref IS 'The tenant''s number of the card.';
COMMENT ON COLUMN wallet_cards.rider_ref IS 'The provider''s name for the rider whose wallet shows it; empty once it is erased.';
COMMENT ON COLUMN wallet_cards.account_id IS 'Whose debts lock it, where the contract says so.';
COMMENT ON COLUMN wallet_cards.locked IS 'By people: not, because its rider owes, or because it is given up.';
COMMENT ON COLUMN wallet_cards.told IS 'What the wallet confirmed last.';
COMMENT ON COLUMN wallet_cards.touched IS 'Something changed since the change under way was made up.';
COMMENT ON COLUMN wallet_cards.n IS 'Number of the change; a change keeps its number and content until it is known what became of it.';
COMMENT ON COLUMN wallet_cards.decided_at IS 'When the change was made up, at least a second after the one before: the newest state wins at the wallet.';
COMMENT ON COLUMN wallet_cards.state IS 'told: done. waiting: not sent. unknown: sent, and nobody can say. refused: certainly not taken; both are tried again.';
COMMENT ON COLUMN wallet_cards.unsure IS 'As of deny_pushes.';
CREATE INDEX wallet_cards_due ON wallet_cards USING btree (tenant_id, contract, next_try_at) WHERE (touched OR (state <> 'told'::text));
CREATE INDEX wallet_cards_of ON wallet_cards USING btree (tenant_id, account_id) WHERE (account_id IS NOT NULL);
CREATE INDEX wallet_cards_unclaimed ON wallet_cards USING btree (tenant_id, contract, rider_ref) WHERE ((account_id IS NULL) AND (rider_ref <> ''::text));
ALTER TABLE wallet_cards ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet_cards FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON wallet_cards
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON wallet_cards TO citygate_app;
GRANT SELECT ON wallet_cards TO citygate_auditor;
GRANT UPDATE (rider_ref, account_id, locked, tip, told, told_tip, touched, n, wanted, wanted_tip, decided_at, state, attempts, next_try_at, told_at, error, unsure) ON wallet_cards TO citygate_app;

CREATE TABLE windows (
    tenant_id bigint NOT NULL,
    business_date date NOT NULL,
    calendar_version integer NOT NULL,
    state text COLLATE "C" NOT NULL,
    opens_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    closes_at timestamp with time zone NOT NULL,
    pays_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    paid_at timestamp with time zone,
    totals_hash bytea,
    terms_version integer NOT NULL,
    CONSTRAINT windows_pkey PRIMARY KEY (tenant_id, business_date),
    CONSTRAINT windows_closed CHECK ((((state = 'open'::text) = (closed_at IS NULL)) AND ((state = 'open'::text) = (totals_hash IS NULL)))),
    CONSTRAINT windows_order CHECK (((opens_at < ends_at) AND (ends_at <= closes_at) AND (closes_at <= pays_at))),
    CONSTRAINT windows_paid CHECK (((state = 'paid'::text) = (paid_at IS NOT NULL))),
    CONSTRAINT windows_state_check CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text, 'paid'::text]))),
    CONSTRAINT windows_terms_version_check CHECK ((terms_version >= 0))
);
COMMENT ON TABLE windows IS 'Settlement windows, one per business date. The instants follow from the calendar and are fixed when the window is first needed. A window is never opened again.';
COMMENT ON COLUMN windows.totals_hash IS 'SHA-256 of what each payee earned by the decisions in the window, taken when it closed.';
COMMENT ON COLUMN windows.terms_version IS 'The settlement terms its instants follow from; 0 = those of a tenant that has set none.';
CREATE INDEX windows_unpaid ON windows USING btree (tenant_id, business_date) WHERE (state <> 'paid'::text);
ALTER TABLE windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE windows FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON windows
    USING (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)
    WITH CHECK (tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint);
GRANT INSERT, SELECT ON windows TO citygate_app;
GRANT SELECT ON windows TO citygate_auditor;
GRANT UPDATE (state, closed_at, paid_at, totals_hash) ON windows TO citygate_app;

CREATE OR REPLACE FUNCTION public.create_tap_partitions(first_month date, months integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'public'
AS $function$
DECLARE
    parent text;
    part   text;
    month  date;
BEGIN
    FOREACH parent IN ARRAY ARRAY['taps', 'tap_evidence'] LOOP
        FOR n IN 0 .. months LOOP
            month := (date_trunc('month', first_month) + make_interval(months => n))::date;
            IF n = months THEN
                part := parent || '_default';
            ELSE
                part := parent || to_char(month, '_YYYYMM');
            END IF;
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            IF n = months THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', part, parent);
            ELSE
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', part, parent,
                    month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
            END IF;
            EXECUTE format('COMMENT ON TABLE %I IS %L', part, 'A partition of ' || parent || '; reached through it only.');
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
            EXECUTE format('CREATE POLICY tenant ON %I USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::bigint) WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::bigint)', part);
        END LOOP;
    END LOOP;
END
$function$
;
