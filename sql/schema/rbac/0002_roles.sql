-- The roles of each tenant, what they permit, and which role includes which.

CREATE TABLE rbac.roles (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    code text NOT NULL,
    name text NOT NULL,
    description text,
    is_owner boolean NOT NULL DEFAULT false,
    is_system boolean NOT NULL DEFAULT false,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT roles_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT roles_code_unique UNIQUE (tenant_id, code),
    CONSTRAINT roles_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT roles_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT roles_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT roles_code_check CHECK (code ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT roles_name_check CHECK (btrim(name) <> '')
);

CREATE INDEX idx_roles_created_by ON rbac.roles (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_roles_updated_by ON rbac.roles (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_roles_grant_check
    BEFORE INSERT OR UPDATE ON rbac.roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_role_grant('roles');

CREATE TRIGGER write_roles_last_owner
    AFTER UPDATE OR DELETE ON rbac.roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_last_owner('roles');

CREATE TRIGGER write_roles_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON rbac.roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.roles ENABLE ALWAYS TRIGGER write_roles_invalidation;

CREATE TRIGGER truncate_roles_invalidation
    AFTER TRUNCATE ON rbac.roles
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.roles ENABLE ALWAYS TRIGGER truncate_roles_invalidation;

CREATE TRIGGER write_roles_security_event
    AFTER INSERT OR UPDATE OR DELETE ON rbac.roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('role');
ALTER TABLE rbac.roles ENABLE ALWAYS TRIGGER write_roles_security_event;

CREATE TRIGGER truncate_roles_security_event
    AFTER TRUNCATE ON rbac.roles
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('role');
ALTER TABLE rbac.roles ENABLE ALWAYS TRIGGER truncate_roles_security_event;

COMMENT ON TABLE rbac.roles IS 'The roles of a tenant: copies of the templates, and its own';
COMMENT ON COLUMN rbac.roles.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.roles.id IS 'Identifies the role within its tenant';
COMMENT ON COLUMN rbac.roles.code IS 'Short name that programs use, unique in the tenant';
COMMENT ON COLUMN rbac.roles.name IS 'Name as people read it';
COMMENT ON COLUMN rbac.roles.description IS 'Whom the role is for';
COMMENT ON COLUMN rbac.roles.is_owner IS
    'True when the role holds every permission of the tenant. Not changeable by tenant users';
COMMENT ON COLUMN rbac.roles.is_system IS
    'True when the role was copied from a template. Not changeable by tenant users';
COMMENT ON COLUMN rbac.roles.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.roles.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN rbac.roles.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.roles.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('rbac.roles', 'rbac', '{
    "update_columns": ["code", "name", "description"],
    "not_personal": ["code", "name", "description"]
}');

CREATE TABLE rbac.role_permissions (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    role_id uuid NOT NULL,
    resource text NOT NULL,
    action text NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_permissions_pkey PRIMARY KEY (tenant_id, role_id, resource, action),
    CONSTRAINT role_permissions_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT role_permissions_role_id_fkey
        FOREIGN KEY (tenant_id, role_id) REFERENCES rbac.roles (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT role_permissions_resource_fkey
        FOREIGN KEY (resource, action) REFERENCES rbac.permissions (resource, action) ON DELETE CASCADE,
    CONSTRAINT role_permissions_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id)
);

CREATE INDEX idx_role_permissions_permission ON rbac.role_permissions (resource, action);
CREATE INDEX idx_role_permissions_created_by ON rbac.role_permissions (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER write_role_permissions_grant_check
    BEFORE INSERT OR UPDATE ON rbac.role_permissions
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_role_grant('role_permissions');

CREATE TRIGGER write_role_permissions_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON rbac.role_permissions
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.role_permissions ENABLE ALWAYS TRIGGER write_role_permissions_invalidation;

CREATE TRIGGER truncate_role_permissions_invalidation
    AFTER TRUNCATE ON rbac.role_permissions
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.role_permissions ENABLE ALWAYS TRIGGER truncate_role_permissions_invalidation;

CREATE TRIGGER write_role_permissions_security_event
    AFTER INSERT OR UPDATE OR DELETE ON rbac.role_permissions
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('role_permission');
ALTER TABLE rbac.role_permissions ENABLE ALWAYS TRIGGER write_role_permissions_security_event;

CREATE TRIGGER truncate_role_permissions_security_event
    AFTER TRUNCATE ON rbac.role_permissions
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('role_permission');
ALTER TABLE rbac.role_permissions ENABLE ALWAYS TRIGGER truncate_role_permissions_security_event;

COMMENT ON TABLE rbac.role_permissions IS 'What each role permits. Nobody adds a permission that they do not hold';
COMMENT ON COLUMN rbac.role_permissions.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.role_permissions.role_id IS 'The role that permits';
COMMENT ON COLUMN rbac.role_permissions.resource IS 'Resource of the permission';
COMMENT ON COLUMN rbac.role_permissions.action IS 'Action of the permission';
COMMENT ON COLUMN rbac.role_permissions.created_by IS
    'The user who added the permission, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.role_permissions.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.role_permissions.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON CONSTRAINT role_permissions_resource_fkey ON rbac.role_permissions IS
    'A permission that ceases to exist, because its module is rolled back, leaves every role';

SELECT thorbis.protect('rbac.role_permissions', 'rbac', '{
    "actions": ["select", "insert", "delete"],
    "not_personal": ["resource", "action"]
}');

CREATE TABLE rbac.role_hierarchy (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    role_id uuid NOT NULL,
    inherits_role_id uuid NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_hierarchy_pkey PRIMARY KEY (tenant_id, role_id, inherits_role_id),
    CONSTRAINT role_hierarchy_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT role_hierarchy_role_id_fkey
        FOREIGN KEY (tenant_id, role_id) REFERENCES rbac.roles (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT role_hierarchy_inherits_role_id_fkey
        FOREIGN KEY (tenant_id, inherits_role_id) REFERENCES rbac.roles (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT role_hierarchy_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT role_hierarchy_inherits_role_id_check CHECK (inherits_role_id <> role_id)
);

CREATE INDEX idx_role_hierarchy_inherits_role_id ON rbac.role_hierarchy (tenant_id, inherits_role_id);
CREATE INDEX idx_role_hierarchy_created_by ON rbac.role_hierarchy (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER write_role_hierarchy_grant_check
    BEFORE INSERT OR UPDATE ON rbac.role_hierarchy
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_role_grant('role_hierarchy');

CREATE TRIGGER write_role_hierarchy_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON rbac.role_hierarchy
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.role_hierarchy ENABLE ALWAYS TRIGGER write_role_hierarchy_invalidation;

CREATE TRIGGER truncate_role_hierarchy_invalidation
    AFTER TRUNCATE ON rbac.role_hierarchy
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.role_hierarchy ENABLE ALWAYS TRIGGER truncate_role_hierarchy_invalidation;

CREATE TRIGGER write_role_hierarchy_security_event
    AFTER INSERT OR UPDATE OR DELETE ON rbac.role_hierarchy
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('role_hierarchy');
ALTER TABLE rbac.role_hierarchy ENABLE ALWAYS TRIGGER write_role_hierarchy_security_event;

CREATE TRIGGER truncate_role_hierarchy_security_event
    AFTER TRUNCATE ON rbac.role_hierarchy
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('role_hierarchy');
ALTER TABLE rbac.role_hierarchy ENABLE ALWAYS TRIGGER truncate_role_hierarchy_security_event;

COMMENT ON TABLE rbac.role_hierarchy IS 'Which role includes which: a role permits what the roles it inherits permit';
COMMENT ON COLUMN rbac.role_hierarchy.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.role_hierarchy.role_id IS 'The role that receives';
COMMENT ON COLUMN rbac.role_hierarchy.inherits_role_id IS 'The role whose permissions it receives';
COMMENT ON COLUMN rbac.role_hierarchy.created_by IS
    'The user who linked the roles, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.role_hierarchy.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.role_hierarchy.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON CONSTRAINT role_hierarchy_inherits_role_id_fkey ON rbac.role_hierarchy IS
    'RESTRICT, because NO ACTION would let one statement swap an inherited role for an owner role of the same id';

SELECT thorbis.protect('rbac.role_hierarchy', 'rbac', '{"actions": ["select", "insert", "delete"]}');
