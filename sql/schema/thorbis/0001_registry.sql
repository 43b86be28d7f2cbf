-- What the extension keeps about this database. Ordinary tables: a dump carries them with their rows, and restores
-- them before anything reads them.

CREATE TABLE thorbis.migrations (
    module text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT session_user,
    execution_ms integer NOT NULL,
    library_version text NOT NULL,
    CONSTRAINT migrations_pkey PRIMARY KEY (module, version),
    CONSTRAINT migrations_version_check CHECK (version >= 0)
);

COMMENT ON TABLE thorbis.migrations IS 'Schema files applied to this database';
COMMENT ON COLUMN thorbis.migrations.module IS 'Module, which is the name of its schema';
COMMENT ON COLUMN thorbis.migrations.version IS 'Number of the file; 0 stands for the views of the module';
COMMENT ON COLUMN thorbis.migrations.name IS 'Name of the file without its ending';
COMMENT ON COLUMN thorbis.migrations.checksum IS 'SHA-256 of the file as it was applied, hexadecimal';
COMMENT ON COLUMN thorbis.migrations.applied_at IS 'When it was applied';
COMMENT ON COLUMN thorbis.migrations.applied_by IS 'Session user who applied it';
COMMENT ON COLUMN thorbis.migrations.execution_ms IS 'How long it took, in milliseconds';
COMMENT ON COLUMN thorbis.migrations.library_version IS 'Version of the library that applied it';

CREATE TABLE thorbis.deployed_objects (
    module text NOT NULL,
    kind text NOT NULL,
    identity text NOT NULL,
    definition text NOT NULL,
    server_major integer NOT NULL DEFAULT current_setting('server_version_num')::int4 / 10000,
    CONSTRAINT deployed_objects_pkey PRIMARY KEY (module, kind, identity)
);

COMMENT ON TABLE thorbis.deployed_objects IS
    'Objects that migrations made, as they were deployed: thorbis.status() compares the database with them';
COMMENT ON COLUMN thorbis.deployed_objects.module IS 'Module that owns the object';
COMMENT ON COLUMN thorbis.deployed_objects.kind IS 'table, column, constraint, index, policy, trigger, view or function';
COMMENT ON COLUMN thorbis.deployed_objects.identity IS 'Qualified name of the object';
COMMENT ON COLUMN thorbis.deployed_objects.definition IS 'Definition as PostgreSQL printed it after the deployment';
COMMENT ON COLUMN thorbis.deployed_objects.server_major IS
    'Major version of the server that printed it: other versions may print the same object differently';

CREATE TABLE thorbis.protected_tables (
    table_id regclass NOT NULL,
    resource text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}',
    protected_at timestamptz NOT NULL DEFAULT now(),
    protected_by text NOT NULL DEFAULT session_user,
    CONSTRAINT protected_tables_pkey PRIMARY KEY (table_id)
);

-- Sessions keep what they read here: which columns are personal, and how each is kept.
CREATE TRIGGER write_protected_tables_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON thorbis.protected_tables
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE thorbis.protected_tables ENABLE ALWAYS TRIGGER write_protected_tables_invalidation;

CREATE TRIGGER truncate_protected_tables_invalidation
    AFTER TRUNCATE ON thorbis.protected_tables
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE thorbis.protected_tables ENABLE ALWAYS TRIGGER truncate_protected_tables_invalidation;

CREATE TRIGGER write_protected_tables_security_event
    AFTER INSERT OR UPDATE OR DELETE ON thorbis.protected_tables
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('protected_table');
ALTER TABLE thorbis.protected_tables ENABLE ALWAYS TRIGGER write_protected_tables_security_event;

CREATE TRIGGER truncate_protected_tables_security_event
    AFTER TRUNCATE ON thorbis.protected_tables
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('protected_table');
ALTER TABLE thorbis.protected_tables ENABLE ALWAYS TRIGGER truncate_protected_tables_security_event;

COMMENT ON TABLE thorbis.protected_tables IS 'Tables under thorbis.protect()';
COMMENT ON COLUMN thorbis.protected_tables.table_id IS 'The table; follows it through renames';
COMMENT ON COLUMN thorbis.protected_tables.resource IS 'Resource of the permissions that its policies ask for';
COMMENT ON COLUMN thorbis.protected_tables.options IS 'Options given to thorbis.protect()';
COMMENT ON COLUMN thorbis.protected_tables.protected_at IS 'When the protection was made or last changed';
COMMENT ON COLUMN thorbis.protected_tables.protected_by IS 'Session user who did it';

-- For users of tenants, who need to know what is kept about people and may not read the registry. It runs with the
-- rights of its owner, because a grant on the registry would show the risks that were accepted as well. Tables and
-- columns are the same for all tenants: no row here is anybody's data.
CREATE VIEW thorbis.v_protected_tables AS
SELECT p.table_id, p.resource, p.options - 'accept_risks' AS options
FROM thorbis.protected_tables p
    JOIN pg_class c ON c.oid = p.table_id;

COMMENT ON VIEW thorbis.v_protected_tables IS
    'The protected tables and their options, for everybody to read: shows nothing of any tenant';
COMMENT ON COLUMN thorbis.v_protected_tables.table_id IS 'The table';
COMMENT ON COLUMN thorbis.v_protected_tables.resource IS 'Resource of its permissions';
COMMENT ON COLUMN thorbis.v_protected_tables.options IS
    'Options given to thorbis.protect(), without the risks that were accepted';

CREATE TABLE thorbis.bound_roles (
    role_name name NOT NULL,
    tenant_id uuid NOT NULL,
    user_id uuid,
    bound_at timestamptz NOT NULL DEFAULT now(),
    bound_by text NOT NULL DEFAULT session_user,
    CONSTRAINT bound_roles_pkey PRIMARY KEY (role_name)
);

CREATE TRIGGER write_bound_roles_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON thorbis.bound_roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE thorbis.bound_roles ENABLE ALWAYS TRIGGER write_bound_roles_invalidation;

CREATE TRIGGER truncate_bound_roles_invalidation
    AFTER TRUNCATE ON thorbis.bound_roles
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE thorbis.bound_roles ENABLE ALWAYS TRIGGER truncate_bound_roles_invalidation;

CREATE TRIGGER write_bound_roles_security_event
    AFTER INSERT OR UPDATE OR DELETE ON thorbis.bound_roles
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_security_event('bound_role');
ALTER TABLE thorbis.bound_roles ENABLE ALWAYS TRIGGER write_bound_roles_security_event;

CREATE TRIGGER truncate_bound_roles_security_event
    AFTER TRUNCATE ON thorbis.bound_roles
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.record_security_event('bound_role');
ALTER TABLE thorbis.bound_roles ENABLE ALWAYS TRIGGER truncate_bound_roles_security_event;

COMMENT ON TABLE thorbis.bound_roles IS 'Database roles whose tenant is fixed by thorbis.bind_role()';
COMMENT ON COLUMN thorbis.bound_roles.role_name IS 'Database role';
COMMENT ON COLUMN thorbis.bound_roles.tenant_id IS 'The tenant it acts for';
COMMENT ON COLUMN thorbis.bound_roles.user_id IS 'The user it acts for, whose permissions it has; NULL for none';
COMMENT ON COLUMN thorbis.bound_roles.bound_at IS 'When it was bound or last changed';
COMMENT ON COLUMN thorbis.bound_roles.bound_by IS 'Session user who did it';

CREATE TABLE thorbis.settings (
    name text NOT NULL,
    value text NOT NULL,
    noted_in text NOT NULL,
    CONSTRAINT settings_pkey PRIMARY KEY (name)
);

COMMENT ON TABLE thorbis.settings IS 'What installing asked for and thorbis.repair() restores after a dump';
COMMENT ON COLUMN thorbis.settings.name IS
    'preload: whether session_preload_libraries of the database names the library; or a thorbis setting of the database';
COMMENT ON COLUMN thorbis.settings.value IS 'The value';
COMMENT ON COLUMN thorbis.settings.noted_in IS
    'The database it was noted in: only another one, restored or copied from it, is given the setting again';

-- The operator of all tenants dumps with this role.
GRANT SELECT ON thorbis.migrations, thorbis.deployed_objects, thorbis.protected_tables, thorbis.bound_roles,
    thorbis.settings TO thorbis_platform;
GRANT SELECT ON thorbis.v_protected_tables TO thorbis_app, thorbis_platform;
