-- Deployment of the schemas, and the tenants in them.

CREATE FUNCTION thorbis.install(industries text[] DEFAULT NULL, preload boolean DEFAULT false,
        dry_run boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'install_wrapper';
COMMENT ON FUNCTION thorbis.install(text[], boolean, boolean) IS
    'Deploys the base schemas and the given industries, all by default. Idempotent. Returns what was applied; dry_run returns the SQL. preload: load the library at login. Superuser';
REVOKE ALL ON FUNCTION thorbis.install(text[], boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.install(text[], boolean, boolean) TO thorbis_platform;

CREATE FUNCTION thorbis.migrate(dry_run boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'migrate_wrapper';
COMMENT ON FUNCTION thorbis.migrate(boolean) IS
    'Brings the installed modules to the version of the library. Returns what was applied; dry_run returns the SQL. Superuser';
REVOKE ALL ON FUNCTION thorbis.migrate(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.migrate(boolean) TO thorbis_platform;

CREATE FUNCTION thorbis.rollback(module text, to_version integer, dry_run boolean DEFAULT false,
        discard_data boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'rollback_wrapper';
COMMENT ON FUNCTION thorbis.rollback(text, integer, boolean, boolean) IS
    'Takes a module back to a version, 0 for none. Refuses to drop tables with rows unless discard_data. Superuser';
REVOKE ALL ON FUNCTION thorbis.rollback(text, integer, boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.rollback(text, integer, boolean, boolean) TO thorbis_platform;

CREATE FUNCTION thorbis.status(OUT module text, OUT installed_version integer, OUT available_version integer,
        OUT state text, OUT detail text) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'status_wrapper';
COMMENT ON FUNCTION thorbis.status() IS
    'One row a module: versions, state (current, pending, drifted, not installed, ahead, checksum mismatch), detail';
REVOKE ALL ON FUNCTION thorbis.status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.status() TO thorbis_platform;

CREATE FUNCTION thorbis.version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'version_wrapper';
COMMENT ON FUNCTION thorbis.version() IS 'Version of the loaded library; compare extversion in pg_extension';
REVOKE ALL ON FUNCTION thorbis.version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.version() TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION thorbis.repair() RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'repair_wrapper';
COMMENT ON FUNCTION thorbis.repair() IS
    'Restores what a dump does not carry: parameter grants, database settings, ENABLE ALWAYS of triggers. Returns the statements. Superuser';
REVOKE ALL ON FUNCTION thorbis.repair() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.repair() TO thorbis_platform;

CREATE FUNCTION thorbis.grant_app(role regrole) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'grant_app_wrapper';
COMMENT ON FUNCTION thorbis.grant_app(regrole) IS
    'Makes a role the login of an application (or Supabase''s authenticated): member of thorbis_gateway and thorbis_app. Superuser';
REVOKE ALL ON FUNCTION thorbis.grant_app(regrole) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.grant_app(regrole) TO thorbis_platform;

CREATE FUNCTION thorbis.create_tenant(name text, slug text, owner_id uuid, owner_email text,
        industries text[] DEFAULT NULL, timezone text DEFAULT 'UTC', currency text DEFAULT 'USD',
        id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'create_tenant_wrapper';
COMMENT ON FUNCTION thorbis.create_tenant(text, text, uuid, text, text[], text, text, uuid) IS
    'Creates a tenant with the roles of its industries, all installed ones by default, and its first user as owner; returns its id. The currency is one of shared.currencies with at most two decimals, and gives minor_unit. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.create_tenant(text, text, uuid, text, text[], text, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.create_tenant(text, text, uuid, text, text[], text, text, uuid) TO thorbis_platform;

CREATE FUNCTION thorbis.add_industry(tenant_id uuid, industry text) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'add_industry_wrapper';
COMMENT ON FUNCTION thorbis.add_industry(uuid, text) IS
    'Gives a tenant the roles and permissions of an industry that was installed later; returns whether there was anything to add. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.add_industry(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.add_industry(uuid, text) TO thorbis_platform;

CREATE FUNCTION thorbis.install_auth_shims(OUT function text, OUT outcome text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'install_auth_shims_wrapper';
COMMENT ON FUNCTION thorbis.install_auth_shims() IS
    'Creates auth.uid(), auth.jwt() and auth.role() where they are absent; never touches existing ones. Not for Supabase. Superuser';
REVOKE ALL ON FUNCTION thorbis.install_auth_shims() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.install_auth_shims() TO thorbis_platform;
