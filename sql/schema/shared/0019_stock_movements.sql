-- Stock: every movement from one place to another, and counts. Quantities are never made or lost: what comes from outside
-- comes from a place that stands for it, what leaves goes to one. Movements are added and never changed.

CREATE TABLE shared.stock_counts (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    stock_location_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'draft',
    counted_at timestamptz,
    posted_at timestamptz,
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_counts_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_counts_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_counts_stock_location_id_fkey
        FOREIGN KEY (tenant_id, stock_location_id) REFERENCES shared.stock_locations (tenant_id, id),
    CONSTRAINT stock_counts_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT stock_counts_status_check CHECK (status IN ('draft', 'counting', 'review', 'posted', 'cancelled')),
    CONSTRAINT stock_counts_counted_at_check CHECK (isfinite(counted_at)),
    CONSTRAINT stock_counts_posted_at_check
        CHECK ((status = 'posted') = (posted_at IS NOT NULL) AND (status <> 'posted' OR counted_at IS NOT NULL))
);

CREATE INDEX idx_stock_counts_stock_location_id ON shared.stock_counts (tenant_id, stock_location_id);
CREATE INDEX idx_stock_counts_created_by ON shared.stock_counts (tenant_id, created_by) WHERE created_by IS NOT NULL;

CREATE TRIGGER write_stock_counts_posted
    BEFORE UPDATE ON shared.stock_counts
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_posted_count();

CREATE TRIGGER write_stock_counts_status
    BEFORE INSERT OR UPDATE ON shared.stock_counts
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('stock_count');

CREATE TRIGGER write_stock_counts_status_history
    AFTER INSERT OR UPDATE ON shared.stock_counts
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('stock_count');

-- shared.post_stock_count() alone posts.
INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action, sets_column) VALUES
    ('stock_count', '', 'draft', 'stock', 'create', NULL),
    ('stock_count', 'draft', 'counting', 'stock', 'adjust', NULL),
    ('stock_count', 'counting', 'review', 'stock', 'adjust', NULL),
    ('stock_count', 'review', 'counting', 'stock', 'adjust', NULL),
    ('stock_count', 'counting', 'posted', NULL, NULL, 'posted_at'),
    ('stock_count', 'review', 'posted', NULL, NULL, 'posted_at'),
    ('stock_count', 'draft', 'cancelled', 'stock', 'adjust', NULL),
    ('stock_count', 'counting', 'cancelled', 'stock', 'adjust', NULL),
    ('stock_count', 'review', 'cancelled', 'stock', 'adjust', NULL);

COMMENT ON TABLE shared.stock_counts IS
    'Counts of what is really there. shared.post_stock_count() corrects the balances by movements and makes the count a checkpoint';
COMMENT ON COLUMN shared.stock_counts.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_counts.id IS 'Identifies the count within its tenant';
COMMENT ON COLUMN shared.stock_counts.stock_location_id IS 'Where was counted';
COMMENT ON COLUMN shared.stock_counts.status IS 'draft, counting, review, posted or cancelled';
COMMENT ON COLUMN shared.stock_counts.counted_at IS
    'The moment for which the counted quantities are true, NULL until then. By default the moment of posting';
COMMENT ON COLUMN shared.stock_counts.posted_at IS 'When it was posted, NULL until then';
COMMENT ON COLUMN shared.stock_counts.row_version IS 'For applications that check whether somebody else changed the row';
COMMENT ON COLUMN shared.stock_counts.created_by IS 'The user who began it, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.stock_counts.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_counts.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.stock_counts', 'stock', '{
    "actions": ["select", "insert", "update"], "update_columns": ["status", "counted_at"], "not_personal": ["status"]
}');

CREATE TABLE shared.stock_count_lines (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    stock_count_id uuid NOT NULL,
    stock_item_id uuid NOT NULL,
    counted_quantity numeric(14,5) NOT NULL,
    expected_quantity numeric(14,5),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_count_lines_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_count_lines_stock_count_id_unique UNIQUE (tenant_id, stock_count_id, stock_item_id),
    CONSTRAINT stock_count_lines_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_count_lines_stock_count_id_fkey
        FOREIGN KEY (tenant_id, stock_count_id) REFERENCES shared.stock_counts (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT stock_count_lines_stock_item_id_fkey
        FOREIGN KEY (tenant_id, stock_item_id) REFERENCES shared.stock_items (tenant_id, id),
    CONSTRAINT stock_count_lines_counted_quantity_check CHECK (counted_quantity >= 0 AND counted_quantity < 'NaN')
);

CREATE INDEX idx_stock_count_lines_stock_item_id ON shared.stock_count_lines (tenant_id, stock_item_id);

CREATE TRIGGER write_stock_count_lines_posted
    BEFORE INSERT OR UPDATE OR DELETE ON shared.stock_count_lines
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_posted_count();

COMMENT ON TABLE shared.stock_count_lines IS 'What was counted of each item. Fixed once the count is posted';
COMMENT ON COLUMN shared.stock_count_lines.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_count_lines.id IS 'Identifies the line within its tenant';
COMMENT ON COLUMN shared.stock_count_lines.stock_count_id IS 'The count it is a line of';
COMMENT ON COLUMN shared.stock_count_lines.stock_item_id IS 'The item';
COMMENT ON COLUMN shared.stock_count_lines.counted_quantity IS 'How much was there';
COMMENT ON COLUMN shared.stock_count_lines.expected_quantity IS
    'How much there should have been at that moment, written when the count is posted. NULL until then, and where a later count was posted before this one';
COMMENT ON COLUMN shared.stock_count_lines.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_count_lines.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.stock_count_lines', 'stock', '{"update_columns": ["counted_quantity"]}');

CREATE TABLE shared.stock_movements (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    stock_item_id uuid NOT NULL,
    from_location_id uuid NOT NULL,
    to_location_id uuid NOT NULL,
    quantity numeric(14,5) NOT NULL,
    unit_cost numeric(14,5),
    reason text NOT NULL,
    document text,
    document_id uuid,
    stock_reservation_id uuid,
    stock_count_id uuid,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    from_balance_after numeric(14,5),
    to_balance_after numeric(14,5),
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_movements_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_movements_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_movements_stock_item_id_fkey
        FOREIGN KEY (tenant_id, stock_item_id) REFERENCES shared.stock_items (tenant_id, id),
    CONSTRAINT stock_movements_from_location_id_fkey
        FOREIGN KEY (tenant_id, from_location_id) REFERENCES shared.stock_locations (tenant_id, id),
    CONSTRAINT stock_movements_to_location_id_fkey
        FOREIGN KEY (tenant_id, to_location_id) REFERENCES shared.stock_locations (tenant_id, id),
    CONSTRAINT stock_movements_stock_reservation_id_fkey
        FOREIGN KEY (tenant_id, stock_reservation_id) REFERENCES shared.stock_reservations (tenant_id, id),
    CONSTRAINT stock_movements_stock_count_id_fkey
        FOREIGN KEY (tenant_id, stock_count_id) REFERENCES shared.stock_counts (tenant_id, id),
    CONSTRAINT stock_movements_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT stock_movements_occurred_at_check CHECK (isfinite(occurred_at)),
    CONSTRAINT stock_movements_quantity_check CHECK (quantity > 0 AND quantity < 'NaN'),
    CONSTRAINT stock_movements_unit_cost_check CHECK (unit_cost >= 0 AND unit_cost < 'NaN'),
    CONSTRAINT stock_movements_to_location_id_check CHECK (to_location_id <> from_location_id),
    CONSTRAINT stock_movements_reason_check CHECK (reason IN ('opening', 'purchase', 'sale', 'return', 'transfer',
        'consumption', 'production', 'waste', 'adjustment', 'count')),
    CONSTRAINT stock_movements_document_check CHECK ((document IS NULL) = (document_id IS NULL))
);

CREATE INDEX idx_stock_movements_stock_item_id ON shared.stock_movements (tenant_id, stock_item_id, occurred_at);
CREATE INDEX idx_stock_movements_from_location_id ON shared.stock_movements (tenant_id, from_location_id, occurred_at);
CREATE INDEX idx_stock_movements_to_location_id ON shared.stock_movements (tenant_id, to_location_id, occurred_at);
CREATE INDEX idx_stock_movements_document_id ON shared.stock_movements (tenant_id, document_id)
    WHERE document_id IS NOT NULL;
CREATE INDEX idx_stock_movements_stock_reservation_id ON shared.stock_movements (tenant_id, stock_reservation_id)
    WHERE stock_reservation_id IS NOT NULL;
CREATE INDEX idx_stock_movements_stock_count_id ON shared.stock_movements (tenant_id, stock_count_id)
    WHERE stock_count_id IS NOT NULL;
CREATE INDEX idx_stock_movements_created_by ON shared.stock_movements (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER insert_stock_movements_balance
    BEFORE INSERT ON shared.stock_movements
    FOR EACH ROW EXECUTE FUNCTION @extschema@.apply_stock_movement();

CREATE TRIGGER write_stock_movements_append_only
    BEFORE UPDATE OR DELETE ON shared.stock_movements
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_stock_movements_append_only
    BEFORE TRUNCATE ON shared.stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.stock_movements IS
    'Every movement of stock from one place to another, never changed. Written by shared.post_stock_movements() and shared.post_stock_count() alone, which lock in one order; the balances follow in the same transaction, also when a superuser imports rows';
COMMENT ON COLUMN shared.stock_movements.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_movements.id IS 'Identifies the movement within its tenant';
COMMENT ON COLUMN shared.stock_movements.stock_item_id IS 'The item';
COMMENT ON COLUMN shared.stock_movements.from_location_id IS 'Where it leaves';
COMMENT ON COLUMN shared.stock_movements.to_location_id IS 'Where it arrives';
COMMENT ON COLUMN shared.stock_movements.quantity IS 'How much, above zero. Back is a movement in the other direction';
COMMENT ON COLUMN shared.stock_movements.unit_cost IS 'What one cost at that time, NULL when nobody said';
COMMENT ON COLUMN shared.stock_movements.reason IS
    'opening, purchase, sale, return, transfer, consumption, production, waste, adjustment or count';
COMMENT ON COLUMN shared.stock_movements.document IS 'The kind of document that caused it, such as order';
COMMENT ON COLUMN shared.stock_movements.document_id IS 'The document that caused it';
COMMENT ON COLUMN shared.stock_movements.stock_reservation_id IS 'The reservation it uses up';
COMMENT ON COLUMN shared.stock_movements.stock_count_id IS 'The count it corrects the balance to';
COMMENT ON COLUMN shared.stock_movements.occurred_at IS
    'When it happened, by default now: earlier for a till that was offline';
COMMENT ON COLUMN shared.stock_movements.recorded_at IS 'When it was recorded, written by a trigger';
COMMENT ON COLUMN shared.stock_movements.from_balance_after IS
    'What is left where it leaves, written by a trigger. NULL where there is no balance, or a posted count had it already';
COMMENT ON COLUMN shared.stock_movements.to_balance_after IS
    'What there is then where it arrives, written by a trigger. NULL as for from_balance_after';
COMMENT ON COLUMN shared.stock_movements.created_by IS 'The user who recorded it, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.stock_movements.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_movements.updated_at IS 'When the row last changed: rows do not change';

SELECT thorbis.protect('shared.stock_movements', 'stock', '{
    "actions": ["select"], "platform_actions": ["select"], "not_personal": ["reason", "document"]
}');

CREATE FUNCTION shared.post_stock_movements(lines jsonb, idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.post_stock_movements(lines, idempotency_key) $function$;

CREATE FUNCTION shared.reserve_stock(stock_item_id uuid, stock_location_id uuid, quantity numeric,
        expires_at timestamptz DEFAULT NULL, direction text DEFAULT 'out', document text DEFAULT NULL,
        document_id uuid DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.reserve_stock(stock_item_id, stock_location_id, quantity, expires_at, direction, document, document_id, idempotency_key) $function$;

CREATE FUNCTION shared.release_stock_reservation(stock_reservation_id uuid) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.release_stock_reservation(stock_reservation_id) $function$;

CREATE FUNCTION shared.post_stock_count(stock_count_id uuid, idempotency_key text DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.post_stock_count(stock_count_id, idempotency_key) $function$;

COMMENT ON FUNCTION shared.post_stock_movements(jsonb, text) IS
    'Moves stock, all lines or none: a JSON array of objects with stock_item_id, from_location_id, to_location_id, quantity, reason and, as needed, unit_cost, document, document_id, stock_reservation_id, occurred_at. Needs stock:move, and stock:adjust for waste, for adjustment, and for what occurred before a posted count, which changes that balance no more. 23514 when there is not enough. Returns movement_ids';
COMMENT ON FUNCTION shared.reserve_stock(uuid, uuid, numeric, timestamptz, text, text, uuid, text) IS
    'Holds stock back until expires_at, or with direction in announces it. Needs stock:move. 23514 when there is not enough. Returns reservation_id';
COMMENT ON FUNCTION shared.release_stock_reservation(uuid) IS
    'Sets free what a reservation still holds. Needs stock:move. Done twice it is done once';
COMMENT ON FUNCTION shared.post_stock_count(uuid, text) IS
    'Corrects the balances to what was counted and makes the count their checkpoint. Needs stock:adjust. Returns counted_at and how many corrections there were';

DO $$
DECLARE f regprocedure;
BEGIN
    FOREACH f IN ARRAY ARRAY['shared.post_stock_movements(jsonb, text)',
        'shared.reserve_stock(uuid, uuid, numeric, timestamptz, text, text, uuid, text)',
        'shared.release_stock_reservation(uuid)', 'shared.post_stock_count(uuid, text)']::regprocedure[]
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO thorbis_app, thorbis_platform', f);
    END LOOP;
END $$;
