-- The owner takes customers:read from the role of servers, or gives it back.
BEGIN;
SELECT thorbis.set_context(:'tenant', (:'key' || '-0000-4000-8000-000000000011')::uuid);
\if :allow
INSERT INTO rbac.role_permissions (role_id, resource, action)
SELECT id, 'customers', 'read' FROM rbac.roles WHERE code = 'server';
\else
DELETE FROM rbac.role_permissions
 WHERE resource = 'customers' AND role_id = (SELECT id FROM rbac.roles WHERE code = 'server');
\endif
COMMIT;
