-- Reading the log. Everything here runs with the rights of the caller: policies decide which rows there are to see.

CREATE FUNCTION audit.record_history("table" regclass, row_key text) RETURNS SETOF audit.change_log
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp
    AS $function$
        SELECT c.*
        FROM thorbis.list_record_changes("table", row_key) WITH ORDINALITY l(tenant_id, occurred_at, id, position)
            CROSS JOIN LATERAL (
                SELECT k.* FROM audit.change_log k
                WHERE k.tenant_id = l.tenant_id AND k.occurred_at = l.occurred_at AND k.id = l.id
                LIMIT 1
            ) c
        ORDER BY l.position
    $function$;

COMMENT ON FUNCTION audit.record_history(regclass, text) IS
    'The changes of the row with a key in the current tenant, oldest first, under every key that it had. The key is the text of its one key column beside the tenant, or a JSON array of the texts of several. Needs audit:read; shows what the caller may see';
REVOKE ALL ON FUNCTION audit.record_history(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.record_history(regclass, text) TO thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION audit.record_history("table" regclass, row_key uuid) RETURNS SETOF audit.change_log
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT * FROM audit.record_history("table", row_key::text) $function$;

COMMENT ON FUNCTION audit.record_history(regclass, uuid) IS 'As audit.record_history(regclass, text)';
REVOKE ALL ON FUNCTION audit.record_history(regclass, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.record_history(regclass, uuid) TO thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION audit.restore_preview("table" regclass, row_key text, at timestamptz) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.restore_record_preview("table", row_key, at)::jsonb $function$;

COMMENT ON FUNCTION audit.restore_preview(regclass, text, timestamptz) IS
    'The row with a key in the current tenant as it was at a time, NULL when there was none: as it is now, without the changes of transactions that began later. Personal values are shown to holders of pii on the table''s resource, to others as they are encrypted; secrets read "changed". Needs audit:read and read on the resource (42501); 55000 where the log does not reach back';
REVOKE ALL ON FUNCTION audit.restore_preview(regclass, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.restore_preview(regclass, text, timestamptz) TO thorbis_app, thorbis_platform;

CREATE FUNCTION audit.restore_preview("table" regclass, row_key uuid, at timestamptz) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT audit.restore_preview("table", row_key::text, at) $function$;

COMMENT ON FUNCTION audit.restore_preview(regclass, uuid, timestamptz) IS
    'As audit.restore_preview(regclass, text, timestamptz)';
REVOKE ALL ON FUNCTION audit.restore_preview(regclass, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.restore_preview(regclass, uuid, timestamptz) TO thorbis_app, thorbis_platform;

CREATE FUNCTION audit.apply_retention(dry_run boolean DEFAULT true)
    RETURNS TABLE (task text, object text, action text, count bigint)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT * FROM thorbis.apply_audit_retention(dry_run) $function$;

COMMENT ON FUNCTION audit.apply_retention(boolean) IS
    'Drops the months of audit.change_log that are older than the setting thorbis.audit_retention, whole months only, and leaves a tombstone of each in audit.seals. Months with rows of a tenant under a legal hold stay. Returns what was done, or with dry_run, the default, would be. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION audit.apply_retention(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.apply_retention(boolean) TO thorbis_platform;
