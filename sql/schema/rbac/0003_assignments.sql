-- Who has which role, and since when until when.

CREATE TABLE rbac.user_roles (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    role_id uuid NOT NULL,
    valid_during tstzrange NOT NULL DEFAULT tstzrange(now(), NULL, '[)'),
    granted_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_roles_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT user_roles_user_id_role_id_unique UNIQUE (tenant_id, user_id, role_id),
    CONSTRAINT user_roles_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT user_roles_user_id_fkey
        FOREIGN KEY (tenant_id, user_id) REFERENCES shared.users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT user_roles_role_id_fkey
        FOREIGN KEY (tenant_id, role_id) REFERENCES rbac.roles (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT user_roles_granted_by_fkey FOREIGN KEY (tenant_id, granted_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT user_roles_valid_during_check CHECK (NOT isempty(valid_during))
);

CREATE INDEX idx_user_roles_role_id ON rbac.user_roles (tenant_id, role_id);
CREATE INDEX idx_user_roles_granted_by ON rbac.user_roles (tenant_id, granted_by) WHERE granted_by IS NOT NULL;

CREATE TRIGGER write_user_roles_grant_check
    BEFORE INSERT OR UPDATE ON rbac.user_roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_role_grant('user_roles');

CREATE TRIGGER write_user_roles_last_owner
    AFTER UPDATE OR DELETE ON rbac.user_roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_last_owner('user_roles');

-- The last owner also goes when the person does.
CREATE TRIGGER write_users_last_owner
    AFTER UPDATE OF tenant_id, id, status, deleted_at OR DELETE ON shared.users
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_last_owner('users');

-- Whoever may update users could otherwise take an owner's login over, or bring a former owner back.
CREATE TRIGGER update_users_grant_check
    BEFORE UPDATE OF id, email, pin_hash, status, deleted_at ON shared.users
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_role_grant('users');

CREATE TRIGGER write_user_roles_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON rbac.user_roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.user_roles ENABLE ALWAYS TRIGGER write_user_roles_invalidation;

CREATE TRIGGER truncate_user_roles_invalidation
    AFTER TRUNCATE ON rbac.user_roles
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.user_roles ENABLE ALWAYS TRIGGER truncate_user_roles_invalidation;

CREATE TRIGGER write_user_roles_security_event
    AFTER INSERT OR UPDATE OR DELETE ON rbac.user_roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('user_role');
ALTER TABLE rbac.user_roles ENABLE ALWAYS TRIGGER write_user_roles_security_event;

CREATE TRIGGER truncate_user_roles_security_event
    AFTER TRUNCATE ON rbac.user_roles
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('user_role');
ALTER TABLE rbac.user_roles ENABLE ALWAYS TRIGGER truncate_user_roles_security_event;

COMMENT ON TABLE rbac.user_roles IS
    'Who has which role. Nobody gives a role that permits more than they hold, and the last owner of a tenant stays';
COMMENT ON COLUMN rbac.user_roles.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.user_roles.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN rbac.user_roles.user_id IS 'The user who has the role';
COMMENT ON COLUMN rbac.user_roles.role_id IS 'The role';
COMMENT ON COLUMN rbac.user_roles.valid_during IS 'When the user has the role. From now on without end unless given';
COMMENT ON COLUMN rbac.user_roles.granted_by IS 'The user who gave the role, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.user_roles.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.user_roles.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON CONSTRAINT user_roles_role_id_fkey ON rbac.user_roles IS
    'RESTRICT, because NO ACTION would let one statement swap a held role for an owner role of the same id';

SELECT thorbis.protect('rbac.user_roles', 'rbac', '{
    "update_columns": ["valid_during"],
    "subject": {"kind": "user", "column": "user_id"}
}');
