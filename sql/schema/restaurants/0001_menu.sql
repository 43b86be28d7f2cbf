-- What can be ordered: dishes, and the choices that go with them.

CREATE TABLE restaurants.menu_items (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    sku text,
    name text NOT NULL,
    description text,
    category text NOT NULL,
    price numeric(10,2) NOT NULL,
    tax_category text NOT NULL DEFAULT 'standard',
    allergens text[] NOT NULL DEFAULT '{}',
    is_available boolean NOT NULL DEFAULT true,
    unavailable_until timestamptz,
    sort_order integer NOT NULL DEFAULT 0,
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT menu_items_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT menu_items_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT menu_items_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT menu_items_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT menu_items_name_check CHECK (btrim(name) <> ''),
    -- NaN is greater than every number to PostgreSQL.
    CONSTRAINT menu_items_price_check CHECK (price >= 0 AND price < 'NaN'),
    CONSTRAINT menu_items_unavailable_until_check CHECK (unavailable_until IS NULL OR NOT is_available)
);

CREATE UNIQUE INDEX idx_menu_items_tenant_sku ON restaurants.menu_items (tenant_id, sku) WHERE deleted_at IS NULL;
CREATE INDEX idx_menu_items_tenant_category ON restaurants.menu_items (tenant_id, category, sort_order)
    WHERE deleted_at IS NULL;
CREATE INDEX idx_menu_items_created_by ON restaurants.menu_items (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_menu_items_updated_by ON restaurants.menu_items (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE restaurants.menu_items IS 'Dishes and drinks on offer';
COMMENT ON COLUMN restaurants.menu_items.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.menu_items.id IS 'Identifies the item within its tenant';
COMMENT ON COLUMN restaurants.menu_items.sku IS
    'Article number, unique among the live items of the tenant, NULL without one';
COMMENT ON COLUMN restaurants.menu_items.name IS 'Name on the menu and on the bill';
COMMENT ON COLUMN restaurants.menu_items.description IS 'Text on the menu';
COMMENT ON COLUMN restaurants.menu_items.category IS
    'Heading on the menu, such as Starters. Kitchen stations are chosen by it';
COMMENT ON COLUMN restaurants.menu_items.price IS 'Price of one, in the currency of the tenant';
COMMENT ON COLUMN restaurants.menu_items.tax_category IS 'Decides which tax rate applies';
COMMENT ON COLUMN restaurants.menu_items.allergens IS 'Allergens the item contains';
COMMENT ON COLUMN restaurants.menu_items.is_available IS 'False while the kitchen is out of it';
COMMENT ON COLUMN restaurants.menu_items.unavailable_until IS
    'When it is expected back, NULL until somebody switches it on again';
COMMENT ON COLUMN restaurants.menu_items.sort_order IS 'Place within the category, lowest first';
COMMENT ON COLUMN restaurants.menu_items.metadata IS 'Whatever else integrations keep about the item';
COMMENT ON COLUMN restaurants.menu_items.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.menu_items.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.menu_items.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.menu_items.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.menu_items.deleted_at IS 'When the item was soft-deleted, NULL while it is live';

SELECT thorbis.protect('restaurants.menu_items', 'menu', '{
    "not_personal": ["sku", "name", "description", "category", "tax_category", "allergens", "metadata"]
}');

CREATE TABLE restaurants.modifier_groups (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    min_select smallint NOT NULL DEFAULT 0,
    max_select smallint,
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT modifier_groups_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT modifier_groups_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT modifier_groups_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT modifier_groups_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT modifier_groups_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT modifier_groups_min_select_check CHECK (min_select >= 0),
    CONSTRAINT modifier_groups_max_select_check CHECK (max_select >= 1 AND max_select >= min_select)
);

CREATE INDEX idx_modifier_groups_created_by ON restaurants.modifier_groups (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_modifier_groups_updated_by ON restaurants.modifier_groups (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE restaurants.modifier_groups IS
    'Questions asked with an item, such as how it is cooked or which side goes with it';
COMMENT ON COLUMN restaurants.modifier_groups.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.modifier_groups.id IS 'Identifies the group within its tenant';
COMMENT ON COLUMN restaurants.modifier_groups.name IS 'The question, as the server reads it';
COMMENT ON COLUMN restaurants.modifier_groups.min_select IS 'How many choices must be made, 0 when none must';
COMMENT ON COLUMN restaurants.modifier_groups.max_select IS 'How many choices may be made, NULL for any number';
COMMENT ON COLUMN restaurants.modifier_groups.metadata IS 'Whatever else integrations keep about the group';
COMMENT ON COLUMN restaurants.modifier_groups.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.modifier_groups.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.modifier_groups.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.modifier_groups.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.modifier_groups.deleted_at IS 'When the group was soft-deleted, NULL while it is live';

SELECT thorbis.protect('restaurants.modifier_groups', 'menu', '{"not_personal": ["name", "metadata"]}');

CREATE TABLE restaurants.modifiers (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    modifier_group_id uuid NOT NULL,
    name text NOT NULL,
    price numeric(10,2) NOT NULL DEFAULT 0.00,
    is_available boolean NOT NULL DEFAULT true,
    sort_order integer NOT NULL DEFAULT 0,
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT modifiers_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT modifiers_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT modifiers_modifier_group_id_fkey
        FOREIGN KEY (tenant_id, modifier_group_id) REFERENCES restaurants.modifier_groups (tenant_id, id),
    CONSTRAINT modifiers_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT modifiers_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT modifiers_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT modifiers_price_check CHECK (price < 'NaN')
);

CREATE INDEX idx_modifiers_modifier_group_id ON restaurants.modifiers (tenant_id, modifier_group_id, sort_order);
CREATE INDEX idx_modifiers_created_by ON restaurants.modifiers (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_modifiers_updated_by ON restaurants.modifiers (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE restaurants.modifiers IS 'The choices of a modifier group, such as medium rare or extra cheese';
COMMENT ON COLUMN restaurants.modifiers.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.modifiers.id IS 'Identifies the modifier within its tenant';
COMMENT ON COLUMN restaurants.modifiers.modifier_group_id IS 'The group it is a choice of';
COMMENT ON COLUMN restaurants.modifiers.name IS 'Name on the bill and in the kitchen';
COMMENT ON COLUMN restaurants.modifiers.price IS
    'What it adds to the price of the item, in the currency of the tenant. Below zero it takes off';
COMMENT ON COLUMN restaurants.modifiers.is_available IS 'False while the kitchen is out of it';
COMMENT ON COLUMN restaurants.modifiers.sort_order IS 'Place within the group, lowest first';
COMMENT ON COLUMN restaurants.modifiers.metadata IS 'Whatever else integrations keep about the modifier';
COMMENT ON COLUMN restaurants.modifiers.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN restaurants.modifiers.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN restaurants.modifiers.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.modifiers.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN restaurants.modifiers.deleted_at IS 'When the modifier was soft-deleted, NULL while it is live';

SELECT thorbis.protect('restaurants.modifiers', 'menu', '{"not_personal": ["name", "metadata"]}');

CREATE TABLE restaurants.menu_item_modifier_groups (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    menu_item_id uuid NOT NULL,
    modifier_group_id uuid NOT NULL,
    sort_order integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT menu_item_modifier_groups_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT menu_item_modifier_groups_menu_item_id_unique UNIQUE (tenant_id, menu_item_id, modifier_group_id),
    CONSTRAINT menu_item_modifier_groups_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT menu_item_modifier_groups_menu_item_id_fkey
        FOREIGN KEY (tenant_id, menu_item_id) REFERENCES restaurants.menu_items (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT menu_item_modifier_groups_modifier_group_id_fkey
        FOREIGN KEY (tenant_id, modifier_group_id) REFERENCES restaurants.modifier_groups (tenant_id, id)
);

CREATE INDEX idx_menu_item_modifier_groups_modifier_group_id
    ON restaurants.menu_item_modifier_groups (tenant_id, modifier_group_id);

COMMENT ON TABLE restaurants.menu_item_modifier_groups IS 'Which modifier groups are asked with which item';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.menu_item_id IS 'The item';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.modifier_group_id IS 'The group that is asked with it';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.sort_order IS
    'Place among the groups of the item, lowest first';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.created_at IS 'When the row was made';
COMMENT ON COLUMN restaurants.menu_item_modifier_groups.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('restaurants.menu_item_modifier_groups', 'menu', '{}');
