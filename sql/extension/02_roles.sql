-- Roles belong to the whole server and so can be no members of an extension. They are created here, if absent, because
-- CREATE EXTENSION comes first in a dump: everything after it can then be granted to them.

DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('thorbis_owner', 'NOLOGIN', 'thorbis_db: owns the deployed tables; nobody logs in as it, nobody is a member'),
            ('thorbis_gateway', 'NOLOGIN', 'thorbis_db: may set the tenant context'),
            ('thorbis_app', 'NOLOGIN', 'thorbis_db: what users of tenants act as; row security applies'),
            ('thorbis_platform', 'NOLOGIN BYPASSRLS', 'thorbis_db: operates all tenants; use it with SET ROLE'),
            ('thorbis_auditor', 'NOLOGIN', 'thorbis_db: reads the audit of its tenant')
        ) AS v(name, attributes, description)
    LOOP
        IF EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = wanted.name AND (rolcanlogin OR rolsuper)) THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_role_specification',
                MESSAGE = pg_catalog.format('role "%s" exists and can log in or is superuser', wanted.name),
                HINT = pg_catalog.format('Rename it, or ALTER ROLE %I NOLOGIN NOSUPERUSER if it is left from thorbis_db.',
                                         wanted.name);
        ELSIF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', wanted.name, wanted.description);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA thorbis TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;
GRANT CREATE ON SCHEMA thorbis TO thorbis_owner;
GRANT USAGE ON SCHEMA @extschema@ TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;
