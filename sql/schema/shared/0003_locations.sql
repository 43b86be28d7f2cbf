-- Places of business.

CREATE TABLE shared.locations (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    address jsonb,
    phone text,
    timezone text,
    business_day_cutoff time NOT NULL DEFAULT '00:00',
    metadata jsonb DEFAULT '{}',
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT locations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT locations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT locations_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT locations_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT locations_name_check CHECK (btrim(name) <> ''),
    -- As for shared.tenants: an unknown zone raises 22023, a POSIX string fails the pattern.
    CONSTRAINT locations_timezone_check CHECK (timezone IS NULL OR
        timezone ~ '^(UTC|Etc/GMT[+-][0-9]{1,2}|[A-Za-z_]+(/[A-Za-z_-]+)+)$'
        AND timestamp '2000-01-01 00:00:00' AT TIME ZONE timezone IS NOT NULL),
    CONSTRAINT locations_business_day_cutoff_check CHECK (business_day_cutoff < '12:00')
);

CREATE UNIQUE INDEX idx_locations_tenant_name ON shared.locations (tenant_id, name) WHERE deleted_at IS NULL;
CREATE INDEX idx_locations_created_by ON shared.locations (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_locations_updated_by ON shared.locations (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE shared.locations IS 'Places where a tenant does business: shops, restaurants, workshops, depots';
COMMENT ON COLUMN shared.locations.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.locations.id IS 'Identifies the location within its tenant';
COMMENT ON COLUMN shared.locations.name IS 'Name of the place, unique among the live locations of the tenant';
COMMENT ON COLUMN shared.locations.address IS 'Postal address, a JSON object';
COMMENT ON COLUMN shared.locations.phone IS 'Telephone number of the place';
COMMENT ON COLUMN shared.locations.timezone IS 'IANA time zone of the place, NULL when it is that of the tenant';
COMMENT ON COLUMN shared.locations.business_day_cutoff IS
    'Local time at which a new business date begins: with 04:00 a sale at 01:30 belongs to the day before';
COMMENT ON COLUMN shared.locations.metadata IS 'Whatever else integrations keep about the location';
COMMENT ON COLUMN shared.locations.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.locations.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.locations.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.locations.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN shared.locations.deleted_at IS 'When the location was soft-deleted, NULL while it is live';

-- A place of business is no person: its address and its number are on the door.
SELECT thorbis.protect('shared.locations', 'locations', '{
    "not_personal": ["name", "address", "phone", "timezone", "metadata"]
}');
