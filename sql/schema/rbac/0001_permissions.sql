-- What can be permitted, and the roles a new tenant starts with. Global look-up tables: no tenant, no triggers,
-- read by everybody, written by migrations and by thorbis.protect() only.

CREATE TABLE rbac.permissions (
    resource text NOT NULL,
    action text NOT NULL,
    description text NOT NULL,
    CONSTRAINT permissions_pkey PRIMARY KEY (resource, action),
    CONSTRAINT permissions_resource_check CHECK (resource ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT permissions_action_check CHECK (action ~ '^[a-z][a-z0-9_]*$')
);

COMMENT ON TABLE rbac.permissions IS
    'Everything that can be permitted, for all tenants. The action admin implies every action on its resource';
COMMENT ON COLUMN rbac.permissions.resource IS
    'What is acted on: the name that thorbis.protect() gave one or more tables';
COMMENT ON COLUMN rbac.permissions.action IS
    'What is done: read, create, update, delete, admin, or an action of its own';
COMMENT ON COLUMN rbac.permissions.description IS 'What the permission allows, in words';

GRANT SELECT ON rbac.permissions TO thorbis_app, thorbis_platform;

CREATE TABLE rbac.role_templates (
    code text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    module text NOT NULL,
    is_owner boolean NOT NULL DEFAULT false,
    CONSTRAINT role_templates_pkey PRIMARY KEY (code),
    CONSTRAINT role_templates_code_check CHECK (code ~ '^[a-z][a-z0-9_]*$')
);

COMMENT ON TABLE rbac.role_templates IS 'Roles that thorbis.create_tenant() copies into rbac.roles of a new tenant';
COMMENT ON COLUMN rbac.role_templates.code IS 'Code of the role in the tenant';
COMMENT ON COLUMN rbac.role_templates.name IS 'Name of the role as people read it';
COMMENT ON COLUMN rbac.role_templates.description IS 'Whom the role is for';
COMMENT ON COLUMN rbac.role_templates.module IS 'Industry whose tenants get the role, or shared when every tenant does';
COMMENT ON COLUMN rbac.role_templates.is_owner IS 'True for the role that holds every permission of its tenant';

GRANT SELECT ON rbac.role_templates TO thorbis_app, thorbis_platform;

CREATE TABLE rbac.role_template_permissions (
    role_template_code text NOT NULL,
    resource text NOT NULL,
    action text NOT NULL,
    CONSTRAINT role_template_permissions_pkey PRIMARY KEY (role_template_code, resource, action),
    CONSTRAINT role_template_permissions_role_template_code_fkey
        FOREIGN KEY (role_template_code) REFERENCES rbac.role_templates (code) ON DELETE CASCADE,
    CONSTRAINT role_template_permissions_resource_fkey
        FOREIGN KEY (resource, action) REFERENCES rbac.permissions (resource, action) ON DELETE CASCADE
);

CREATE INDEX idx_role_template_permissions_permission ON rbac.role_template_permissions (resource, action);

COMMENT ON TABLE rbac.role_template_permissions IS 'The permissions that come with each role template';
COMMENT ON COLUMN rbac.role_template_permissions.role_template_code IS 'The template';
COMMENT ON COLUMN rbac.role_template_permissions.resource IS 'Resource of the permission';
COMMENT ON COLUMN rbac.role_template_permissions.action IS 'Action of the permission';

GRANT SELECT ON rbac.role_template_permissions TO thorbis_app, thorbis_platform;

-- The tables of schema shared were protected before this table existed, so their permissions are entered here.
INSERT INTO rbac.permissions (resource, action, description)
SELECT r.resource, a.action, a.verb || ' ' || r.noun
FROM (VALUES
        ('tenants', 'the tenant and its settings'),
        ('users', 'the users of the tenant'),
        ('locations', 'locations'),
        ('customers', 'customers'),
        ('business_hours', 'opening hours and closures'),
        ('rbac', 'roles, their permissions and their assignment')
    ) AS r (resource, noun)
    CROSS JOIN (VALUES
        ('read', 'Read'),
        ('create', 'Create'),
        ('update', 'Change'),
        ('delete', 'Delete'),
        ('admin', 'Do everything with, beyond every rule that binds others,')
    ) AS a (action, verb);

INSERT INTO rbac.permissions (resource, action, description) VALUES
    ('rbac', 'inspect', 'Ask what another user may do, and who may do something'),
    ('audit', 'read', 'Read who changed what'),
    ('audit', 'admin', 'Do everything with the log of changes'),
    ('users', 'pii', 'Read encrypted personal data of users'),
    ('customers', 'pii', 'Read encrypted personal data of customers'),
    ('pii', 'decrypt', 'Decrypt values that are of no protected column');

INSERT INTO rbac.role_templates (code, name, description, module, is_owner) VALUES
    ('owner', 'Owner', 'Holds every permission of the tenant. A tenant always keeps one', 'shared', true),
    ('manager', 'Manager', 'Runs the business from day to day', 'shared', false),
    ('employee', 'Employee', 'Sees what everybody at work needs to see', 'shared', false);

INSERT INTO rbac.role_template_permissions (role_template_code, resource, action) VALUES
    ('manager', 'tenants', 'read'),
    ('manager', 'users', 'read'),
    ('manager', 'users', 'create'),
    ('manager', 'users', 'update'),
    ('manager', 'users', 'pii'),
    ('manager', 'locations', 'admin'),
    ('manager', 'customers', 'admin'),
    ('manager', 'business_hours', 'admin'),
    ('manager', 'rbac', 'read'),
    ('manager', 'rbac', 'inspect'),
    ('employee', 'tenants', 'read'),
    ('employee', 'locations', 'read'),
    ('employee', 'business_hours', 'read'),
    ('employee', 'customers', 'read');
