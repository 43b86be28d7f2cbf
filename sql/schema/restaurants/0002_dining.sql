-- Where guests sit.

CREATE TABLE restaurants.dining_areas (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    location_id uuid,
    name text NOT NULL,
    sort_order integer NOT NULL DEFAULT 0,
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT dining_areas_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT dining_areas_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT dining_areas_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT dining_areas_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT dining_areas_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT dining_areas_name_check CHECK (btrim(name) <> '')
);

CREATE UNIQUE INDEX idx_dining_areas_tenant_name ON restaurants.dining_areas (tenant_id, location_id, name)
    NULLS NOT DISTINCT WHERE deleted_at IS NULL;
CREATE INDEX idx_dining_areas_location_id ON restaurants.dining_areas (tenant_id, location_id)
    WHERE location_id IS NOT NULL;
CREATE INDEX idx_dining_areas_created_by ON restaurants.dining_areas (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_dining_areas_updated_by ON restaurants.dining_areas (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE restaurants.dining_areas IS
    'Parts of a restaurant where guests sit, such as the main room or the terrace';
COMMENT ON COLUMN restaurants.dining_areas.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.dining_areas.id IS 'Identifies the area within its tenant';
COMMENT ON COLUMN restaurants.dining_areas.location_id IS 'The place it is in, NULL for a tenant with a single place';
COMMENT ON COLUMN restaurants.dining_areas.name IS 'Name of the area, unique among the live areas of its location';
COMMENT ON COLUMN restaurants.dining_areas.sort_order IS 'Place in lists, lowest first';
COMMENT ON COLUMN restaurants.dining_areas.metadata IS 'Whatever else integrations keep about the area';
COMMENT ON COLUMN restaurants.dining_areas.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.dining_areas.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.dining_areas.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.dining_areas.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.dining_areas.deleted_at IS 'When the area was soft-deleted, NULL while it is live';

SELECT thorbis.protect('restaurants.dining_areas', 'tables', '{"not_personal": ["name", "metadata"]}');

CREATE TABLE restaurants.dining_tables (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    dining_area_id uuid NOT NULL,
    table_number integer NOT NULL,
    name text,
    min_capacity smallint NOT NULL DEFAULT 1,
    max_capacity smallint NOT NULL,
    extra_capacity smallint NOT NULL DEFAULT 0,
    is_combo boolean NOT NULL DEFAULT false,
    parent_table_id uuid,
    status text NOT NULL DEFAULT 'available',
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT dining_tables_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT dining_tables_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT dining_tables_dining_area_id_fkey
        FOREIGN KEY (tenant_id, dining_area_id) REFERENCES restaurants.dining_areas (tenant_id, id),
    CONSTRAINT dining_tables_parent_table_id_fkey
        FOREIGN KEY (tenant_id, parent_table_id) REFERENCES restaurants.dining_tables (tenant_id, id),
    CONSTRAINT dining_tables_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT dining_tables_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT dining_tables_table_number_check CHECK (table_number > 0),
    CONSTRAINT dining_tables_min_capacity_check CHECK (min_capacity >= 1),
    CONSTRAINT dining_tables_max_capacity_check CHECK (max_capacity >= min_capacity),
    CONSTRAINT dining_tables_extra_capacity_check CHECK (extra_capacity >= 0),
    CONSTRAINT dining_tables_parent_table_id_check CHECK (parent_table_id <> id),
    CONSTRAINT dining_tables_status_check
        CHECK (status IN ('available', 'reserved', 'seated', 'dirty', 'out_of_service'))
);

CREATE UNIQUE INDEX idx_dining_tables_number
    ON restaurants.dining_tables (tenant_id, dining_area_id, table_number) WHERE deleted_at IS NULL;
CREATE INDEX idx_dining_tables_dining_area_id ON restaurants.dining_tables (tenant_id, dining_area_id, status);
CREATE INDEX idx_dining_tables_parent_table_id ON restaurants.dining_tables (tenant_id, parent_table_id)
    WHERE parent_table_id IS NOT NULL;
CREATE INDEX idx_dining_tables_created_by ON restaurants.dining_tables (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_dining_tables_updated_by ON restaurants.dining_tables (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE restaurants.dining_tables IS 'The tables guests sit at';
COMMENT ON COLUMN restaurants.dining_tables.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.dining_tables.id IS 'Identifies the table within its tenant';
COMMENT ON COLUMN restaurants.dining_tables.dining_area_id IS 'The area it stands in';
COMMENT ON COLUMN restaurants.dining_tables.table_number IS 'Its number, unique among the live tables of the area';
COMMENT ON COLUMN restaurants.dining_tables.name IS 'What the staff call it, such as Window 2, NULL when by its number';
COMMENT ON COLUMN restaurants.dining_tables.min_capacity IS 'Fewest guests it is given to';
COMMENT ON COLUMN restaurants.dining_tables.max_capacity IS 'Guests it seats';
COMMENT ON COLUMN restaurants.dining_tables.extra_capacity IS 'Guests that fit in addition, on added chairs';
COMMENT ON COLUMN restaurants.dining_tables.is_combo IS 'True for a combination of tables, which are its children';
COMMENT ON COLUMN restaurants.dining_tables.parent_table_id IS
    'The combination it is part of, NULL when it stands alone';
COMMENT ON COLUMN restaurants.dining_tables.status IS 'available, reserved, seated, dirty or out_of_service';
COMMENT ON COLUMN restaurants.dining_tables.metadata IS 'Whatever else integrations keep about the table';
COMMENT ON COLUMN restaurants.dining_tables.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.dining_tables.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.dining_tables.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.dining_tables.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.dining_tables.deleted_at IS 'When the table was soft-deleted, NULL while it is live';

SELECT thorbis.protect('restaurants.dining_tables', 'tables', '{"not_personal": ["name", "status", "metadata"]}');
