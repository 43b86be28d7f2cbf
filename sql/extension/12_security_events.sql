-- Security events, and denials in the server log.

CREATE FUNCTION record_security_event() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_record_security_event';
COMMENT ON FUNCTION record_security_event() IS
    'AFTER INSERT OR UPDATE OR DELETE row trigger, or AFTER TRUNCATE, on the tables that decide access: writes what happened to audit.security_events. Argument: what the rows are, such as role';
REVOKE ALL ON FUNCTION record_security_event() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION record_security_event() TO thorbis_owner;

CREATE FUNCTION thorbis.parse_denials(log bytea, verify boolean,
        OUT occurred_at timestamptz, OUT database_id oid, OUT tenant_id uuid, OUT user_id uuid, OUT database_role text,
        OUT session_role text, OUT code text, OUT rule text) RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'parse_denials_wrapper';
COMMENT ON FUNCTION thorbis.parse_denials(bytea, boolean) IS 'What audit.parse_denials() and audit.read_denials() call';
REVOKE ALL ON FUNCTION thorbis.parse_denials(bytea, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.parse_denials(bytea, boolean) TO thorbis_owner, thorbis_platform, thorbis_auditor;
