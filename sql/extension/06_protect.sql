-- Protection of tables, and work on protected tables.

CREATE FUNCTION thorbis.protect("table" regclass, resource text DEFAULT NULL, options jsonb DEFAULT NULL,
        dry_run boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'protect_wrapper';
COMMENT ON FUNCTION thorbis.protect(regclass, text, jsonb, boolean) IS
    'Isolates the tenants in a table: tenant_id, policies, triggers, grants. Idempotent. Returns the statements that were missing; dry_run only returns them. Refuses what would void the protection, unless options.accept_risks names it. Options left out stay as they were; {} resets them';
REVOKE ALL ON FUNCTION thorbis.protect(regclass, text, jsonb, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.protect(regclass, text, jsonb, boolean) TO thorbis_owner, thorbis_platform;

CREATE FUNCTION thorbis.unprotect("table" regclass, dry_run boolean DEFAULT false) RETURNS SETOF text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'unprotect_wrapper';
COMMENT ON FUNCTION thorbis.unprotect(regclass, boolean) IS
    'Takes protection back and the application''s grants with it; rows, columns and indexes stay. Returns the statements';
REVOKE ALL ON FUNCTION thorbis.unprotect(regclass, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.unprotect(regclass, boolean) TO thorbis_owner, thorbis_platform;

CREATE FUNCTION thorbis.doctor(OUT severity text, OUT code text, OUT object text, OUT detail text, OUT remedy text)
        RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'doctor_wrapper';
COMMENT ON FUNCTION thorbis.doctor() IS
    'Checks the live database against the rules of protection. No rows: everything holds. Severity: error, warning, notice';
REVOKE ALL ON FUNCTION thorbis.doctor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.doctor() TO thorbis_platform;

CREATE FUNCTION thorbis.soft_delete("table" regclass, id uuid) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'soft_delete_wrapper';
COMMENT ON FUNCTION thorbis.soft_delete(regclass, uuid) IS
    'Sets deleted_at of a row; returns whether there was a live row that the caller may update';
REVOKE ALL ON FUNCTION thorbis.soft_delete(regclass, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.soft_delete(regclass, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.restore("table" regclass, id uuid) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'restore_wrapper';
COMMENT ON FUNCTION thorbis.restore(regclass, uuid) IS 'Takes a soft deletion back; returns whether there was one';
REVOKE ALL ON FUNCTION thorbis.restore(regclass, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.restore(regclass, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.import_rows(target regclass, rows jsonb DEFAULT NULL, source regclass DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'import_rows_wrapper';
COMMENT ON FUNCTION thorbis.import_rows(regclass, jsonb, regclass) IS
    'Inserts a JSON array of objects, or the rows of another relation such as a temporary table that COPY filled, under the caller''s policies, all or none; returns how many. A key that only some objects have is NULL in the others';
REVOKE ALL ON FUNCTION thorbis.import_rows(regclass, jsonb, regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.import_rows(regclass, jsonb, regclass) TO thorbis_app, thorbis_platform;
