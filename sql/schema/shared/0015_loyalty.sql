-- Points of customers: whole numbers, earned in lots that may expire, spent oldest lot first. Entries are added and never
-- changed; the balance of the account and what is left of the lots follow in the same transaction.

CREATE TABLE shared.loyalty_programs (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    points_valid_for interval,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT loyalty_programs_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT loyalty_programs_name_unique UNIQUE (tenant_id, name),
    CONSTRAINT loyalty_programs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT loyalty_programs_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT loyalty_programs_points_valid_for_check
        CHECK (points_valid_for BETWEEN interval '1 day' AND interval '1000 years')
);

COMMENT ON TABLE shared.loyalty_programs IS 'Programs in which customers collect points';
COMMENT ON COLUMN shared.loyalty_programs.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.loyalty_programs.id IS 'Identifies the program within its tenant';
COMMENT ON COLUMN shared.loyalty_programs.name IS 'What it is called';
COMMENT ON COLUMN shared.loyalty_programs.points_valid_for IS 'How long earned points are valid, NULL for ever';
COMMENT ON COLUMN shared.loyalty_programs.is_active IS 'False for a program that takes nobody new';
COMMENT ON COLUMN shared.loyalty_programs.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.loyalty_programs.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.loyalty_programs', 'loyalty', '{"not_personal": ["name"]}');

CREATE TABLE shared.loyalty_accounts (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    loyalty_program_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    points_balance bigint NOT NULL DEFAULT 0,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT loyalty_accounts_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT loyalty_accounts_customer_id_unique UNIQUE (tenant_id, customer_id, loyalty_program_id),
    CONSTRAINT loyalty_accounts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT loyalty_accounts_loyalty_program_id_fkey
        FOREIGN KEY (tenant_id, loyalty_program_id) REFERENCES shared.loyalty_programs (tenant_id, id),
    CONSTRAINT loyalty_accounts_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT loyalty_accounts_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT loyalty_accounts_points_balance_check CHECK (points_balance >= 0)
) WITH (fillfactor = 70);

CREATE INDEX idx_loyalty_accounts_loyalty_program_id ON shared.loyalty_accounts (tenant_id, loyalty_program_id);
CREATE INDEX idx_loyalty_accounts_created_by ON shared.loyalty_accounts (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

COMMENT ON TABLE shared.loyalty_accounts IS
    'The points of a customer in a program. Opened by shared.open_loyalty_account(), written by the triggers of the entries alone';
COMMENT ON COLUMN shared.loyalty_accounts.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.loyalty_accounts.id IS 'Identifies the account within its tenant';
COMMENT ON COLUMN shared.loyalty_accounts.loyalty_program_id IS 'The program';
COMMENT ON COLUMN shared.loyalty_accounts.customer_id IS 'Whose points they are';
COMMENT ON COLUMN shared.loyalty_accounts.points_balance IS
    'The sum of the entries, never below zero. Points that have expired are in it until thorbis.maintain() takes them off';
COMMENT ON COLUMN shared.loyalty_accounts.created_by IS 'The user who opened it, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.loyalty_accounts.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.loyalty_accounts.updated_at IS 'When the row last changed, set by a trigger';

-- The entries are the record. They stay after an erasure, about nobody who can be named.
SELECT thorbis.protect('shared.loyalty_accounts', 'loyalty', '{
    "actions": ["select"], "platform_actions": ["select"], "audit": false,
    "subject": {"kind": "customer", "column": "customer_id"}
}');

CREATE TABLE shared.loyalty_entries (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    loyalty_account_id uuid NOT NULL,
    type text NOT NULL,
    points bigint NOT NULL,
    shortfall bigint NOT NULL DEFAULT 0,
    balance_after bigint,
    expires_at timestamptz,
    reversed_entry_id uuid,
    reason text,
    document text,
    document_id uuid,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT loyalty_entries_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT loyalty_entries_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT loyalty_entries_loyalty_account_id_fkey
        FOREIGN KEY (tenant_id, loyalty_account_id) REFERENCES shared.loyalty_accounts (tenant_id, id),
    CONSTRAINT loyalty_entries_reversed_entry_id_fkey
        FOREIGN KEY (tenant_id, reversed_entry_id) REFERENCES shared.loyalty_entries (tenant_id, id),
    CONSTRAINT loyalty_entries_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT loyalty_entries_points_check CHECK (CASE type
        WHEN 'ACCUMULATE' THEN points > 0
        WHEN 'ACCUMULATE_PROMOTION' THEN points > 0
        WHEN 'REDEEM' THEN points < 0
        WHEN 'ADJUST' THEN points <> 0
        WHEN 'EXPIRE' THEN points < 0
        WHEN 'REVERSE_ACCUMULATE' THEN points <= 0
        WHEN 'REVERSE_REDEEM' THEN points > 0
        ELSE false END),
    CONSTRAINT loyalty_entries_shortfall_check CHECK (shortfall >= 0 AND (shortfall = 0 OR type = 'REVERSE_ACCUMULATE')),
    CONSTRAINT loyalty_entries_reversed_entry_id_check
        CHECK ((reversed_entry_id IS NOT NULL) = (type IN ('REVERSE_ACCUMULATE', 'REVERSE_REDEEM'))),
    CONSTRAINT loyalty_entries_expires_at_check CHECK (expires_at IS NULL OR points > 0),
    CONSTRAINT loyalty_entries_document_check CHECK ((document IS NULL) = (document_id IS NULL))
);

CREATE INDEX idx_loyalty_entries_loyalty_account_id
    ON shared.loyalty_entries (tenant_id, loyalty_account_id, recorded_at);
CREATE INDEX idx_loyalty_entries_reversed_entry_id ON shared.loyalty_entries (tenant_id, reversed_entry_id)
    WHERE reversed_entry_id IS NOT NULL;
CREATE INDEX idx_loyalty_entries_document_id ON shared.loyalty_entries (tenant_id, document_id)
    WHERE document_id IS NOT NULL;
CREATE INDEX idx_loyalty_entries_created_by ON shared.loyalty_entries (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER insert_loyalty_entries_balance
    BEFORE INSERT ON shared.loyalty_entries
    FOR EACH ROW EXECUTE FUNCTION @extschema@.apply_loyalty_entry();

CREATE TRIGGER insert_loyalty_entries_lots
    AFTER INSERT ON shared.loyalty_entries
    FOR EACH ROW EXECUTE FUNCTION @extschema@.apply_loyalty_lots();

CREATE TRIGGER write_loyalty_entries_append_only
    BEFORE UPDATE OR DELETE ON shared.loyalty_entries
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_loyalty_entries_append_only
    BEFORE TRUNCATE ON shared.loyalty_entries
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.loyalty_entries IS
    'Points earned and spent, never changed. Written by the functions alone, such as shared.earn_points(); account and lots follow in the same transaction';
COMMENT ON COLUMN shared.loyalty_entries.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.loyalty_entries.id IS 'Identifies the entry within its tenant';
COMMENT ON COLUMN shared.loyalty_entries.loyalty_account_id IS 'The account';
COMMENT ON COLUMN shared.loyalty_entries.type IS
    'ACCUMULATE, ACCUMULATE_PROMOTION, REDEEM, ADJUST; by the functions alone: EXPIRE, REVERSE_ACCUMULATE, REVERSE_REDEEM';
COMMENT ON COLUMN shared.loyalty_entries.points IS 'What it adds to the balance, below zero for what it takes';
COMMENT ON COLUMN shared.loyalty_entries.shortfall IS
    'Of earned points that had to be taken back: what could not be, because it was spent or has expired';
COMMENT ON COLUMN shared.loyalty_entries.balance_after IS 'What is in the account then, written by a trigger';
COMMENT ON COLUMN shared.loyalty_entries.expires_at IS 'When these points expire, by default as the program says';
COMMENT ON COLUMN shared.loyalty_entries.reversed_entry_id IS 'The entry that is taken back';
COMMENT ON COLUMN shared.loyalty_entries.reason IS 'Why: a word of the tenant''s own. No personal data';
COMMENT ON COLUMN shared.loyalty_entries.document IS 'The kind of document it belongs to, such as order';
COMMENT ON COLUMN shared.loyalty_entries.document_id IS 'The document it belongs to';
COMMENT ON COLUMN shared.loyalty_entries.recorded_at IS 'When it was done, written by a trigger';
COMMENT ON COLUMN shared.loyalty_entries.created_by IS 'The user who did it, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.loyalty_entries.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.loyalty_entries.updated_at IS 'When the row last changed: rows do not change';

SELECT thorbis.protect('shared.loyalty_entries', 'loyalty', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "loyalty_account_id", "through": "shared.loyalty_accounts"},
    "not_personal": ["type", "reason", "document"]
}');

CREATE TABLE shared.loyalty_lots (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    loyalty_account_id uuid NOT NULL,
    loyalty_entry_id uuid NOT NULL,
    points bigint NOT NULL,
    points_remaining bigint NOT NULL,
    earned_at timestamptz NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT loyalty_lots_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT loyalty_lots_loyalty_entry_id_unique UNIQUE (tenant_id, loyalty_entry_id),
    CONSTRAINT loyalty_lots_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT loyalty_lots_loyalty_account_id_fkey
        FOREIGN KEY (tenant_id, loyalty_account_id) REFERENCES shared.loyalty_accounts (tenant_id, id),
    CONSTRAINT loyalty_lots_loyalty_entry_id_fkey
        FOREIGN KEY (tenant_id, loyalty_entry_id) REFERENCES shared.loyalty_entries (tenant_id, id),
    CONSTRAINT loyalty_lots_points_check CHECK (points > 0),
    CONSTRAINT loyalty_lots_points_remaining_check CHECK (points_remaining BETWEEN 0 AND points)
) WITH (fillfactor = 70);

CREATE INDEX idx_loyalty_lots_open ON shared.loyalty_lots (tenant_id, loyalty_account_id, earned_at)
    WHERE points_remaining > 0;
CREATE INDEX idx_loyalty_lots_loyalty_account_id ON shared.loyalty_lots (tenant_id, loyalty_account_id);
CREATE INDEX idx_loyalty_lots_expires_at ON shared.loyalty_lots (expires_at) WHERE points_remaining > 0;

COMMENT ON TABLE shared.loyalty_lots IS 'Points that were earned together, and what is left of them. Written by triggers alone';
COMMENT ON COLUMN shared.loyalty_lots.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.loyalty_lots.id IS 'Identifies the lot within its tenant';
COMMENT ON COLUMN shared.loyalty_lots.loyalty_account_id IS 'The account';
COMMENT ON COLUMN shared.loyalty_lots.loyalty_entry_id IS 'The entry that made it';
COMMENT ON COLUMN shared.loyalty_lots.points IS 'How many there were';
COMMENT ON COLUMN shared.loyalty_lots.points_remaining IS 'How many are left';
COMMENT ON COLUMN shared.loyalty_lots.earned_at IS 'When they were earned: the oldest are spent first';
COMMENT ON COLUMN shared.loyalty_lots.expires_at IS 'From when on they cannot be spent any more, NULL for never';
COMMENT ON COLUMN shared.loyalty_lots.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.loyalty_lots.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.loyalty_lots', 'loyalty', '{
    "actions": ["select"], "platform_actions": ["select"], "audit": false,
    "subject": {"kind": "customer", "column": "loyalty_account_id", "through": "shared.loyalty_accounts"}
}');

CREATE TABLE shared.loyalty_lot_uses (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    loyalty_entry_id uuid NOT NULL,
    loyalty_lot_id uuid NOT NULL,
    points bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT loyalty_lot_uses_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT loyalty_lot_uses_loyalty_entry_id_unique UNIQUE (tenant_id, loyalty_entry_id, loyalty_lot_id),
    CONSTRAINT loyalty_lot_uses_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT loyalty_lot_uses_loyalty_entry_id_fkey
        FOREIGN KEY (tenant_id, loyalty_entry_id) REFERENCES shared.loyalty_entries (tenant_id, id),
    CONSTRAINT loyalty_lot_uses_loyalty_lot_id_fkey
        FOREIGN KEY (tenant_id, loyalty_lot_id) REFERENCES shared.loyalty_lots (tenant_id, id),
    CONSTRAINT loyalty_lot_uses_points_check CHECK (points > 0)
);

CREATE INDEX idx_loyalty_lot_uses_loyalty_lot_id ON shared.loyalty_lot_uses (tenant_id, loyalty_lot_id);

COMMENT ON TABLE shared.loyalty_lot_uses IS 'Which lots an entry took its points from. Written by triggers alone';
COMMENT ON COLUMN shared.loyalty_lot_uses.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.loyalty_lot_uses.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.loyalty_lot_uses.loyalty_entry_id IS 'The entry';
COMMENT ON COLUMN shared.loyalty_lot_uses.loyalty_lot_id IS 'The lot';
COMMENT ON COLUMN shared.loyalty_lot_uses.points IS 'How many it took of it';
COMMENT ON COLUMN shared.loyalty_lot_uses.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.loyalty_lot_uses.updated_at IS 'When the row last changed: rows do not change';

SELECT thorbis.protect('shared.loyalty_lot_uses', 'loyalty', '{
    "actions": ["select"], "platform_actions": ["select"], "audit": false,
    "subject": {"kind": "customer", "column": "loyalty_entry_id", "through": "shared.loyalty_entries"}
}');

CREATE FUNCTION shared.open_loyalty_account(customer_id uuid, loyalty_program_id uuid) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.open_loyalty_account(customer_id, loyalty_program_id) $function$;

CREATE FUNCTION shared.earn_points(loyalty_account_id uuid, points bigint, idempotency_key text DEFAULT NULL,
        document text DEFAULT NULL, document_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_loyalty_entry('ACCUMULATE', loyalty_account_id, points, NULL, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.spend_points(loyalty_account_id uuid, points bigint, idempotency_key text DEFAULT NULL,
        document text DEFAULT NULL, document_id uuid DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_loyalty_entry('REDEEM', loyalty_account_id, points, NULL, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.adjust_points(loyalty_account_id uuid, change bigint, reason text,
        idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.record_loyalty_entry('ADJUST', loyalty_account_id, change, reason, NULL, NULL, idempotency_key) $function$;

CREATE FUNCTION shared.reverse_points(loyalty_entry_id uuid, points bigint DEFAULT NULL,
        idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.reverse_loyalty_entry(loyalty_entry_id, points, idempotency_key) $function$;

COMMENT ON FUNCTION shared.open_loyalty_account(uuid, uuid) IS
    'The account of a customer in a program, opened when there is none. Needs loyalty:create. Returns loyalty_account_id';
COMMENT ON FUNCTION shared.earn_points(uuid, bigint, text, text, uuid) IS
    'Adds points, which expire as the program says. Needs loyalty:create. Returns entry_id and points_balance';
COMMENT ON FUNCTION shared.spend_points(uuid, bigint, text, text, uuid) IS
    'Spends points, the oldest first. Needs loyalty:redeem. 23514 when there are not enough that are valid. Returns entry_id and points_balance';
COMMENT ON FUNCTION shared.adjust_points(uuid, bigint, text, text) IS
    'Gives or takes points. Needs loyalty:adjust. Returns entry_id and points_balance';
COMMENT ON FUNCTION shared.reverse_points(uuid, bigint, text) IS
    'Takes back an entry, or so many points of it: earned points as far as they are still there, the rest is its shortfall; spent points in full. Needs loyalty:adjust. Returns entry_id, points_balance and shortfall';

DO $$
DECLARE f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['shared.open_loyalty_account(uuid, uuid)', 'shared.earn_points(uuid, bigint, text, text, uuid)',
        'shared.spend_points(uuid, bigint, text, text, uuid)', 'shared.adjust_points(uuid, bigint, text, text)',
        'shared.reverse_points(uuid, bigint, text)']::regprocedure[]
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO thorbis_app, thorbis_platform', f);
    END LOOP;
END $$;
