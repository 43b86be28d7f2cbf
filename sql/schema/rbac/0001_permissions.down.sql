DROP TABLE rbac.role_template_permissions;

DROP TABLE rbac.role_templates;

DROP TABLE rbac.permissions;

