-- Where dishes are made, and what each place has to make.

CREATE TABLE restaurants.kitchen_stations (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    location_id uuid,
    name text NOT NULL,
    kind text NOT NULL DEFAULT 'prep',
    categories text[] NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    sort_order integer NOT NULL DEFAULT 0,
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT kitchen_stations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT kitchen_stations_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT kitchen_stations_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT kitchen_stations_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT kitchen_stations_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT kitchen_stations_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT kitchen_stations_kind_check CHECK (kind IN ('prep', 'expo'))
);

CREATE UNIQUE INDEX idx_kitchen_stations_tenant_name ON restaurants.kitchen_stations (tenant_id, location_id, name)
    NULLS NOT DISTINCT WHERE deleted_at IS NULL;
CREATE INDEX idx_kitchen_stations_location_id ON restaurants.kitchen_stations (tenant_id, location_id)
    WHERE location_id IS NOT NULL;
CREATE INDEX idx_kitchen_stations_created_by ON restaurants.kitchen_stations (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_kitchen_stations_updated_by ON restaurants.kitchen_stations (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE restaurants.kitchen_stations IS
    'Places in the kitchen with a screen or a printer of their own, such as the grill';
COMMENT ON COLUMN restaurants.kitchen_stations.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.kitchen_stations.id IS 'Identifies the station within its tenant';
COMMENT ON COLUMN restaurants.kitchen_stations.location_id IS
    'The place it is in, NULL for a tenant with a single place';
COMMENT ON COLUMN restaurants.kitchen_stations.name IS
    'Name of the station, unique among the live stations of its location';
COMMENT ON COLUMN restaurants.kitchen_stations.kind IS 'prep where dishes are made, expo where they are put together';
COMMENT ON COLUMN restaurants.kitchen_stations.categories IS 'Menu categories whose items go to this station';
COMMENT ON COLUMN restaurants.kitchen_stations.is_active IS 'False while the station takes no tickets';
COMMENT ON COLUMN restaurants.kitchen_stations.sort_order IS 'Place in lists, lowest first';
COMMENT ON COLUMN restaurants.kitchen_stations.metadata IS 'Whatever else integrations keep about the station';
COMMENT ON COLUMN restaurants.kitchen_stations.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.kitchen_stations.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.kitchen_stations.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.kitchen_stations.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.kitchen_stations.deleted_at IS 'When the station was soft-deleted, NULL while it is live';

SELECT thorbis.protect('restaurants.kitchen_stations', 'kitchen', '{
    "not_personal": ["name", "kind", "categories", "metadata"]
}');

CREATE TABLE restaurants.kitchen_tickets (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    kitchen_station_id uuid NOT NULL,
    order_id uuid NOT NULL,
    course smallint NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'queued',
    queued_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ready_at timestamptz,
    bumped_at timestamptz,
    recalled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT kitchen_tickets_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT kitchen_tickets_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT kitchen_tickets_kitchen_station_id_fkey
        FOREIGN KEY (tenant_id, kitchen_station_id) REFERENCES restaurants.kitchen_stations (tenant_id, id),
    CONSTRAINT kitchen_tickets_order_id_fkey
        FOREIGN KEY (tenant_id, order_id) REFERENCES restaurants.orders (tenant_id, id),
    CONSTRAINT kitchen_tickets_course_check CHECK (course > 0),
    CONSTRAINT kitchen_tickets_status_check CHECK (status IN ('queued', 'started', 'ready', 'bumped', 'recalled'))
);

CREATE INDEX idx_kitchen_tickets_queue ON restaurants.kitchen_tickets (tenant_id, kitchen_station_id, queued_at)
    WHERE status <> 'bumped';
CREATE INDEX idx_kitchen_tickets_kitchen_station_id ON restaurants.kitchen_tickets (tenant_id, kitchen_station_id);
CREATE INDEX idx_kitchen_tickets_order_id ON restaurants.kitchen_tickets (tenant_id, order_id);

COMMENT ON TABLE restaurants.kitchen_tickets IS 'What one station has to make for one course of an order';
COMMENT ON COLUMN restaurants.kitchen_tickets.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.kitchen_tickets.id IS 'Identifies the ticket within its tenant';
COMMENT ON COLUMN restaurants.kitchen_tickets.kitchen_station_id IS 'The station that makes it';
COMMENT ON COLUMN restaurants.kitchen_tickets.order_id IS
    'The order it is for. An order with tickets cannot be deleted, only soft-deleted';
COMMENT ON COLUMN restaurants.kitchen_tickets.course IS 'The course, counted from 1';
COMMENT ON COLUMN restaurants.kitchen_tickets.status IS
    'queued, started, ready, bumped (gone from the screen) or recalled';
COMMENT ON COLUMN restaurants.kitchen_tickets.queued_at IS 'When it came to the station';
COMMENT ON COLUMN restaurants.kitchen_tickets.started_at IS 'When the station began';
COMMENT ON COLUMN restaurants.kitchen_tickets.ready_at IS 'When the station was done';
COMMENT ON COLUMN restaurants.kitchen_tickets.bumped_at IS 'When it left the screen';
COMMENT ON COLUMN restaurants.kitchen_tickets.recalled_at IS 'When it was brought back';
COMMENT ON COLUMN restaurants.kitchen_tickets.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.kitchen_tickets.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('restaurants.kitchen_tickets', 'kitchen', '{"not_personal": ["status"]}');

CREATE TABLE restaurants.kitchen_ticket_items (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    kitchen_ticket_id uuid NOT NULL,
    order_item_id uuid NOT NULL,
    quantity numeric(10,3) NOT NULL,
    started_at timestamptz,
    ready_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT kitchen_ticket_items_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT kitchen_ticket_items_order_item_id_unique UNIQUE (tenant_id, kitchen_ticket_id, order_item_id),
    CONSTRAINT kitchen_ticket_items_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT kitchen_ticket_items_kitchen_ticket_id_fkey
        FOREIGN KEY (tenant_id, kitchen_ticket_id)
        REFERENCES restaurants.kitchen_tickets (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT kitchen_ticket_items_order_item_id_fkey
        FOREIGN KEY (tenant_id, order_item_id) REFERENCES restaurants.order_items (tenant_id, id),
    CONSTRAINT kitchen_ticket_items_quantity_check CHECK (quantity > 0)
);

CREATE INDEX idx_kitchen_ticket_items_order_item_id ON restaurants.kitchen_ticket_items (tenant_id, order_item_id);

COMMENT ON TABLE restaurants.kitchen_ticket_items IS 'The lines of an order that are on a kitchen ticket';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.kitchen_ticket_id IS 'The ticket';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.order_item_id IS 'The line of the order';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.quantity IS 'How many of the line this ticket is for';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.started_at IS 'When the station began with it';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.ready_at IS 'When it was done';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.kitchen_ticket_items.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('restaurants.kitchen_ticket_items', 'kitchen', '{}');
