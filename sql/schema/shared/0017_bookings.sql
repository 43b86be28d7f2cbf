-- Who and what can be booked, the bookings, and when a resource is away. A resource is booked once at a time: technicians,
-- bays, rooms, tables and machines alike.

CREATE TABLE shared.bookable_resources (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    kind text NOT NULL,
    name text NOT NULL,
    user_id uuid,
    location_id uuid,
    is_active boolean NOT NULL DEFAULT true,
    metadata jsonb NOT NULL DEFAULT '{}',
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bookable_resources_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT bookable_resources_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT bookable_resources_user_id_fkey
        FOREIGN KEY (tenant_id, user_id) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT bookable_resources_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT bookable_resources_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT bookable_resources_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT bookable_resources_kind_check CHECK (kind ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT bookable_resources_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT bookable_resources_row_version_check CHECK (row_version > 0)
);

CREATE INDEX idx_bookable_resources_kind ON shared.bookable_resources (tenant_id, kind) WHERE is_active;
CREATE INDEX idx_bookable_resources_user_id ON shared.bookable_resources (tenant_id, user_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX idx_bookable_resources_location_id ON shared.bookable_resources (tenant_id, location_id)
    WHERE location_id IS NOT NULL;
CREATE INDEX idx_bookable_resources_created_by ON shared.bookable_resources (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_bookable_resources_updated_by ON shared.bookable_resources (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE shared.bookable_resources IS 'Who and what can be booked, by one at a time';
COMMENT ON COLUMN shared.bookable_resources.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.bookable_resources.id IS 'Identifies the resource within its tenant';
COMMENT ON COLUMN shared.bookable_resources.kind IS 'What it is, such as technician, bay, room, table or machine';
COMMENT ON COLUMN shared.bookable_resources.name IS 'What people call it';
COMMENT ON COLUMN shared.bookable_resources.user_id IS 'The user it is, NULL for what is no person';
COMMENT ON COLUMN shared.bookable_resources.location_id IS 'Where it is, NULL for what moves';
COMMENT ON COLUMN shared.bookable_resources.is_active IS 'False when it can not be booked any more; bookings that are there stay';
COMMENT ON COLUMN shared.bookable_resources.metadata IS 'Whatever else integrations keep about the resource';
COMMENT ON COLUMN shared.bookable_resources.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN shared.bookable_resources.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.bookable_resources.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.bookable_resources.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.bookable_resources.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.bookable_resources', 'bookings', '{
    "subject": {"kind": "user", "column": "user_id"},
    "pii": [
        {"column": "name", "method": "clear", "category": "identity"},
        {"column": "metadata", "method": "clear"}
    ],
    "not_personal": ["kind"]
}');

-- Days have 24 hours here, in every time zone: a travel time is no calendar time. So it can be computed and stored.
CREATE FUNCTION shared.get_occupied_range(during tstzrange, travel_before interval) RETURNS tstzrange
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN tstzrange(((lower(during) AT TIME ZONE 'UTC') - travel_before) AT TIME ZONE 'UTC', upper(during), '[)');

COMMENT ON FUNCTION shared.get_occupied_range(tstzrange, interval) IS
    'What a booking occupies: its time with the travel before it';
REVOKE ALL ON FUNCTION shared.get_occupied_range(tstzrange, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.get_occupied_range(tstzrange, interval) TO thorbis_app, thorbis_platform;

CREATE TABLE shared.bookings (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    bookable_resource_id uuid NOT NULL,
    customer_id uuid,
    location_id uuid,
    status text NOT NULL DEFAULT 'confirmed',
    during tstzrange NOT NULL,
    travel_before interval NOT NULL DEFAULT '0',
    occupied tstzrange NOT NULL GENERATED ALWAYS AS (shared.get_occupied_range(during, travel_before)) STORED,
    is_live boolean NOT NULL GENERATED ALWAYS AS (status IN ('tentative', 'confirmed', 'in_progress')) STORED,
    started_at timestamptz,
    completed_at timestamptz,
    cancelled_at timestamptz,
    document text,
    document_id uuid,
    notes text,
    metadata jsonb NOT NULL DEFAULT '{}',
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT bookings_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT bookings_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT bookings_bookable_resource_id_fkey
        FOREIGN KEY (tenant_id, bookable_resource_id) REFERENCES shared.bookable_resources (tenant_id, id),
    CONSTRAINT bookings_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT bookings_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT bookings_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT bookings_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT bookings_status_check
        CHECK (status IN ('tentative', 'confirmed', 'in_progress', 'completed', 'cancelled', 'no_show')),
    -- An empty range has no lower bound that is in it; NULL bounds and infinite ones would occupy for ever.
    CONSTRAINT bookings_during_check CHECK (
        lower_inc(during) AND NOT upper_inc(during)
        AND coalesce(isfinite(lower(during)), false) AND coalesce(isfinite(upper(during)), false)),
    CONSTRAINT bookings_travel_before_check CHECK (travel_before BETWEEN interval '0' AND interval '24 hours'),
    -- A month less 30 days compares as nothing, and moves the beginning all the same.
    CONSTRAINT bookings_occupied_check CHECK (occupied @> during),
    CONSTRAINT bookings_document_check CHECK ((document IS NULL) = (document_id IS NULL)),
    CONSTRAINT bookings_row_version_check CHECK (row_version > 0)
);

SELECT thorbis.add_exclusion('shared.bookings', 'bookings_bookable_resource_id_occupied_excl',
    '{bookable_resource_id}', 'occupied', 'is_live');

CREATE INDEX idx_bookings_bookable_resource_id ON shared.bookings (tenant_id, bookable_resource_id, lower(during));
CREATE INDEX idx_bookings_tenant_begins ON shared.bookings (tenant_id, lower(during)) WHERE is_live;
CREATE INDEX idx_bookings_document ON shared.bookings (tenant_id, document_id) WHERE document_id IS NOT NULL;
CREATE INDEX idx_bookings_customer_id ON shared.bookings (tenant_id, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX idx_bookings_location_id ON shared.bookings (tenant_id, location_id) WHERE location_id IS NOT NULL;
CREATE INDEX idx_bookings_created_by ON shared.bookings (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_bookings_updated_by ON shared.bookings (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action, sets_column) VALUES
    ('booking', '', 'tentative', 'bookings', 'create', NULL),
    ('booking', '', 'confirmed', 'bookings', 'create', NULL),
    ('booking', 'tentative', 'confirmed', 'bookings', 'update', NULL),
    ('booking', 'tentative', 'cancelled', 'bookings', 'update', 'cancelled_at'),
    ('booking', 'confirmed', 'in_progress', 'bookings', 'update', 'started_at'),
    ('booking', 'confirmed', 'cancelled', 'bookings', 'update', 'cancelled_at'),
    ('booking', 'confirmed', 'no_show', 'bookings', 'update', NULL),
    ('booking', 'in_progress', 'completed', 'bookings', 'update', 'completed_at'),
    ('booking', 'in_progress', 'cancelled', 'bookings', 'update', 'cancelled_at'),
    ('booking', 'cancelled', 'confirmed', 'bookings', 'update', NULL),
    ('booking', 'no_show', 'confirmed', 'bookings', 'update', NULL),
    ('booking', 'completed', 'in_progress', 'bookings', 'admin', NULL);

CREATE TRIGGER write_bookings_status
    BEFORE INSERT OR UPDATE ON shared.bookings
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('booking');

CREATE TRIGGER write_bookings_status_history
    AFTER INSERT OR UPDATE ON shared.bookings
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('booking');

-- The live ones, as is_live has them, which is not computed yet when this is asked. By its name it comes after the status,
-- since it empties the times of what is live again.
CREATE TRIGGER write_bookings_time
    BEFORE INSERT OR UPDATE ON shared.bookings
    FOR EACH ROW WHEN (NEW.status IN ('tentative', 'confirmed', 'in_progress'))
    EXECUTE FUNCTION @extschema@.check_booking();

CREATE TRIGGER insert_bookings_event
    AFTER INSERT ON shared.bookings
    FOR EACH ROW EXECUTE FUNCTION
        @extschema@.write_outbox_event('booking', 'status', 'bookable_resource_id', 'during');

CREATE TRIGGER update_bookings_event
    AFTER UPDATE ON shared.bookings
    FOR EACH ROW WHEN (
        OLD.status IS DISTINCT FROM NEW.status OR OLD.during IS DISTINCT FROM NEW.during
        OR OLD.bookable_resource_id IS DISTINCT FROM NEW.bookable_resource_id)
    EXECUTE FUNCTION @extschema@.write_outbox_event('booking', 'status', 'bookable_resource_id', 'during');

COMMENT ON TABLE shared.bookings IS 'A resource taken for a time. What is live does not overlap';
COMMENT ON COLUMN shared.bookings.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.bookings.id IS 'Identifies the booking within its tenant';
COMMENT ON COLUMN shared.bookings.bookable_resource_id IS 'The resource that is booked';
COMMENT ON COLUMN shared.bookings.customer_id IS 'The customer it is for, NULL when that is not known or nobody';
COMMENT ON COLUMN shared.bookings.location_id IS 'Where it takes place, NULL when the resource says it';
COMMENT ON COLUMN shared.bookings.status IS 'tentative, confirmed, in_progress, completed, cancelled or no_show';
COMMENT ON COLUMN shared.bookings.during IS 'From when until before when';
COMMENT ON COLUMN shared.bookings.travel_before IS 'The way there, which the resource is taken for as well. At most a day';
COMMENT ON COLUMN shared.bookings.occupied IS 'The time with the travel before it, computed';
COMMENT ON COLUMN shared.bookings.is_live IS 'True while it takes the resource: tentative, confirmed or in_progress, computed';
COMMENT ON COLUMN shared.bookings.started_at IS 'When it was begun, set with the status; NULL when it is confirmed anew';
COMMENT ON COLUMN shared.bookings.completed_at IS 'When it was completed, set with the status; NULL when it is live again';
COMMENT ON COLUMN shared.bookings.cancelled_at IS 'When it was cancelled, set with the status; NULL when it is live again';
COMMENT ON COLUMN shared.bookings.document IS 'The kind of document it belongs to, such as work_order';
COMMENT ON COLUMN shared.bookings.document_id IS 'That document';
COMMENT ON COLUMN shared.bookings.notes IS 'What was said about it';
COMMENT ON COLUMN shared.bookings.metadata IS 'Whatever else integrations keep about the booking';
COMMENT ON COLUMN shared.bookings.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN shared.bookings.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.bookings.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.bookings.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.bookings.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.bookings', 'bookings', '{
    "subject": {"kind": "customer", "column": "customer_id"},
    "pii": [
        {"column": "notes", "method": "clear"},
        {"column": "metadata", "method": "clear"}
    ],
    "not_personal": ["status", "document"]
}');

CREATE TABLE shared.time_off (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    bookable_resource_id uuid NOT NULL,
    during tstzrange NOT NULL,
    reason text,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT time_off_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT time_off_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT time_off_bookable_resource_id_fkey FOREIGN KEY (tenant_id, bookable_resource_id)
        REFERENCES shared.bookable_resources (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT time_off_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT time_off_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT time_off_during_check CHECK (
        lower_inc(during) AND NOT upper_inc(during) AND coalesce(isfinite(lower(during)), false))
);

CREATE INDEX idx_time_off_bookable_resource_id ON shared.time_off (tenant_id, bookable_resource_id, upper(during));
CREATE INDEX idx_time_off_created_by ON shared.time_off (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_time_off_updated_by ON shared.time_off (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_time_off_schedule
    BEFORE INSERT OR UPDATE ON shared.time_off
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_time_off();

COMMENT ON TABLE shared.time_off IS 'When a resource is away: holidays, illness, maintenance. No booking crosses it';
COMMENT ON COLUMN shared.time_off.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.time_off.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.time_off.bookable_resource_id IS 'The resource that is away';
COMMENT ON COLUMN shared.time_off.during IS 'From when until before when; without an end while that is not known';
COMMENT ON COLUMN shared.time_off.reason IS 'Why';
COMMENT ON COLUMN shared.time_off.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.time_off.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.time_off.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.time_off.updated_at IS 'When the row last changed, set by a trigger';

-- Why somebody is away can tell of an illness.
SELECT thorbis.protect('shared.time_off', 'bookings', '{
    "subject": {"kind": "user", "column": "bookable_resource_id", "through": "shared.bookable_resources"},
    "pii": [{"column": "reason", "method": "clear", "category": "health"}]
}');
