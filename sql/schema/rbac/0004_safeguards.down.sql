DROP VIEW IF EXISTS rbac.v_separation_conflicts;

DROP VIEW IF EXISTS rbac.v_dormant_privileges;

DROP VIEW IF EXISTS rbac.v_effective_permissions;

DROP TABLE rbac.separation_rules;

DROP TABLE rbac.approval_limits;

DROP TABLE rbac.access_grants;
