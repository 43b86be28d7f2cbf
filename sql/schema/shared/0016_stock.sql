-- Stock: what there is and where, and what of it is promised. shared.stock_balances follows the movements in the same
-- transaction and is nobody's to write.

CREATE TABLE shared.stock_items (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    sku text NOT NULL,
    name text NOT NULL,
    unit text NOT NULL DEFAULT 'each',
    is_active boolean NOT NULL DEFAULT true,
    row_version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_items_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_items_sku_unique UNIQUE (tenant_id, sku),
    CONSTRAINT stock_items_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_items_sku_check CHECK (btrim(sku) <> ''),
    CONSTRAINT stock_items_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT stock_items_unit_check CHECK (btrim(unit) <> '')
);

COMMENT ON TABLE shared.stock_items IS
    'What is kept in stock: goods, parts and ingredients alike. The tables of the industries point here';
COMMENT ON COLUMN shared.stock_items.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_items.id IS 'Identifies the item within its tenant';
COMMENT ON COLUMN shared.stock_items.sku IS 'The tenant''s own number of the item';
COMMENT ON COLUMN shared.stock_items.name IS 'What it is called';
COMMENT ON COLUMN shared.stock_items.unit IS 'What one of it is, such as each, kg or litre';
COMMENT ON COLUMN shared.stock_items.is_active IS 'False for what is no longer dealt in';
COMMENT ON COLUMN shared.stock_items.row_version IS 'For applications that check whether somebody else changed the row';
COMMENT ON COLUMN shared.stock_items.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_items.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.stock_items', 'stock', '{"not_personal": ["sku", "name", "unit"]}');

CREATE TABLE shared.stock_locations (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    location_id uuid,
    name text NOT NULL,
    kind text NOT NULL DEFAULT 'storage',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_locations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_locations_name_unique UNIQUE (tenant_id, name),
    CONSTRAINT stock_locations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_locations_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT stock_locations_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT stock_locations_kind_check
        CHECK (kind IN ('storage', 'in_transit', 'supplier', 'customer', 'waste', 'adjustment'))
);

CREATE INDEX idx_stock_locations_location_id ON shared.stock_locations (tenant_id, location_id)
    WHERE location_id IS NOT NULL;

COMMENT ON TABLE shared.stock_locations IS
    'Where stock is: shelves, trucks, what is on its way. And where it comes from and goes to: suppliers, customers, waste, corrections';
COMMENT ON COLUMN shared.stock_locations.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_locations.id IS 'Identifies the place within its tenant';
COMMENT ON COLUMN shared.stock_locations.location_id IS 'The site it is at, NULL for a truck or a place that is none';
COMMENT ON COLUMN shared.stock_locations.name IS 'What it is called';
COMMENT ON COLUMN shared.stock_locations.kind IS
    'storage or in_transit: has a balance that never falls below zero. supplier, customer, waste, adjustment: stand for what is outside, without a balance. Stays as it is';
COMMENT ON COLUMN shared.stock_locations.is_active IS 'False for a place that is no longer used';
COMMENT ON COLUMN shared.stock_locations.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_locations.updated_at IS 'When the row last changed, set by a trigger';

-- Another kind would make a balance of what has none.
SELECT thorbis.protect('shared.stock_locations', 'stock', '{
    "update_columns": ["location_id", "name", "is_active"],
    "not_personal": ["name", "kind"]
}');

CREATE TABLE shared.stock_balances (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    stock_item_id uuid NOT NULL,
    stock_location_id uuid NOT NULL,
    on_hand numeric(14,5) NOT NULL DEFAULT 0,
    reserved numeric(14,5) NOT NULL DEFAULT 0,
    incoming numeric(14,5) NOT NULL DEFAULT 0,
    counted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_balances_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_balances_stock_item_id_unique UNIQUE (tenant_id, stock_item_id, stock_location_id),
    CONSTRAINT stock_balances_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_balances_stock_item_id_fkey
        FOREIGN KEY (tenant_id, stock_item_id) REFERENCES shared.stock_items (tenant_id, id),
    CONSTRAINT stock_balances_stock_location_id_fkey
        FOREIGN KEY (tenant_id, stock_location_id) REFERENCES shared.stock_locations (tenant_id, id),
    -- NaN is greater than every number to PostgreSQL.
    CONSTRAINT stock_balances_on_hand_check CHECK (on_hand >= reserved AND on_hand < 'NaN'),
    CONSTRAINT stock_balances_reserved_check CHECK (reserved >= 0 AND reserved < 'NaN'),
    CONSTRAINT stock_balances_incoming_check CHECK (incoming >= 0 AND incoming < 'NaN')
) WITH (fillfactor = 70);

CREATE INDEX idx_stock_balances_stock_location_id ON shared.stock_balances (tenant_id, stock_location_id);

COMMENT ON TABLE shared.stock_balances IS
    'How much of an item is at a place: the sum of its movements. Written by the triggers of the movements alone';
COMMENT ON COLUMN shared.stock_balances.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_balances.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.stock_balances.stock_item_id IS 'The item';
COMMENT ON COLUMN shared.stock_balances.stock_location_id IS 'The place';
COMMENT ON COLUMN shared.stock_balances.on_hand IS 'How much is there, never less than what is reserved';
COMMENT ON COLUMN shared.stock_balances.reserved IS 'How much of it is held back by open reservations';
COMMENT ON COLUMN shared.stock_balances.incoming IS 'How much is announced to come by open reservations of direction in';
COMMENT ON COLUMN shared.stock_balances.counted_at IS
    'The moment of the last posted count: movements that happened until then are in it, so they change the balance no more';
COMMENT ON COLUMN shared.stock_balances.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_balances.updated_at IS 'When the row last changed, set by a trigger';

-- The movements are the record: a second one for each balance would be the same again.
SELECT thorbis.protect('shared.stock_balances', 'stock',
    '{"actions": ["select"], "platform_actions": ["select"], "audit": false}');

CREATE TABLE shared.stock_reservations (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    stock_item_id uuid NOT NULL,
    stock_location_id uuid NOT NULL,
    direction text NOT NULL DEFAULT 'out',
    quantity numeric(14,5) NOT NULL,
    fulfilled_quantity numeric(14,5) NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'open',
    expires_at timestamptz,
    document text,
    document_id uuid,
    closed_at timestamptz,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stock_reservations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT stock_reservations_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT stock_reservations_stock_item_id_fkey
        FOREIGN KEY (tenant_id, stock_item_id) REFERENCES shared.stock_items (tenant_id, id),
    CONSTRAINT stock_reservations_stock_location_id_fkey
        FOREIGN KEY (tenant_id, stock_location_id) REFERENCES shared.stock_locations (tenant_id, id),
    CONSTRAINT stock_reservations_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT stock_reservations_direction_check CHECK (direction IN ('out', 'in')),
    CONSTRAINT stock_reservations_quantity_check CHECK (quantity > 0 AND quantity < 'NaN'),
    CONSTRAINT stock_reservations_fulfilled_quantity_check CHECK (fulfilled_quantity BETWEEN 0 AND quantity),
    CONSTRAINT stock_reservations_status_check CHECK (status IN ('open', 'fulfilled', 'released', 'expired')),
    CONSTRAINT stock_reservations_closed_at_check CHECK ((status = 'open') = (closed_at IS NULL)),
    CONSTRAINT stock_reservations_document_check CHECK ((document IS NULL) = (document_id IS NULL))
);

CREATE INDEX idx_stock_reservations_open ON shared.stock_reservations
    (tenant_id, stock_item_id, stock_location_id, expires_at) WHERE status = 'open';
CREATE INDEX idx_stock_reservations_expires_at ON shared.stock_reservations (expires_at) WHERE status = 'open';
CREATE INDEX idx_stock_reservations_stock_item_id ON shared.stock_reservations (tenant_id, stock_item_id);
CREATE INDEX idx_stock_reservations_stock_location_id ON shared.stock_reservations (tenant_id, stock_location_id);
CREATE INDEX idx_stock_reservations_document_id ON shared.stock_reservations (tenant_id, document_id)
    WHERE document_id IS NOT NULL;
CREATE INDEX idx_stock_reservations_created_by ON shared.stock_reservations (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

COMMENT ON TABLE shared.stock_reservations IS
    'Stock that is promised, or announced. Made by shared.reserve_stock(), used up by movements that name it';
COMMENT ON COLUMN shared.stock_reservations.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.stock_reservations.id IS 'Identifies the reservation within its tenant';
COMMENT ON COLUMN shared.stock_reservations.stock_item_id IS 'The item';
COMMENT ON COLUMN shared.stock_reservations.stock_location_id IS 'Where it is held back, or will arrive';
COMMENT ON COLUMN shared.stock_reservations.direction IS 'out: held back for somebody. in: announced to come';
COMMENT ON COLUMN shared.stock_reservations.quantity IS 'How much';
COMMENT ON COLUMN shared.stock_reservations.fulfilled_quantity IS 'How much of it has been moved';
COMMENT ON COLUMN shared.stock_reservations.status IS 'open, fulfilled, released or expired';
COMMENT ON COLUMN shared.stock_reservations.expires_at IS 'From when on it holds nothing any more, NULL for never';
COMMENT ON COLUMN shared.stock_reservations.document IS 'The kind of document it is for, such as order';
COMMENT ON COLUMN shared.stock_reservations.document_id IS 'The document it is for';
COMMENT ON COLUMN shared.stock_reservations.closed_at IS 'When it was fulfilled, released or found expired';
COMMENT ON COLUMN shared.stock_reservations.created_by IS 'The user who reserved, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.stock_reservations.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.stock_reservations.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.stock_reservations', 'stock', '{
    "actions": ["select"], "platform_actions": ["select"], "not_personal": ["direction", "status", "document"]
}');
