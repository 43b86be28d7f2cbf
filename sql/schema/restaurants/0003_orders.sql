-- Orders and their lines. The columns order_number to updated_at are those of the requirements document.

CREATE TABLE restaurants.orders (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    order_number integer NOT NULL,
    table_number integer,
    customer_id uuid,
    server_id uuid,
    order_type text NOT NULL DEFAULT 'dine_in',
    status text NOT NULL DEFAULT 'pending',
    items jsonb NOT NULL DEFAULT '[]',
    subtotal numeric(10,2) NOT NULL DEFAULT 0.00,
    tax_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    tip_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    discount_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    total_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    payment_method text,
    payment_status text DEFAULT 'pending',
    special_instructions text,
    estimated_ready_time timestamptz,
    served_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    location_id uuid,
    dining_table_id uuid,
    business_date date,
    guest_count smallint,
    source text NOT NULL DEFAULT 'pos',
    service_charge_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    refunded_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    promised_at timestamptz,
    opened_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    ready_at timestamptz,
    paid_at timestamptz,
    cancelled_at timestamptz,
    voided_at timestamptz,
    voided_by uuid,
    void_reason text,
    metadata jsonb DEFAULT '{}',
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    deleted_at timestamptz,
    CONSTRAINT orders_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT orders_order_number_unique UNIQUE (tenant_id, order_number),
    CONSTRAINT orders_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT orders_customer_id_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT orders_server_id_fkey FOREIGN KEY (tenant_id, server_id) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT orders_location_id_fkey FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT orders_dining_table_id_fkey
        FOREIGN KEY (tenant_id, dining_table_id) REFERENCES restaurants.dining_tables (tenant_id, id),
    CONSTRAINT orders_voided_by_fkey FOREIGN KEY (tenant_id, voided_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT orders_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT orders_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT orders_order_type_check CHECK (order_type IN ('dine_in', 'takeout', 'delivery', 'online')),
    CONSTRAINT orders_status_check
        CHECK (status IN ('pending', 'preparing', 'ready', 'served', 'paid', 'cancelled')),
    CONSTRAINT orders_order_number_check CHECK (order_number > 0),
    CONSTRAINT orders_guest_count_check CHECK (guest_count > 0),
    CONSTRAINT orders_items_check CHECK (jsonb_typeof(items) = 'array'),
    -- NaN is greater than every number to PostgreSQL.
    CONSTRAINT orders_subtotal_check CHECK (subtotal >= 0 AND subtotal < 'NaN'),
    CONSTRAINT orders_tax_amount_check CHECK (tax_amount >= 0 AND tax_amount < 'NaN'),
    CONSTRAINT orders_tip_amount_check CHECK (tip_amount >= 0 AND tip_amount < 'NaN'),
    CONSTRAINT orders_discount_amount_check CHECK (discount_amount >= 0 AND discount_amount < 'NaN'),
    CONSTRAINT orders_service_charge_amount_check CHECK (service_charge_amount >= 0 AND service_charge_amount < 'NaN'),
    CONSTRAINT orders_total_amount_check CHECK (total_amount >= 0 AND total_amount < 'NaN'),
    CONSTRAINT orders_refunded_amount_check CHECK (refunded_amount BETWEEN 0 AND total_amount),
    CONSTRAINT orders_void_reason_check CHECK (voided_at IS NULL OR coalesce(btrim(void_reason), '') <> ''),
    CONSTRAINT orders_row_version_check CHECK (row_version > 0)
);

CREATE INDEX idx_orders_tenant_created ON restaurants.orders (tenant_id, created_at DESC);
CREATE INDEX idx_orders_tenant_status ON restaurants.orders (tenant_id, status) WHERE deleted_at IS NULL;
CREATE INDEX idx_orders_tenant_business_date ON restaurants.orders (tenant_id, business_date);
CREATE INDEX idx_orders_customer_id ON restaurants.orders (tenant_id, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX idx_orders_server_id ON restaurants.orders (tenant_id, server_id) WHERE server_id IS NOT NULL;
CREATE INDEX idx_orders_location_id ON restaurants.orders (tenant_id, location_id) WHERE location_id IS NOT NULL;
CREATE INDEX idx_orders_dining_table_id ON restaurants.orders (tenant_id, dining_table_id)
    WHERE dining_table_id IS NOT NULL;
CREATE INDEX idx_orders_voided_by ON restaurants.orders (tenant_id, voided_by) WHERE voided_by IS NOT NULL;
CREATE INDEX idx_orders_created_by ON restaurants.orders (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_orders_updated_by ON restaurants.orders (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

CREATE TRIGGER insert_orders_number
    BEFORE INSERT ON restaurants.orders
    FOR EACH ROW EXECUTE FUNCTION @extschema@.assign_document_number('order_number', 'restaurants.orders');

CREATE TRIGGER write_orders_status
    BEFORE INSERT OR UPDATE ON restaurants.orders
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('restaurants.order');

CREATE TRIGGER write_orders_status_history
    AFTER INSERT OR UPDATE ON restaurants.orders
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('restaurants.order');

CREATE TRIGGER insert_orders_event
    AFTER INSERT ON restaurants.orders
    FOR EACH ROW EXECUTE FUNCTION
        @extschema@.write_outbox_event('restaurants.order', 'order_number', 'status', 'order_type', 'location_id');

CREATE TRIGGER update_orders_event
    AFTER UPDATE ON restaurants.orders
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION
        @extschema@.write_outbox_event('restaurants.order', 'order_number', 'status', 'order_type', 'location_id');

CREATE FUNCTION restaurants.check_early_payment(old jsonb, new jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    RETURN CASE new ->> 'order_type' WHEN 'dine_in' THEN 'guests at a table pay after they were served' END;
COMMENT ON FUNCTION restaurants.check_early_payment(jsonb, jsonb) IS
    'Guard of shared.state_transitions: only what is taken away, delivered or ordered online is paid before it is served';
REVOKE ALL ON FUNCTION restaurants.check_early_payment(jsonb, jsonb) FROM PUBLIC;

-- Paid is final: what is paid back is a refund. What the kitchen has begun is cancelled by whoever may void.
INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action, sets_column, guard) VALUES
    ('restaurants.order', '', 'pending', 'orders', 'create', NULL, NULL),
    ('restaurants.order', 'pending', 'preparing', 'orders', 'update', 'sent_at', NULL),
    ('restaurants.order', 'preparing', 'ready', 'orders', 'update', 'ready_at', NULL),
    ('restaurants.order', 'ready', 'preparing', 'orders', 'update', NULL, NULL),
    ('restaurants.order', 'ready', 'served', 'orders', 'update', 'served_at', NULL),
    ('restaurants.order', 'served', 'paid', 'orders', 'update', 'paid_at', NULL),
    ('restaurants.order', 'pending', 'paid', 'orders', 'update', 'paid_at', 'restaurants.check_early_payment'),
    ('restaurants.order', 'preparing', 'paid', 'orders', 'update', 'paid_at', 'restaurants.check_early_payment'),
    ('restaurants.order', 'ready', 'paid', 'orders', 'update', 'paid_at', 'restaurants.check_early_payment'),
    ('restaurants.order', 'pending', 'cancelled', 'orders', 'update', 'cancelled_at', NULL),
    ('restaurants.order', 'preparing', 'cancelled', 'orders', 'void', 'cancelled_at', NULL),
    ('restaurants.order', 'ready', 'cancelled', 'orders', 'void', 'cancelled_at', NULL);

COMMENT ON TABLE restaurants.orders IS
    'What guests ordered, from the first dish to the payment. All money in the currency of the tenant';
COMMENT ON COLUMN restaurants.orders.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.orders.id IS 'Identifies the order within its tenant';
COMMENT ON COLUMN restaurants.orders.order_number IS
    'Number of the order, counted for each tenant by a trigger when none is given';
COMMENT ON COLUMN restaurants.orders.table_number IS 'Number of the table, as the guest reads it';
COMMENT ON COLUMN restaurants.orders.customer_id IS 'The customer, NULL for a guest who is not known';
COMMENT ON COLUMN restaurants.orders.server_id IS 'The user who serves';
COMMENT ON COLUMN restaurants.orders.order_type IS 'dine_in, takeout, delivery or online';
COMMENT ON COLUMN restaurants.orders.status IS 'pending, preparing, ready, served, paid or cancelled';
COMMENT ON COLUMN restaurants.orders.items IS
    'The lines as a JSON array, for applications that keep them so. restaurants.order_items has them as rows';
COMMENT ON COLUMN restaurants.orders.subtotal IS 'Sum of the lines before discounts, charges, tax and tip';
COMMENT ON COLUMN restaurants.orders.tax_amount IS 'Tax on the order';
COMMENT ON COLUMN restaurants.orders.tip_amount IS 'What the guest gave freely';
COMMENT ON COLUMN restaurants.orders.discount_amount IS 'Discounts, as a positive amount';
COMMENT ON COLUMN restaurants.orders.total_amount IS
    'What is to be paid: subtotal less discounts, plus charges, added tax and tip';
COMMENT ON COLUMN restaurants.orders.payment_method IS 'How it is paid, such as cash or card';
COMMENT ON COLUMN restaurants.orders.payment_status IS 'How far the payment is, pending at first';
COMMENT ON COLUMN restaurants.orders.special_instructions IS 'What the guest asked for';
COMMENT ON COLUMN restaurants.orders.estimated_ready_time IS 'When the kitchen expects to be done';
COMMENT ON COLUMN restaurants.orders.served_at IS 'When it was served';
COMMENT ON COLUMN restaurants.orders.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.orders.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.orders.location_id IS 'The place, NULL for a tenant with a single one';
COMMENT ON COLUMN restaurants.orders.dining_table_id IS 'The table, NULL when nobody sits at one';
COMMENT ON COLUMN restaurants.orders.business_date IS
    'The date the sale counts for, NULL for the date of opened_at in the time zone of the tenant';
COMMENT ON COLUMN restaurants.orders.guest_count IS 'How many guests the order is for';
COMMENT ON COLUMN restaurants.orders.source IS
    'Where it came from, such as pos, kiosk, phone, web or a delivery service';
COMMENT ON COLUMN restaurants.orders.service_charge_amount IS
    'Charges the house makes, automatic gratuities included. Not a tip';
COMMENT ON COLUMN restaurants.orders.refunded_amount IS 'What was paid back, at most the total';
COMMENT ON COLUMN restaurants.orders.promised_at IS 'When the guest was told it would be ready';
COMMENT ON COLUMN restaurants.orders.opened_at IS
    'When the guest ordered, which precedes created_at for orders taken offline';
COMMENT ON COLUMN restaurants.orders.sent_at IS 'When the first dish went to the kitchen';
COMMENT ON COLUMN restaurants.orders.ready_at IS 'When the kitchen was done';
COMMENT ON COLUMN restaurants.orders.paid_at IS 'When it was paid in full';
COMMENT ON COLUMN restaurants.orders.cancelled_at IS 'When it was cancelled';
COMMENT ON COLUMN restaurants.orders.voided_at IS 'When it was voided: taken out of the sales with a reason';
COMMENT ON COLUMN restaurants.orders.voided_by IS 'The user who voided it';
COMMENT ON COLUMN restaurants.orders.void_reason IS 'Why it was voided, required with voided_at';
COMMENT ON COLUMN restaurants.orders.metadata IS 'Whatever else integrations keep about the order';
COMMENT ON COLUMN restaurants.orders.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN restaurants.orders.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.orders.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.orders.deleted_at IS 'When the order was soft-deleted, NULL while it is live';

-- What was sold, and why it was taken out of the sales, belongs to the books and outlives the person. What a guest
-- asked for can tell of an illness. Delivery services put names and addresses into metadata.
SELECT thorbis.protect('restaurants.orders', 'orders', '{
    "policies": {"select": "business_hours_access"},
    "business_hours": true,
    "subject": {"kind": "customer", "column": "customer_id"},
    "pii": [
        {"column": "special_instructions", "method": "clear", "category": "health"},
        {"column": "metadata", "method": "clear"}
    ],
    "not_personal": ["order_type", "status", "items", "payment_method", "payment_status", "source", "void_reason"]
}');

CREATE TABLE restaurants.order_items (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    order_id uuid NOT NULL,
    menu_item_id uuid,
    parent_item_id uuid,
    item_name text NOT NULL,
    unit_price numeric(10,2) NOT NULL,
    quantity numeric(10,3) NOT NULL DEFAULT 1,
    discount_amount numeric(10,2) NOT NULL DEFAULT 0.00,
    tax_category text NOT NULL DEFAULT 'standard',
    seat smallint,
    course smallint NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'new',
    special_instructions text,
    sort_order integer NOT NULL DEFAULT 0,
    fired_at timestamptz,
    started_at timestamptz,
    ready_at timestamptz,
    served_at timestamptz,
    voided_at timestamptz,
    void_reason text,
    comp_reason text,
    metadata jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT order_items_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT order_items_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT order_items_order_id_fkey
        FOREIGN KEY (tenant_id, order_id) REFERENCES restaurants.orders (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT order_items_menu_item_id_fkey
        FOREIGN KEY (tenant_id, menu_item_id) REFERENCES restaurants.menu_items (tenant_id, id),
    CONSTRAINT order_items_parent_item_id_fkey
        FOREIGN KEY (tenant_id, parent_item_id) REFERENCES restaurants.order_items (tenant_id, id),
    CONSTRAINT order_items_unit_price_check CHECK (unit_price >= 0 AND unit_price < 'NaN'),
    CONSTRAINT order_items_quantity_check CHECK (quantity > 0 AND quantity < 'NaN'),
    CONSTRAINT order_items_discount_amount_check CHECK (discount_amount >= 0 AND discount_amount < 'NaN'),
    CONSTRAINT order_items_seat_check CHECK (seat > 0),
    CONSTRAINT order_items_course_check CHECK (course > 0),
    CONSTRAINT order_items_parent_item_id_check CHECK (parent_item_id <> id),
    CONSTRAINT order_items_status_check
        CHECK (status IN ('new', 'held', 'sent', 'in_progress', 'ready', 'served', 'voided')),
    CONSTRAINT order_items_void_reason_check CHECK (voided_at IS NULL OR coalesce(btrim(void_reason), '') <> '')
);

CREATE INDEX idx_order_items_order_id ON restaurants.order_items (tenant_id, order_id);
CREATE INDEX idx_order_items_menu_item_id ON restaurants.order_items (tenant_id, menu_item_id)
    WHERE menu_item_id IS NOT NULL;
CREATE INDEX idx_order_items_parent_item_id ON restaurants.order_items (tenant_id, parent_item_id)
    WHERE parent_item_id IS NOT NULL;

COMMENT ON TABLE restaurants.order_items IS 'The lines of an order, with name and price as they were when ordered';
COMMENT ON COLUMN restaurants.order_items.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.order_items.id IS 'Identifies the line within its tenant';
COMMENT ON COLUMN restaurants.order_items.order_id IS 'The order it is a line of';
COMMENT ON COLUMN restaurants.order_items.menu_item_id IS 'The item on the menu, NULL for something that is not on it';
COMMENT ON COLUMN restaurants.order_items.parent_item_id IS
    'The line it goes with, such as the menu of a combined dish';
COMMENT ON COLUMN restaurants.order_items.item_name IS 'Name when ordered';
COMMENT ON COLUMN restaurants.order_items.unit_price IS 'Price of one when ordered, without modifiers';
COMMENT ON COLUMN restaurants.order_items.quantity IS 'How many, or how much of what is sold by weight';
COMMENT ON COLUMN restaurants.order_items.discount_amount IS 'Discount on this line, as a positive amount';
COMMENT ON COLUMN restaurants.order_items.tax_category IS 'Tax category when ordered';
COMMENT ON COLUMN restaurants.order_items.seat IS 'The seat at the table, counted from 1';
COMMENT ON COLUMN restaurants.order_items.course IS 'The course it is served with, counted from 1';
COMMENT ON COLUMN restaurants.order_items.status IS 'new, held, sent, in_progress, ready, served or voided';
COMMENT ON COLUMN restaurants.order_items.special_instructions IS 'What the guest asked for';
COMMENT ON COLUMN restaurants.order_items.sort_order IS 'Place in the order, lowest first';
COMMENT ON COLUMN restaurants.order_items.fired_at IS 'When it went to the kitchen';
COMMENT ON COLUMN restaurants.order_items.started_at IS 'When the kitchen began';
COMMENT ON COLUMN restaurants.order_items.ready_at IS 'When the kitchen was done';
COMMENT ON COLUMN restaurants.order_items.served_at IS 'When it was served';
COMMENT ON COLUMN restaurants.order_items.voided_at IS 'When it was taken back';
COMMENT ON COLUMN restaurants.order_items.void_reason IS 'Why it was taken back, required with voided_at';
COMMENT ON COLUMN restaurants.order_items.comp_reason IS 'Why it is on the house, NULL when it is not';
COMMENT ON COLUMN restaurants.order_items.metadata IS 'Whatever else integrations keep about the line';
COMMENT ON COLUMN restaurants.order_items.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.order_items.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('restaurants.order_items', 'orders', '{
    "business_hours": true,
    "subject": {"kind": "customer", "column": "order_id", "through": "restaurants.orders"},
    "pii": [
        {"column": "special_instructions", "method": "clear", "category": "health"},
        {"column": "metadata", "method": "clear"}
    ],
    "not_personal": ["item_name", "tax_category", "status", "void_reason", "comp_reason"]
}');

CREATE TABLE restaurants.order_item_modifiers (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    order_item_id uuid NOT NULL,
    modifier_id uuid,
    modifier_name text NOT NULL,
    unit_price numeric(10,2) NOT NULL DEFAULT 0.00,
    quantity numeric(10,3) NOT NULL DEFAULT 1,
    sort_order integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT order_item_modifiers_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT order_item_modifiers_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT order_item_modifiers_order_item_id_fkey
        FOREIGN KEY (tenant_id, order_item_id) REFERENCES restaurants.order_items (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT order_item_modifiers_modifier_id_fkey
        FOREIGN KEY (tenant_id, modifier_id) REFERENCES restaurants.modifiers (tenant_id, id),
    CONSTRAINT order_item_modifiers_unit_price_check CHECK (unit_price < 'NaN'),
    CONSTRAINT order_item_modifiers_quantity_check CHECK (quantity > 0 AND quantity < 'NaN')
);

CREATE INDEX idx_order_item_modifiers_order_item_id ON restaurants.order_item_modifiers (tenant_id, order_item_id);
CREATE INDEX idx_order_item_modifiers_modifier_id ON restaurants.order_item_modifiers (tenant_id, modifier_id)
    WHERE modifier_id IS NOT NULL;

COMMENT ON TABLE restaurants.order_item_modifiers IS
    'The choices made for a line, with name and price as they were when ordered';
COMMENT ON COLUMN restaurants.order_item_modifiers.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.order_item_modifiers.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN restaurants.order_item_modifiers.order_item_id IS 'The line the choice is for';
COMMENT ON COLUMN restaurants.order_item_modifiers.modifier_id IS 'The choice on the menu, NULL for a free request';
COMMENT ON COLUMN restaurants.order_item_modifiers.modifier_name IS 'Name when ordered';
COMMENT ON COLUMN restaurants.order_item_modifiers.unit_price IS
    'What one adds to the price of one item. Below zero it takes off';
COMMENT ON COLUMN restaurants.order_item_modifiers.quantity IS 'How many to each item';
COMMENT ON COLUMN restaurants.order_item_modifiers.sort_order IS 'Place on the line, lowest first';
COMMENT ON COLUMN restaurants.order_item_modifiers.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.order_item_modifiers.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('restaurants.order_item_modifiers', 'orders', '{
    "business_hours": true,
    "subject": {"kind": "customer", "column": "order_item_id", "through": "restaurants.order_items"},
    "not_personal": ["modifier_name"]
}');

INSERT INTO rbac.permissions (resource, action, description) VALUES
    ('orders', 'void', 'Take an order or a line out of the sales'),
    ('orders', 'discount', 'Give a discount, within the approval limit of the role'),
    ('orders', 'refund', 'Pay back, within the approval limit of the role'),
    ('orders', 'approve_refund', 'Approve what another user pays back');
