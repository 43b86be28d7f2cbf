-- Requests to the ledgers that must not be done twice, and gift cards. A card's balance is the sum of its activities: they
-- are added and never changed, and the balance follows in the same transaction.

CREATE TABLE shared.ledger_requests (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    response jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ledger_requests_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT ledger_requests_idempotency_key_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT ledger_requests_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT ledger_requests_idempotency_key_check CHECK (length(idempotency_key) BETWEEN 1 AND 200)
);

COMMENT ON TABLE shared.ledger_requests IS
    'Requests to stock, points and gift cards that came with a key: repeated, they have no second effect and the same answer. Written by the functions of the ledgers, kept as long as what they did';
COMMENT ON COLUMN shared.ledger_requests.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.ledger_requests.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.ledger_requests.idempotency_key IS
    'What the application called the request. No personal data';
COMMENT ON COLUMN shared.ledger_requests.request_hash IS 'SHA-256 of what was asked: the same key is for the same request';
COMMENT ON COLUMN shared.ledger_requests.response IS 'What was answered';
COMMENT ON COLUMN shared.ledger_requests.created_at IS 'When the request was made';
COMMENT ON COLUMN shared.ledger_requests.updated_at IS 'When it was answered';

-- A copy of what the ledgers themselves log.
SELECT thorbis.protect('shared.ledger_requests', 'idempotency', '{
    "actions": ["select"], "platform_actions": ["select"], "audit": false,
    "not_personal": ["idempotency_key", "response"]
}');

CREATE TABLE shared.gift_cards (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    code_hash bytea NOT NULL,
    customer_id uuid,
    status text NOT NULL DEFAULT 'PENDING',
    currency char(3) NOT NULL,
    balance numeric(12,2) NOT NULL DEFAULT 0,
    activated_at timestamptz,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT gift_cards_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT gift_cards_code_hash_unique UNIQUE (tenant_id, code_hash),
    CONSTRAINT gift_cards_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT gift_cards_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT gift_cards_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT gift_cards_status_check CHECK (status IN ('PENDING', 'ACTIVE', 'BLOCKED', 'DEACTIVATED')),
    CONSTRAINT gift_cards_activated_at_check CHECK ((activated_at IS NULL) = (status = 'PENDING')),
    CONSTRAINT gift_cards_balance_check
        CHECK (balance >= 0 AND balance < 'NaN' AND (balance = 0 OR status IN ('ACTIVE', 'BLOCKED')))
) WITH (fillfactor = 70);

CREATE INDEX idx_gift_cards_customer_id ON shared.gift_cards (tenant_id, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX idx_gift_cards_created_by ON shared.gift_cards (tenant_id, created_by) WHERE created_by IS NOT NULL;

CREATE TRIGGER write_gift_cards_status
    BEFORE INSERT OR UPDATE ON shared.gift_cards
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('gift_card');

CREATE TRIGGER write_gift_cards_status_history
    AFTER INSERT OR UPDATE ON shared.gift_cards
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('gift_card');

INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action, sets_column) VALUES
    ('gift_card', '', 'PENDING', 'gift_cards', 'activate', NULL),
    ('gift_card', 'PENDING', 'ACTIVE', 'gift_cards', 'activate', 'activated_at'),
    ('gift_card', 'ACTIVE', 'BLOCKED', 'gift_cards', 'adjust', NULL),
    ('gift_card', 'BLOCKED', 'ACTIVE', 'gift_cards', 'adjust', NULL),
    ('gift_card', 'ACTIVE', 'DEACTIVATED', 'gift_cards', 'adjust', NULL),
    ('gift_card', 'BLOCKED', 'DEACTIVATED', 'gift_cards', 'adjust', NULL);

COMMENT ON TABLE shared.gift_cards IS
    'Cards with money on them. Made by shared.create_gift_card(), moved by their activities alone; the code is nowhere';
COMMENT ON COLUMN shared.gift_cards.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.gift_cards.id IS 'Identifies the card within its tenant';
COMMENT ON COLUMN shared.gift_cards.code_hash IS
    'Keyed hash of the code: without the keyring nobody can try codes against it. shared.find_gift_card() finds a card by its code';
COMMENT ON COLUMN shared.gift_cards.customer_id IS 'Whose card it is, NULL for whoever holds it';
COMMENT ON COLUMN shared.gift_cards.status IS 'PENDING, ACTIVE, BLOCKED or DEACTIVATED, which is final';
COMMENT ON COLUMN shared.gift_cards.currency IS 'Currency of the balance: that of the tenant when the card was made';
COMMENT ON COLUMN shared.gift_cards.balance IS 'What is on it: the sum of its activities, never below zero';
COMMENT ON COLUMN shared.gift_cards.activated_at IS 'When it was activated, NULL until then';
COMMENT ON COLUMN shared.gift_cards.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.gift_cards.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.gift_cards.updated_at IS 'When the row last changed, set by a trigger';

-- What is owed to whoever holds the card stays owed when the person is erased.
SELECT thorbis.protect('shared.gift_cards', 'gift_cards', '{
    "actions": ["select", "update"], "update_columns": ["customer_id"], "platform_actions": ["select"],
    "audit": {"secret": ["code_hash"]},
    "subject": {"kind": "customer", "column": "customer_id"},
    "not_personal": ["status", "currency"]
}');

CREATE TABLE shared.gift_card_activities (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    gift_card_id uuid NOT NULL,
    type text NOT NULL,
    amount numeric(12,2) NOT NULL DEFAULT 0,
    balance_after numeric(12,2),
    reason text,
    document text,
    document_id uuid,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT gift_card_activities_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT gift_card_activities_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT gift_card_activities_gift_card_id_fkey
        FOREIGN KEY (tenant_id, gift_card_id) REFERENCES shared.gift_cards (tenant_id, id),
    CONSTRAINT gift_card_activities_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT gift_card_activities_type_check CHECK (type IN ('ACTIVATE', 'LOAD', 'REDEEM', 'CLEAR_BALANCE',
        'DEACTIVATE', 'ADJUST_INCREMENT', 'ADJUST_DECREMENT', 'REFUND', 'BLOCK', 'UNBLOCK')),
    -- Signed: what takes money off the card is below zero, so that the balance is the sum.
    CONSTRAINT gift_card_activities_amount_check CHECK (amount < 'NaN' AND CASE
        WHEN type = 'ACTIVATE' THEN amount >= 0
        WHEN type IN ('LOAD', 'REFUND', 'ADJUST_INCREMENT') THEN amount > 0
        WHEN type IN ('REDEEM', 'ADJUST_DECREMENT') THEN amount < 0
        WHEN type = 'CLEAR_BALANCE' THEN amount <= 0
        ELSE amount = 0 END),
    CONSTRAINT gift_card_activities_document_check CHECK ((document IS NULL) = (document_id IS NULL))
);

CREATE INDEX idx_gift_card_activities_gift_card_id
    ON shared.gift_card_activities (tenant_id, gift_card_id, recorded_at);
CREATE INDEX idx_gift_card_activities_document_id ON shared.gift_card_activities (tenant_id, document_id)
    WHERE document_id IS NOT NULL;
CREATE INDEX idx_gift_card_activities_created_by ON shared.gift_card_activities (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER insert_gift_card_activities_balance
    BEFORE INSERT ON shared.gift_card_activities
    FOR EACH ROW EXECUTE FUNCTION @extschema@.apply_gift_card_activity();

CREATE TRIGGER write_gift_card_activities_append_only
    BEFORE UPDATE OR DELETE ON shared.gift_card_activities
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_gift_card_activities_append_only
    BEFORE TRUNCATE ON shared.gift_card_activities
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.gift_card_activities IS
    'What was done with a gift card, never changed. Written by the functions alone, such as shared.redeem_gift_card(); status and balance of the card follow in the same transaction';
COMMENT ON COLUMN shared.gift_card_activities.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.gift_card_activities.id IS 'Identifies the activity within its tenant';
COMMENT ON COLUMN shared.gift_card_activities.gift_card_id IS 'The card';
COMMENT ON COLUMN shared.gift_card_activities.type IS
    'ACTIVATE, LOAD, REDEEM, CLEAR_BALANCE, DEACTIVATE, ADJUST_INCREMENT, ADJUST_DECREMENT, REFUND, BLOCK or UNBLOCK';
COMMENT ON COLUMN shared.gift_card_activities.amount IS
    'What it adds to the balance, below zero for what it takes. The trigger fills in what CLEAR_BALANCE takes';
COMMENT ON COLUMN shared.gift_card_activities.balance_after IS 'What is on the card then, written by a trigger';
COMMENT ON COLUMN shared.gift_card_activities.reason IS 'Why: a word of the tenant''s own. No personal data';
COMMENT ON COLUMN shared.gift_card_activities.document IS 'The kind of document it belongs to, such as order';
COMMENT ON COLUMN shared.gift_card_activities.document_id IS 'The document it belongs to';
COMMENT ON COLUMN shared.gift_card_activities.recorded_at IS 'When it was done, written by a trigger';
COMMENT ON COLUMN shared.gift_card_activities.created_by IS 'The user who did it, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.gift_card_activities.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.gift_card_activities.updated_at IS 'When the row last changed: rows do not change';

SELECT thorbis.protect('shared.gift_card_activities', 'gift_cards', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "gift_card_id", "through": "shared.gift_cards"},
    "not_personal": ["type", "reason", "document"]
}');

-- What applications call. Amounts are in the currency of the card and above zero; a code is passed as a parameter of the
-- statement, so that it stands in no log of statements.

CREATE FUNCTION shared.create_gift_card(code text, customer_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.create_gift_card(code, customer_id) $function$;

CREATE FUNCTION shared.find_gift_card(code text) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.find_gift_card(code) $function$;

CREATE FUNCTION shared.activate_gift_card(gift_card_id uuid, amount numeric, idempotency_key text DEFAULT NULL,
        document text DEFAULT NULL, document_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_gift_card_activity('ACTIVATE', gift_card_id, amount, NULL, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.load_gift_card(gift_card_id uuid, amount numeric, idempotency_key text DEFAULT NULL,
        document text DEFAULT NULL, document_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_gift_card_activity('LOAD', gift_card_id, amount, NULL, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.redeem_gift_card(gift_card_id uuid, amount numeric, idempotency_key text DEFAULT NULL,
        document text DEFAULT NULL, document_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_gift_card_activity('REDEEM', gift_card_id, amount, NULL, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.refund_gift_card(gift_card_id uuid, amount numeric, idempotency_key text DEFAULT NULL,
        document text DEFAULT NULL, document_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_gift_card_activity('REFUND', gift_card_id, amount, NULL, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.adjust_gift_card(gift_card_id uuid, change numeric, reason text,
        idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_gift_card_activity(
        CASE WHEN change < 0 THEN 'ADJUST_DECREMENT' ELSE 'ADJUST_INCREMENT' END, gift_card_id, abs(change), reason, NULL, NULL, idempotency_key) $function$;

CREATE FUNCTION shared.set_gift_card_state(gift_card_id uuid, activity text, reason text DEFAULT NULL,
        idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_gift_card_activity(activity, gift_card_id, 0, reason, NULL, NULL, idempotency_key) $function$;

COMMENT ON FUNCTION shared.create_gift_card(text, uuid) IS
    'Makes a card with this code, pending and empty. Needs gift_cards:activate. Returns gift_card_id';
COMMENT ON FUNCTION shared.find_gift_card(text) IS
    'The card with this code: gift_card_id, status, currency, balance. Needs gift_cards:redeem; P0002 when there is none';
COMMENT ON FUNCTION shared.activate_gift_card(uuid, numeric, text, text, uuid) IS
    'Activates a card with a first amount, which may be zero. Needs gift_cards:activate. Returns activity_id and balance';
COMMENT ON FUNCTION shared.load_gift_card(uuid, numeric, text, text, uuid) IS
    'Puts money on an active card. Needs gift_cards:activate. Returns activity_id and balance';
COMMENT ON FUNCTION shared.redeem_gift_card(uuid, numeric, text, text, uuid) IS
    'Pays with an active card. Needs gift_cards:redeem. 23514 when not enough is on it. Returns activity_id and balance';
COMMENT ON FUNCTION shared.refund_gift_card(uuid, numeric, text, text, uuid) IS
    'Puts back what was paid with an active card. Needs gift_cards:adjust. Returns activity_id and balance';
COMMENT ON FUNCTION shared.adjust_gift_card(uuid, numeric, text, text) IS
    'Corrects the balance of an active card up or down. Needs gift_cards:adjust. Returns activity_id and balance';
COMMENT ON FUNCTION shared.set_gift_card_state(uuid, text, text, text) IS
    'BLOCK, UNBLOCK, CLEAR_BALANCE or DEACTIVATE, which needs an empty card. Needs gift_cards:adjust. Returns activity_id and balance';

DO $$
DECLARE f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['shared.create_gift_card(text, uuid)', 'shared.find_gift_card(text)',
        'shared.activate_gift_card(uuid, numeric, text, text, uuid)', 'shared.load_gift_card(uuid, numeric, text, text, uuid)',
        'shared.redeem_gift_card(uuid, numeric, text, text, uuid)', 'shared.refund_gift_card(uuid, numeric, text, text, uuid)',
        'shared.adjust_gift_card(uuid, numeric, text, text)', 'shared.set_gift_card_state(uuid, text, text, text)']::regprocedure[]
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO thorbis_app, thorbis_platform', f);
    END LOOP;
END $$;
