-- When a tenant is open, as within_business_hours(resource) reads it: in the time zone of the tenant.

CREATE TABLE shared.business_hours (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    resource text NOT NULL,
    weekday smallint NOT NULL,
    opens_at time NOT NULL,
    closes_at time NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT business_hours_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT business_hours_opens_at_unique UNIQUE (tenant_id, resource, weekday, opens_at),
    CONSTRAINT business_hours_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT business_hours_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT business_hours_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT business_hours_resource_check CHECK (resource ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT business_hours_weekday_check CHECK (weekday BETWEEN 1 AND 7),
    CONSTRAINT business_hours_opens_at_check CHECK (opens_at < '24:00' AND extract(second FROM opens_at) = 0),
    CONSTRAINT business_hours_closes_at_check CHECK (extract(second FROM closes_at) = 0)
);

CREATE INDEX idx_business_hours_created_by ON shared.business_hours (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_business_hours_updated_by ON shared.business_hours (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_business_hours_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON shared.business_hours
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.business_hours ENABLE ALWAYS TRIGGER write_business_hours_invalidation;

CREATE TRIGGER truncate_business_hours_invalidation
    AFTER TRUNCATE ON shared.business_hours
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.business_hours ENABLE ALWAYS TRIGGER truncate_business_hours_invalidation;

COMMENT ON TABLE shared.business_hours IS
    'Weekly opening hours. A resource without any row is open at all times, several rows on a weekday add up';
COMMENT ON COLUMN shared.business_hours.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.business_hours.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.business_hours.resource IS 'What the hours are for, a resource name such as orders';
COMMENT ON COLUMN shared.business_hours.weekday IS
    'ISO day of the week on which the hours begin: 1 is Monday, 7 is Sunday';
COMMENT ON COLUMN shared.business_hours.opens_at IS 'First open minute, local time of the tenant';
COMMENT ON COLUMN shared.business_hours.closes_at IS
    'First minute that is closed again. At or before opens_at it is on the next day: 00:00 to 00:00 is the whole day';
COMMENT ON COLUMN shared.business_hours.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.business_hours.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.business_hours.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.business_hours.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.business_hours', 'business_hours', '{"not_personal": ["resource"]}');

CREATE TABLE shared.business_closures (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    resource text NOT NULL,
    on_date date NOT NULL,
    opens_at time,
    closes_at time,
    reason text,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT business_closures_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT business_closures_on_date_unique UNIQUE (tenant_id, resource, on_date),
    CONSTRAINT business_closures_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT business_closures_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT business_closures_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT business_closures_resource_check CHECK (resource ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT business_closures_on_date_check CHECK (isfinite(on_date)),
    CONSTRAINT business_closures_opens_at_check CHECK (
        (opens_at IS NULL) = (closes_at IS NULL) AND opens_at < '24:00' AND extract(second FROM opens_at) = 0),
    CONSTRAINT business_closures_closes_at_check CHECK (extract(second FROM closes_at) = 0)
);

CREATE INDEX idx_business_closures_created_by ON shared.business_closures (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_business_closures_updated_by ON shared.business_closures (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_business_closures_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON shared.business_closures
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.business_closures ENABLE ALWAYS TRIGGER write_business_closures_invalidation;

CREATE TRIGGER truncate_business_closures_invalidation
    AFTER TRUNCATE ON shared.business_closures
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.business_closures ENABLE ALWAYS TRIGGER truncate_business_closures_invalidation;

COMMENT ON TABLE shared.business_closures IS
    'Dates with hours of their own: closed all day, or open as the row says instead of as the week does';
COMMENT ON COLUMN shared.business_closures.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.business_closures.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.business_closures.resource IS
    'What is closed or has special hours, a resource name such as orders';
COMMENT ON COLUMN shared.business_closures.on_date IS 'The date, in the time zone of the tenant';
COMMENT ON COLUMN shared.business_closures.opens_at IS 'First open minute of that date, NULL when closed all day';
COMMENT ON COLUMN shared.business_closures.closes_at IS
    'First minute that is closed again, on the next day when at or before opens_at. NULL when closed all day';
COMMENT ON COLUMN shared.business_closures.reason IS 'Why, such as the name of the holiday';
COMMENT ON COLUMN shared.business_closures.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.business_closures.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.business_closures.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.business_closures.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.business_closures', 'business_hours', '{"not_personal": ["resource", "reason"]}');
