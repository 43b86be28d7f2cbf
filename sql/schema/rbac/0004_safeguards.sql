-- Beyond roles: access for an emergency, limits on what a role may approve, and powers that must not meet in one hand.

CREATE TABLE rbac.access_grants (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    resource text NOT NULL,
    action text NOT NULL,
    reason text NOT NULL,
    valid_during tstzrange NOT NULL,
    granted_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT access_grants_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT access_grants_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT access_grants_user_id_fkey
        FOREIGN KEY (tenant_id, user_id) REFERENCES shared.users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT access_grants_resource_fkey
        FOREIGN KEY (resource, action) REFERENCES rbac.permissions (resource, action) ON DELETE CASCADE,
    CONSTRAINT access_grants_granted_by_fkey
        FOREIGN KEY (tenant_id, granted_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT access_grants_reason_check CHECK (btrim(reason) <> ''),
    CONSTRAINT access_grants_valid_during_check CHECK (
        NOT isempty(valid_during) AND NOT upper_inf(valid_during) AND isfinite(upper(valid_during)))
);

CREATE INDEX idx_access_grants_user_id ON rbac.access_grants (tenant_id, user_id);
CREATE INDEX idx_access_grants_permission ON rbac.access_grants (resource, action);
CREATE INDEX idx_access_grants_granted_by ON rbac.access_grants (tenant_id, granted_by) WHERE granted_by IS NOT NULL;

CREATE TRIGGER write_access_grants_grant_check
    BEFORE INSERT OR UPDATE ON rbac.access_grants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_role_grant('access_grants');

CREATE TRIGGER write_access_grants_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON rbac.access_grants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.access_grants ENABLE ALWAYS TRIGGER write_access_grants_invalidation;

CREATE TRIGGER truncate_access_grants_invalidation
    AFTER TRUNCATE ON rbac.access_grants
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE rbac.access_grants ENABLE ALWAYS TRIGGER truncate_access_grants_invalidation;

CREATE TRIGGER write_access_grants_security_event
    AFTER INSERT OR UPDATE OR DELETE ON rbac.access_grants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('break_glass');
ALTER TABLE rbac.access_grants ENABLE ALWAYS TRIGGER write_access_grants_security_event;

CREATE TRIGGER truncate_access_grants_security_event
    AFTER TRUNCATE ON rbac.access_grants
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('break_glass');
ALTER TABLE rbac.access_grants ENABLE ALWAYS TRIGGER truncate_access_grants_security_event;

COMMENT ON TABLE rbac.access_grants IS
    'Break-glass access: one permission for one user, with a reason and an end. Nobody gives what they do not hold';
COMMENT ON COLUMN rbac.access_grants.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.access_grants.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN rbac.access_grants.user_id IS 'The user who may';
COMMENT ON COLUMN rbac.access_grants.resource IS 'Resource of the permission';
COMMENT ON COLUMN rbac.access_grants.action IS 'Action of the permission';
COMMENT ON COLUMN rbac.access_grants.reason IS 'Why the access was needed';
COMMENT ON COLUMN rbac.access_grants.valid_during IS 'When the access holds. It always has an end';
COMMENT ON COLUMN rbac.access_grants.granted_by IS 'The user who gave the access, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.access_grants.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.access_grants.updated_at IS 'When the row last changed, set by a trigger';

-- The reason can be about the user who needed the access.
SELECT thorbis.protect('rbac.access_grants', 'rbac', '{
    "update_columns": ["valid_during"],
    "subject": {"kind": "user", "column": "user_id"},
    "pii": [{"column": "reason", "method": "clear"}],
    "not_personal": ["resource", "action"]
}');

CREATE TABLE rbac.approval_limits (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    role_id uuid NOT NULL,
    resource text NOT NULL,
    action text NOT NULL,
    max_amount numeric(12,2),
    max_percent numeric(6,3),
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT approval_limits_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT approval_limits_role_id_unique UNIQUE (tenant_id, role_id, resource, action),
    CONSTRAINT approval_limits_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT approval_limits_role_id_fkey
        FOREIGN KEY (tenant_id, role_id) REFERENCES rbac.roles (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT approval_limits_resource_fkey
        FOREIGN KEY (resource, action) REFERENCES rbac.permissions (resource, action) ON DELETE CASCADE,
    CONSTRAINT approval_limits_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT approval_limits_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT approval_limits_max_amount_check
        CHECK ((max_amount IS NOT NULL OR max_percent IS NOT NULL) AND max_amount >= 0),
    CONSTRAINT approval_limits_max_percent_check CHECK (max_percent BETWEEN 0 AND 100)
);

CREATE INDEX idx_approval_limits_permission ON rbac.approval_limits (resource, action);
CREATE INDEX idx_approval_limits_created_by ON rbac.approval_limits (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_approval_limits_updated_by ON rbac.approval_limits (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE rbac.approval_limits IS
    'How far an action permitted by a role reaches, such as discounts up to 10 percent';
COMMENT ON COLUMN rbac.approval_limits.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.approval_limits.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN rbac.approval_limits.role_id IS 'The role that is limited';
COMMENT ON COLUMN rbac.approval_limits.resource IS 'Resource of the limited permission';
COMMENT ON COLUMN rbac.approval_limits.action IS 'Action of the limited permission';
COMMENT ON COLUMN rbac.approval_limits.max_amount IS
    'Highest amount in the currency of the tenant, NULL when only the percentage counts';
COMMENT ON COLUMN rbac.approval_limits.max_percent IS 'Highest percentage, 0 to 100, NULL when only the amount counts';
COMMENT ON COLUMN rbac.approval_limits.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.approval_limits.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN rbac.approval_limits.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.approval_limits.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('rbac.approval_limits', 'rbac', '{"not_personal": ["resource", "action"]}');

CREATE TABLE rbac.separation_rules (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    first_resource text NOT NULL,
    first_action text NOT NULL,
    second_resource text NOT NULL,
    second_action text NOT NULL,
    reason text,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT separation_rules_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT separation_rules_first_resource_unique
        UNIQUE (tenant_id, first_resource, first_action, second_resource, second_action),
    CONSTRAINT separation_rules_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT separation_rules_first_resource_fkey
        FOREIGN KEY (first_resource, first_action) REFERENCES rbac.permissions (resource, action) ON DELETE CASCADE,
    CONSTRAINT separation_rules_second_resource_fkey
        FOREIGN KEY (second_resource, second_action) REFERENCES rbac.permissions (resource, action) ON DELETE CASCADE,
    CONSTRAINT separation_rules_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT separation_rules_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT separation_rules_second_resource_check CHECK (
        first_resource <> second_resource OR first_action <> second_action)
);

CREATE INDEX idx_separation_rules_first_permission ON rbac.separation_rules (first_resource, first_action);
CREATE INDEX idx_separation_rules_second_permission ON rbac.separation_rules (second_resource, second_action);
CREATE INDEX idx_separation_rules_created_by ON rbac.separation_rules (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_separation_rules_updated_by ON rbac.separation_rules (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE rbac.separation_rules IS
    'Pairs of permissions that one user should not hold together. rbac.v_separation_conflicts shows who does';
COMMENT ON COLUMN rbac.separation_rules.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN rbac.separation_rules.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN rbac.separation_rules.first_resource IS 'Resource of the one permission';
COMMENT ON COLUMN rbac.separation_rules.first_action IS 'Action of the one permission';
COMMENT ON COLUMN rbac.separation_rules.second_resource IS 'Resource of the other permission';
COMMENT ON COLUMN rbac.separation_rules.second_action IS 'Action of the other permission';
COMMENT ON COLUMN rbac.separation_rules.reason IS 'Why the two must not meet';
COMMENT ON COLUMN rbac.separation_rules.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN rbac.separation_rules.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN rbac.separation_rules.created_at IS 'When the row was made';
COMMENT ON COLUMN rbac.separation_rules.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('rbac.separation_rules', 'rbac', '{
    "not_personal": ["first_resource", "first_action", "second_resource", "second_action", "reason"]
}');
