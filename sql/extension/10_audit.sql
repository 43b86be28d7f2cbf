-- The log of changes: its trigger functions.

CREATE FUNCTION audit_row_changes() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_audit_row_changes';
COMMENT ON FUNCTION audit_row_changes() IS
    'AFTER row trigger, made by thorbis.protect(): writes each change into audit.change_log, with who made it; personal values encrypted, secrets left out';
REVOKE ALL ON FUNCTION audit_row_changes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_row_changes() TO thorbis_owner;

CREATE FUNCTION audit_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_audit_truncate';
COMMENT ON FUNCTION audit_truncate() IS
    'BEFORE TRUNCATE trigger, made by thorbis.protect(): writes how many rows each tenant loses into audit.change_log';
REVOKE ALL ON FUNCTION audit_truncate() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_truncate() TO thorbis_owner;
