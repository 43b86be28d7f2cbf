-- What is done to a database now and then.

CREATE FUNCTION thorbis.maintain(dry_run boolean DEFAULT false,
        OUT task text, OUT object text, OUT action text, OUT count bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'maintain_wrapper';
COMMENT ON FUNCTION thorbis.maintain(boolean) IS
    'For a scheduled job, once a day: makes the partitions of audit.change_log a year ahead, moves rows out of its default partition, drops what is older than thorbis.audit_retention; deletes old events of the outbox and expired idempotency keys, ends expired reservations and points, marks invoices overdue. Returns what was done; dry_run only says what would be. Never blocks writers for long: what is locked by others is left for the next time. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.maintain(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.maintain(boolean) TO thorbis_platform;

CREATE FUNCTION thorbis.create_audit_partitions() RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'create_audit_partitions_wrapper';
COMMENT ON FUNCTION thorbis.create_audit_partitions() IS
    'Called by the migration that makes audit.change_log: its first partitions';
REVOKE ALL ON FUNCTION thorbis.create_audit_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.create_audit_partitions() TO thorbis_owner;

CREATE FUNCTION thorbis.apply_audit_retention(dry_run boolean,
        OUT task text, OUT object text, OUT action text, OUT count bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'apply_audit_retention_wrapper';
COMMENT ON FUNCTION thorbis.apply_audit_retention(boolean) IS 'What audit.apply_retention() calls';
REVOKE ALL ON FUNCTION thorbis.apply_audit_retention(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.apply_audit_retention(boolean) TO thorbis_platform;

CREATE FUNCTION thorbis.list_record_changes("table" regclass, row_key text,
        OUT tenant_id uuid, OUT occurred_at timestamptz, OUT id uuid) RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'list_record_changes_wrapper';
COMMENT ON FUNCTION thorbis.list_record_changes(regclass, text) IS 'What audit.record_history() calls';
REVOKE ALL ON FUNCTION thorbis.list_record_changes(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.list_record_changes(regclass, text)
    TO thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION thorbis.restore_record_preview("table" regclass, row_key text, at timestamptz) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'restore_record_preview_wrapper';
COMMENT ON FUNCTION thorbis.restore_record_preview(regclass, text, timestamptz) IS 'What audit.restore_preview() calls';
REVOKE ALL ON FUNCTION thorbis.restore_record_preview(regclass, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.restore_record_preview(regclass, text, timestamptz) TO thorbis_app, thorbis_platform;
