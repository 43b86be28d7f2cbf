-- The people who work for a tenant. Who may do what is in schema rbac, which this schema does not know.

CREATE TABLE shared.users (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text,
    first_name text,
    last_name text,
    phone text,
    status text NOT NULL DEFAULT 'active',
    settings jsonb NOT NULL DEFAULT '{}',
    metadata jsonb DEFAULT '{}',
    pin_hash text,
    last_active_at timestamptz,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT users_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT users_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT users_email_check CHECK (email ~ '^\S+@[^\s@]+$'),
    CONSTRAINT users_status_check CHECK (status IN ('active', 'inactive')),
    CONSTRAINT users_settings_check CHECK (jsonb_typeof(settings) = 'object')
);

CREATE UNIQUE INDEX idx_users_tenant_email ON shared.users (tenant_id, lower(email)) WHERE deleted_at IS NULL;
CREATE INDEX idx_users_id ON shared.users (id);
CREATE INDEX idx_users_created_by ON shared.users (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_users_updated_by ON shared.users (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

-- Only what decides access invalidates: noting last_active_at must not empty the permission cache of every session.
CREATE TRIGGER write_users_invalidation
    AFTER INSERT OR UPDATE OF tenant_id, id, status, deleted_at OR DELETE ON shared.users
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.users ENABLE ALWAYS TRIGGER write_users_invalidation;

CREATE TRIGGER truncate_users_invalidation
    AFTER TRUNCATE ON shared.users
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.users ENABLE ALWAYS TRIGGER truncate_users_invalidation;

COMMENT ON TABLE shared.users IS
    'One row per tenant and person who works there. A person may have rows in several tenants, with one id';
COMMENT ON COLUMN shared.users.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.users.id IS 'The person, as the identity provider names it: the sub of its tokens';
COMMENT ON COLUMN shared.users.email IS
    'Address at work, unique in any case of letters among the live users of the tenant';
COMMENT ON COLUMN shared.users.first_name IS 'Given name';
COMMENT ON COLUMN shared.users.last_name IS 'Family name';
COMMENT ON COLUMN shared.users.phone IS 'Telephone number';
COMMENT ON COLUMN shared.users.status IS 'active or inactive. Whoever is inactive or deleted holds no permission';
COMMENT ON COLUMN shared.users.settings IS 'Preferences of the person in this tenant, a JSON object';
COMMENT ON COLUMN shared.users.metadata IS 'Whatever else integrations keep about the user';
COMMENT ON COLUMN shared.users.pin_hash IS
    'Slow salted hash (such as Argon2id) of the PIN for shared terminals, NULL without one. Never the PIN';
COMMENT ON COLUMN shared.users.last_active_at IS 'When the application last saw the person at work';
COMMENT ON COLUMN shared.users.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.users.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.users.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.users.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN shared.users.deleted_at IS 'When the user was soft-deleted, NULL while live';
COMMENT ON INDEX shared.idx_users_id IS 'For the platform: in which tenants does this person work';

SELECT thorbis.protect('shared.users', 'users', '{
    "own_rows": {
        "user_column": "id",
        "policy": "users_own_data",
        "update_columns": ["first_name", "last_name", "phone", "settings"]
    }
}');
