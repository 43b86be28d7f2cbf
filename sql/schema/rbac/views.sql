-- Repeatable: replaced whenever this text changes. All views run with the rights and policies of whoever asks.

CREATE OR REPLACE VIEW rbac.v_effective_permissions WITH (security_invoker = true) AS
WITH RECURSIVE held AS (
    SELECT ur.tenant_id, ur.user_id, ur.role_id AS granted_role_id, ur.role_id, upper(ur.valid_during) AS valid_until
    FROM rbac.user_roles ur
        JOIN shared.users u ON u.tenant_id = ur.tenant_id AND u.id = ur.user_id
    WHERE ur.valid_during @> now() AND u.status = 'active' AND u.deleted_at IS NULL
    UNION
    SELECT h.tenant_id, h.user_id, h.granted_role_id, rh.inherits_role_id AS role_id, h.valid_until
    FROM held h
        JOIN rbac.role_hierarchy rh ON rh.tenant_id = h.tenant_id AND rh.role_id = h.role_id
), granted AS (
    SELECT h.tenant_id, h.user_id, rp.resource, rp.action,
        CASE WHEN h.role_id = h.granted_role_id THEN 'role' ELSE 'inherited role' END AS source,
        h.role_id, NULL::uuid AS access_grant_id, h.valid_until
    FROM held h
        JOIN rbac.role_permissions rp ON rp.tenant_id = h.tenant_id AND rp.role_id = h.role_id
    UNION ALL
    SELECT h.tenant_id, h.user_id, p.resource, p.action, 'owner' AS source, h.role_id, NULL::uuid AS access_grant_id,
        h.valid_until
    FROM held h
        JOIN rbac.roles r ON r.tenant_id = h.tenant_id AND r.id = h.role_id AND r.is_owner
        CROSS JOIN rbac.permissions p
    UNION ALL
    SELECT g.tenant_id, g.user_id, g.resource, g.action, 'access grant' AS source, NULL::uuid AS role_id,
        g.id AS access_grant_id, upper(g.valid_during) AS valid_until
    FROM rbac.access_grants g
        JOIN shared.users u ON u.tenant_id = g.tenant_id AND u.id = g.user_id
    WHERE g.valid_during @> now() AND u.status = 'active' AND u.deleted_at IS NULL
)
SELECT DISTINCT g.tenant_id, g.user_id, p.resource, p.action, g.source, g.role_id, g.access_grant_id, g.valid_until
FROM granted g
    JOIN rbac.permissions p ON p.resource = g.resource AND (p.action = g.action OR g.action = 'admin');

COMMENT ON VIEW rbac.v_effective_permissions IS
    'What every user may do now and by which way, one row per way. Needs rbac:read and users:read to see other users';
COMMENT ON COLUMN rbac.v_effective_permissions.tenant_id IS 'The tenant';
COMMENT ON COLUMN rbac.v_effective_permissions.user_id IS 'The user who may';
COMMENT ON COLUMN rbac.v_effective_permissions.resource IS 'Resource of the permission';
COMMENT ON COLUMN rbac.v_effective_permissions.action IS 'Action of the permission, those that admin implies included';
COMMENT ON COLUMN rbac.v_effective_permissions.source IS 'The way: owner, role, inherited role or access grant';
COMMENT ON COLUMN rbac.v_effective_permissions.role_id IS 'The role that permits, NULL for an access grant';
COMMENT ON COLUMN rbac.v_effective_permissions.access_grant_id IS 'The access grant that permits, NULL for a role';
COMMENT ON COLUMN rbac.v_effective_permissions.valid_until IS 'When it ends, NULL when it does not';

GRANT SELECT ON rbac.v_effective_permissions TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW rbac.v_dormant_privileges WITH (security_invoker = true) AS
WITH RECURSIVE used AS (
    SELECT ur.tenant_id, ur.role_id
    FROM rbac.user_roles ur
    WHERE upper(ur.valid_during) IS NULL OR upper(ur.valid_during) > now()
    UNION
    SELECT s.tenant_id, rh.inherits_role_id AS role_id
    FROM used s
        JOIN rbac.role_hierarchy rh ON rh.tenant_id = s.tenant_id AND rh.role_id = s.role_id
), given AS (
    SELECT ur.tenant_id, 'user role' AS kind, ur.user_id, ur.role_id, NULL::uuid AS access_grant_id,
        NULL::text AS resource, NULL::text AS action, ur.valid_during
    FROM rbac.user_roles ur
    UNION ALL
    SELECT ag.tenant_id, 'access grant' AS kind, ag.user_id, NULL::uuid AS role_id, ag.id AS access_grant_id,
        ag.resource, ag.action, ag.valid_during
    FROM rbac.access_grants ag
)
SELECT g.tenant_id, g.kind, g.user_id, g.role_id, g.access_grant_id, g.resource, g.action,
    CASE
        WHEN u.deleted_at IS NOT NULL THEN 'user deleted'
        WHEN u.status <> 'active' THEN 'user inactive'
        ELSE 'expired'
    END AS reason
FROM given g
    JOIN shared.users u ON u.tenant_id = g.tenant_id AND u.id = g.user_id
WHERE u.deleted_at IS NOT NULL OR u.status <> 'active' OR upper(g.valid_during) <= now()
UNION ALL
SELECT r.tenant_id, 'role' AS kind, NULL::uuid AS user_id, r.id AS role_id, NULL::uuid AS access_grant_id,
    NULL::text AS resource, NULL::text AS action, 'role without members' AS reason
FROM rbac.roles r
WHERE NOT EXISTS (SELECT FROM used s WHERE s.tenant_id = r.tenant_id AND s.role_id = r.id);

COMMENT ON VIEW rbac.v_dormant_privileges IS
    'What has no effect: given to deleted or inactive users, expired, roles of nobody. Needs rbac:read and users:read';
COMMENT ON COLUMN rbac.v_dormant_privileges.tenant_id IS 'The tenant';
COMMENT ON COLUMN rbac.v_dormant_privileges.kind IS 'What lies dormant: user role, access grant or role';
COMMENT ON COLUMN rbac.v_dormant_privileges.user_id IS 'The user it was given to, NULL for a role';
COMMENT ON COLUMN rbac.v_dormant_privileges.role_id IS 'The role, NULL for an access grant';
COMMENT ON COLUMN rbac.v_dormant_privileges.access_grant_id IS 'The access grant, NULL otherwise';
COMMENT ON COLUMN rbac.v_dormant_privileges.resource IS 'Resource of the access grant, NULL otherwise';
COMMENT ON COLUMN rbac.v_dormant_privileges.action IS 'Action of the access grant, NULL otherwise';
COMMENT ON COLUMN rbac.v_dormant_privileges.reason IS
    'Why it has no effect: user deleted, user inactive, expired, role without members';

GRANT SELECT ON rbac.v_dormant_privileges TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW rbac.v_separation_conflicts WITH (security_invoker = true) AS
WITH held AS (
    SELECT tenant_id, user_id, resource, action, bool_or(source = 'owner') AS is_owner
    FROM rbac.v_effective_permissions
    GROUP BY tenant_id, user_id, resource, action
)
SELECT s.tenant_id, s.id AS separation_rule_id, a.user_id,
    s.first_resource, s.first_action, s.second_resource, s.second_action, s.reason,
    a.is_owner OR b.is_owner AS is_owner
FROM rbac.separation_rules s
    JOIN held a ON a.tenant_id = s.tenant_id AND a.resource = s.first_resource AND a.action = s.first_action
    JOIN held b ON b.tenant_id = s.tenant_id AND b.resource = s.second_resource AND b.action = s.second_action
        AND b.user_id = a.user_id;

COMMENT ON VIEW rbac.v_separation_conflicts IS
    'Users who hold both permissions of a separation rule. Needs rbac:read and users:read';
COMMENT ON COLUMN rbac.v_separation_conflicts.tenant_id IS 'The tenant';
COMMENT ON COLUMN rbac.v_separation_conflicts.separation_rule_id IS 'The rule that is broken';
COMMENT ON COLUMN rbac.v_separation_conflicts.user_id IS 'The user who holds both';
COMMENT ON COLUMN rbac.v_separation_conflicts.first_resource IS 'Resource of the one permission';
COMMENT ON COLUMN rbac.v_separation_conflicts.first_action IS 'Action of the one permission';
COMMENT ON COLUMN rbac.v_separation_conflicts.second_resource IS 'Resource of the other permission';
COMMENT ON COLUMN rbac.v_separation_conflicts.second_action IS 'Action of the other permission';
COMMENT ON COLUMN rbac.v_separation_conflicts.reason IS 'Why the two must not meet';
COMMENT ON COLUMN rbac.v_separation_conflicts.is_owner IS
    'True when the user holds them as an owner, who holds everything';

GRANT SELECT ON rbac.v_separation_conflicts TO thorbis_app, thorbis_platform;
