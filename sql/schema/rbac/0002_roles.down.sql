DROP TABLE rbac.role_hierarchy;

DROP TABLE rbac.role_permissions;

DROP TABLE rbac.roles;
