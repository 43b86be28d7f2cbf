-- The people who work for a tenant. Who may do what is in schema rbac, which this schema does not know.

CREATE TABLE shared.users (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text,
    first_name text,
    last_name text,
    phone text,
    email_encrypted text,
    phone_encrypted text,
    email_bidx bytea,
    phone_bidx bytea,
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
    CONSTRAINT users_status_check CHECK (status IN ('active', 'inactive')),
    CONSTRAINT users_settings_check CHECK (jsonb_typeof(settings) = 'object')
);

-- Equal addresses, in any case of letters, have equal blind indexes within a tenant: the address itself is not there.
CREATE UNIQUE INDEX idx_users_tenant_email ON shared.users (tenant_id, email_bidx) WHERE deleted_at IS NULL;
CREATE INDEX idx_users_tenant_phone ON shared.users (tenant_id, phone_bidx);
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
    'Address at work, unique among the live users of the tenant. Always NULL in the table: shared.users_pii shows it';
COMMENT ON COLUMN shared.users.first_name IS 'Given name';
COMMENT ON COLUMN shared.users.last_name IS 'Family name';
COMMENT ON COLUMN shared.users.phone IS
    'Telephone number. Always NULL in the table: shared.users_pii shows it';
COMMENT ON COLUMN shared.users.email_encrypted IS 'The address, encrypted, written by a trigger';
COMMENT ON COLUMN shared.users.phone_encrypted IS 'The number, encrypted, written by a trigger';
COMMENT ON COLUMN shared.users.email_bidx IS
    'Blind index of the address: finds equal ones of the tenant without decrypting. Not readable by the application';
COMMENT ON COLUMN shared.users.phone_bidx IS
    'Blind index of the number: finds equal ones of the tenant without decrypting. Not readable by the application';
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
    },
    "subject": {"kind": "user", "column": "id"},
    "pii": [
        {"column": "email", "kind": "email", "index": true, "category": "contact"},
        {"column": "phone", "kind": "phone", "index": true, "category": "contact"},
        {"column": "first_name", "method": "clear", "category": "identity"},
        {"column": "last_name", "method": "clear", "category": "identity"},
        {"column": "pin_hash", "method": "clear", "category": "credential"},
        {"column": "settings", "method": "clear"},
        {"column": "metadata", "method": "clear"}
    ],
    "not_personal": ["status"]
}');
