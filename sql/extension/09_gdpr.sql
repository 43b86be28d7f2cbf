-- A person's data as a whole. The functions of schema gdpr call these, in the current tenant.

CREATE FUNCTION thorbis.export_subject(kind text, id uuid) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_export_subject';
COMMENT ON FUNCTION thorbis.export_subject(text, uuid) IS
    'Everything catalogued about a person of the current tenant, decrypted: {"subject", "tenant_id", "exported_at", "tables"}. Needs gdpr:export';
REVOKE ALL ON FUNCTION thorbis.export_subject(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.export_subject(text, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.erase_subject(kind text, id uuid, dry_run boolean,
        OUT object text, OUT action text, OUT count bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'erase_subject_wrapper';
COMMENT ON FUNCTION thorbis.erase_subject(text, uuid, boolean) IS
    'Makes a person of the current tenant unreadable and keeps the books. Returns what is done: empty, destroy key; look at names copies that nobody catalogued. Needs gdpr:erase; 55000 under a legal hold';
REVOKE ALL ON FUNCTION thorbis.erase_subject(text, uuid, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.erase_subject(text, uuid, boolean) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.residue_scan(kind text, id uuid, clear_values text[],
        OUT object text, OUT finding text, OUT count bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'residue_scan_wrapper';
COMMENT ON FUNCTION thorbis.residue_scan(text, uuid, text[]) IS
    'What is left of a person of the current tenant: not erased, envelope, unreadable envelope, clear value. Needs gdpr:inspect';
REVOKE ALL ON FUNCTION thorbis.residue_scan(text, uuid, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.residue_scan(text, uuid, text[]) TO thorbis_app, thorbis_platform;
