-- What changes who may do what, and what is done with personal data as a whole; and what was refused. There is no foreign
-- key to the tenants, because events outlive them.

CREATE TABLE audit.security_events (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    actor_id uuid,
    session_role text NOT NULL,
    database_role text NOT NULL,
    client_address inet,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT security_events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT security_events_event_check CHECK (event ~ '^[a-z_]+\.[a-z_]+$')
);

CREATE INDEX idx_security_events_occurred_at ON audit.security_events (tenant_id, occurred_at);

CREATE TRIGGER write_security_events_append_only
    BEFORE UPDATE OR DELETE ON audit.security_events
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_security_events_append_only
    BEFORE TRUNCATE ON audit.security_events
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE audit.security_events IS
    'Committed events of security: roles and permissions, break-glass access, bindings, protection, keys, exports, erasures. Written by the library';
COMMENT ON COLUMN audit.security_events.tenant_id IS
    'The tenant it concerns; 00000000-0000-0000-0000-000000000000 stands for the platform';
COMMENT ON COLUMN audit.security_events.id IS 'Identifies the event within its tenant';
COMMENT ON COLUMN audit.security_events.occurred_at IS 'When it happened';
COMMENT ON COLUMN audit.security_events.event IS
    'What happened: role, role_permission, user_role, role_hierarchy, break_glass, bound_role or protected_table with .insert, .update, .delete or .truncate; key_rotation.begin, key_rotation.finish, encryption.end, subject.export, subject.erase, application.grant, auth_shims.install';
COMMENT ON COLUMN audit.security_events.object IS 'What it happened to: a table, a role, a kind of people';
COMMENT ON COLUMN audit.security_events.detail IS
    'Ids, names of permissions and roles, names of changed columns: no free text, nothing personal';
COMMENT ON COLUMN audit.security_events.actor_id IS
    'The user of the tenant who did it, NULL for jobs and operators without one';
COMMENT ON COLUMN audit.security_events.session_role IS 'The database role that logged in';
COMMENT ON COLUMN audit.security_events.database_role IS 'The database role it acted as, after SET ROLE';
COMMENT ON COLUMN audit.security_events.client_address IS
    'Where the client connected from, NULL for local sockets and jobs';
COMMENT ON COLUMN audit.security_events.created_at IS 'When its transaction began';
COMMENT ON COLUMN audit.security_events.updated_at IS 'The same: events do not change';

-- In the log of changes each event has its row, and so is sealed. That row has the client's address in its own column.
SELECT thorbis.protect('audit.security_events', 'audit', '{
    "actions": ["select"],
    "platform_actions": ["select"],
    "auditor": true,
    "audit": {"exclude": ["client_address"]},
    "pii": [{"column": "client_address", "method": "clear", "category": "online"}],
    "not_personal": ["event", "object", "detail", "session_role", "database_role"]
}');

CREATE FUNCTION audit.parse_denials(log text, verify boolean DEFAULT true)
    RETURNS TABLE (occurred_at timestamptz, database_name text, tenant_id uuid, user_id uuid, database_role text,
        session_role text, code text, rule text)
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $function$
        SELECT p.occurred_at, d.datname::text, p.tenant_id, p.user_id, p.database_role, p.session_role, p.code, p.rule
        FROM thorbis.parse_denials(convert_to(log, 'UTF8'), verify) p LEFT JOIN pg_database d ON d.oid = p.database_id
    $function$;

COMMENT ON FUNCTION audit.parse_denials(text, boolean) IS
    'What the rules of the library refused, from a server log of any format: lines "thorbis_db denial: {...}". Clients can write such lines to the log themselves (RAISE LOG); those do not count, because each line carries a code made with a secret of the server (in pg_control: superusers and the files'' owner know it). verify => false believes every line, for the log of another server. What PostgreSQL itself refuses stands in the log as its ERROR';
REVOKE ALL ON FUNCTION audit.parse_denials(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.parse_denials(text, boolean) TO thorbis_platform, thorbis_auditor;

CREATE FUNCTION audit.read_denials(path text DEFAULT pg_current_logfile(), verify boolean DEFAULT true)
    RETURNS TABLE (occurred_at timestamptz, database_name text, tenant_id uuid, user_id uuid, database_role text,
        session_role text, code text, rule text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    most CONSTANT bigint := 32 * 1024 * 1024;
    size bigint;
BEGIN
    IF path IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_file', MESSAGE = 'the server has no current log file',
            HINT = 'logging_collector is off: name the file that the server''s output goes to.';
    END IF;
    size := (pg_stat_file(path)).size;
    RETURN QUERY
        SELECT p.occurred_at, d.datname::text, p.tenant_id, p.user_id, p.database_role, p.session_role, p.code, p.rule
        FROM thorbis.parse_denials(pg_read_binary_file(path, greatest(size - most, 0), most), verify) p
            LEFT JOIN pg_database d ON d.oid = p.database_id;
END
$function$;

COMMENT ON FUNCTION audit.read_denials(text, boolean) IS
    'audit.parse_denials() of a log file of the server: its last 32 MB. With the rights of the caller: superusers, and roles that may execute pg_stat_file(), pg_read_binary_file() and, where no path is given, pg_current_logfile()';
REVOKE ALL ON FUNCTION audit.read_denials(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.read_denials(text, boolean) TO thorbis_platform, thorbis_auditor;
