-- Cash: a drawer is opened, money goes in and out, and it is counted when it is closed.

CREATE TABLE shared.cash_sessions (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    location_id uuid,
    drawer text NOT NULL,
    status text NOT NULL DEFAULT 'open',
    opening_amount numeric(12,2) NOT NULL DEFAULT 0,
    expected_amount numeric(12,2),
    counted_amount numeric(12,2),
    variance_amount numeric(12,2),
    opened_at timestamptz NOT NULL DEFAULT now(),
    opened_by uuid DEFAULT @extschema@.get_current_actor_id(),
    closed_at timestamptz,
    closed_by uuid,
    note text,
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT cash_sessions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT cash_sessions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT cash_sessions_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT cash_sessions_opened_by_fkey
        FOREIGN KEY (tenant_id, opened_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT cash_sessions_closed_by_fkey
        FOREIGN KEY (tenant_id, closed_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT cash_sessions_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT cash_sessions_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT cash_sessions_drawer_check CHECK (btrim(drawer) <> ''),
    CONSTRAINT cash_sessions_status_check CHECK (status IN ('open', 'closed')),
    CONSTRAINT cash_sessions_opening_amount_check CHECK (opening_amount >= 0),
    CONSTRAINT cash_sessions_counted_amount_check CHECK (counted_amount >= 0),
    CONSTRAINT cash_sessions_closed_at_check CHECK ((status = 'closed') = (closed_at IS NOT NULL)
        AND (status = 'closed') = (counted_amount IS NOT NULL) AND (status = 'closed') = (expected_amount IS NOT NULL)),
    CONSTRAINT cash_sessions_variance_amount_check CHECK (variance_amount IS NOT DISTINCT FROM counted_amount - expected_amount)
);

CREATE UNIQUE INDEX idx_cash_sessions_open ON shared.cash_sessions (tenant_id, location_id, drawer) NULLS NOT DISTINCT
    WHERE closed_at IS NULL;
CREATE INDEX idx_cash_sessions_location_id ON shared.cash_sessions (tenant_id, location_id)
    WHERE location_id IS NOT NULL;
CREATE INDEX idx_cash_sessions_opened_by ON shared.cash_sessions (tenant_id, opened_by) WHERE opened_by IS NOT NULL;
CREATE INDEX idx_cash_sessions_closed_by ON shared.cash_sessions (tenant_id, closed_by) WHERE closed_by IS NOT NULL;
CREATE INDEX idx_cash_sessions_created_by ON shared.cash_sessions (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_cash_sessions_updated_by ON shared.cash_sessions (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_cash_sessions_freeze
    BEFORE UPDATE OR DELETE ON shared.cash_sessions
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_cash_sessions_append_only
    BEFORE TRUNCATE ON shared.cash_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.cash_sessions IS
    'From the opening of a drawer to its count. A drawer has one open session at most; a closed one never changes';
COMMENT ON COLUMN shared.cash_sessions.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.cash_sessions.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.cash_sessions.location_id IS 'The place of the drawer, NULL for a tenant with a single one';
COMMENT ON COLUMN shared.cash_sessions.drawer IS 'Name of the drawer';
COMMENT ON COLUMN shared.cash_sessions.status IS 'open or closed';
COMMENT ON COLUMN shared.cash_sessions.opening_amount IS 'What was in it when it was opened';
COMMENT ON COLUMN shared.cash_sessions.expected_amount IS
    'What should have been in it when it was closed: what it opened with and its movements';
COMMENT ON COLUMN shared.cash_sessions.counted_amount IS 'What was counted';
COMMENT ON COLUMN shared.cash_sessions.variance_amount IS 'Counted less expected: below zero money is missing';
COMMENT ON COLUMN shared.cash_sessions.opened_at IS 'When it was opened';
COMMENT ON COLUMN shared.cash_sessions.opened_by IS 'The user who opened it';
COMMENT ON COLUMN shared.cash_sessions.closed_at IS 'When it was closed, NULL while it is open';
COMMENT ON COLUMN shared.cash_sessions.closed_by IS 'The user who counted';
COMMENT ON COLUMN shared.cash_sessions.note IS 'What was said about the count';
COMMENT ON COLUMN shared.cash_sessions.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN shared.cash_sessions.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.cash_sessions.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.cash_sessions.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.cash_sessions.updated_at IS 'When the row last changed, set by a trigger';

-- What is said about a count can be about the user who had the drawer.
SELECT thorbis.protect('shared.cash_sessions', 'cash', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "user", "column": "opened_by"},
    "pii": [{"column": "note", "method": "clear"}],
    "not_personal": ["drawer", "status"]
}');

CREATE TABLE shared.cash_movements (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    cash_session_id uuid NOT NULL,
    kind text NOT NULL,
    amount numeric(12,2) NOT NULL,
    payment_id uuid,
    refund_id uuid,
    reason text,
    idempotency_key text,
    request_hash bytea,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT cash_movements_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT cash_movements_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT cash_movements_cash_session_id_fkey
        FOREIGN KEY (tenant_id, cash_session_id) REFERENCES shared.cash_sessions (tenant_id, id),
    CONSTRAINT cash_movements_payment_id_fkey
        FOREIGN KEY (tenant_id, payment_id) REFERENCES shared.payments (tenant_id, id),
    CONSTRAINT cash_movements_refund_id_fkey
        FOREIGN KEY (tenant_id, refund_id) REFERENCES shared.refunds (tenant_id, id),
    CONSTRAINT cash_movements_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT cash_movements_idempotency_key_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT cash_movements_idempotency_key_check CHECK (
        length(idempotency_key) >= 1 AND length(idempotency_key) <= 200
        AND (idempotency_key IS NULL) = (request_hash IS NULL)),
    CONSTRAINT cash_movements_kind_check CHECK (kind IN ('sale', 'refund', 'pay_in', 'pay_out', 'drop')),
    CONSTRAINT cash_movements_amount_check CHECK (amount <> 0 AND (amount > 0) = (kind IN ('sale', 'pay_in'))),
    CONSTRAINT cash_movements_payment_id_check CHECK ((kind = 'sale') = (payment_id IS NOT NULL) AND (kind = 'refund') = (refund_id IS NOT NULL)),
    CONSTRAINT cash_movements_reason_check CHECK (kind IN ('sale', 'refund') OR coalesce(btrim(reason), '') <> '')
);

CREATE INDEX idx_cash_movements_cash_session_id ON shared.cash_movements (tenant_id, cash_session_id);
CREATE INDEX idx_cash_movements_payment_id ON shared.cash_movements (tenant_id, payment_id)
    WHERE payment_id IS NOT NULL;
CREATE INDEX idx_cash_movements_refund_id ON shared.cash_movements (tenant_id, refund_id) WHERE refund_id IS NOT NULL;
CREATE INDEX idx_cash_movements_created_by ON shared.cash_movements (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER insert_cash_movements_session
    BEFORE INSERT ON shared.cash_movements
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_cash_session();

CREATE TRIGGER write_cash_movements_freeze
    BEFORE UPDATE OR DELETE ON shared.cash_movements
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_cash_movements_append_only
    BEFORE TRUNCATE ON shared.cash_movements
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.cash_movements IS 'Money that went into an open drawer, or out of it with a sign';
COMMENT ON COLUMN shared.cash_movements.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.cash_movements.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.cash_movements.cash_session_id IS 'The session it belongs to';
COMMENT ON COLUMN shared.cash_movements.kind IS 'sale, refund, pay_in, pay_out or drop (to the safe)';
COMMENT ON COLUMN shared.cash_movements.amount IS 'How much, below zero for what goes out';
COMMENT ON COLUMN shared.cash_movements.payment_id IS 'The payment in cash, for a sale';
COMMENT ON COLUMN shared.cash_movements.refund_id IS 'What was paid back in cash, for a refund';
COMMENT ON COLUMN shared.cash_movements.reason IS 'Why, required for what is no sale and no refund';
COMMENT ON COLUMN shared.cash_movements.idempotency_key IS 'Key of the request: the same again moves nothing';
COMMENT ON COLUMN shared.cash_movements.request_hash IS 'SHA-256 of the request';
COMMENT ON COLUMN shared.cash_movements.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.cash_movements.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.cash_movements.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.cash_movements', 'cash', '{
    "actions": ["select"], "platform_actions": ["select"],
    "not_personal": ["kind", "reason", "idempotency_key"]
}');

CREATE FUNCTION shared.open_cash_session(drawer text, opening_amount numeric, location_id uuid DEFAULT NULL) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.open_cash_session(drawer, opening_amount, location_id)
$function$;

COMMENT ON FUNCTION shared.open_cash_session(text, numeric, uuid) IS
    'Opens a drawer with what is in it and returns the key of the session. Open already: 23505. Needs cash:create';
REVOKE ALL ON FUNCTION shared.open_cash_session(text, numeric, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.open_cash_session(text, numeric, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.record_cash_movement(cash_session_id uuid, kind text, amount numeric, reason text, idempotency_key text) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.record_cash_movement(jsonb_strip_nulls(jsonb_build_object('cash_session_id', $1, 'kind', $2,
    'amount', trim_scale($3)::text, 'reason', $4, 'idempotency_key', $5)))
$function$;

COMMENT ON FUNCTION shared.record_cash_movement(uuid, text, numeric, text, text) IS
    'Money into a drawer (pay_in) or out of it (pay_out, drop: below zero), with a reason, and the key of the movement. Only while the session is open (55000), and never more out than should be in the drawer (23514). The same key again: the same movement. Needs cash:update';
REVOKE ALL ON FUNCTION shared.record_cash_movement(uuid, text, numeric, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.record_cash_movement(uuid, text, numeric, text, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.close_cash_session(cash_session_id uuid, counted_amount numeric, note text DEFAULT NULL) RETURNS numeric
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.close_cash_session(cash_session_id, counted_amount, note) * 0.01
$function$;

COMMENT ON FUNCTION shared.close_cash_session(uuid, numeric, text) IS
    'Closes a drawer with what was counted and returns the variance: below zero money is missing. Closed already: 55000. Needs cash:update';
REVOKE ALL ON FUNCTION shared.close_cash_session(uuid, numeric, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.close_cash_session(uuid, numeric, text) TO thorbis_app, thorbis_platform;
