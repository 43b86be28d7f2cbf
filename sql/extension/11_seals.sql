-- Tamper evidence of the log. The functions of schema audit call these.

CREATE FUNCTION thorbis.calculate_change_digest(tenant_id uuid, occurred_at timestamptz, id uuid, system_id bigint,
        transaction_id bigint, table_name text, operation text, row_key text, new_row_key text, old_values jsonb,
        new_values jsonb, actor_id uuid, session_role text, database_role text, application text, client_address inet,
        request_id text) RETURNS bytea
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100
    AS 'MODULE_PATHNAME', 'thorbis_change_digest';
COMMENT ON FUNCTION thorbis.calculate_change_digest(uuid, timestamptz, uuid, bigint, bigint, text, text, text, text, jsonb,
        jsonb, uuid, text, text, text, inet, text) IS
    'SHA-256 of a row of audit.change_log: of its columns as text, each with its length in front. What seals are made of';
REVOKE ALL ON FUNCTION thorbis.calculate_change_digest(uuid, timestamptz, uuid, bigint, bigint, text, text, text, text, jsonb,
        jsonb, uuid, text, text, text, inet, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.calculate_change_digest(uuid, timestamptz, uuid, bigint, bigint, text, text, text, text,
        jsonb, jsonb, uuid, text, text, text, inet, text) TO thorbis_owner, thorbis_platform;

CREATE FUNCTION thorbis.seal_audit(OUT seal bigint, OUT month date, OUT row_count bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'seal_audit_wrapper';
COMMENT ON FUNCTION thorbis.seal_audit() IS
    'Seals what is in the audit log of all transactions that are over, and returns the seals. Waits for nobody who writes. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.seal_audit() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.seal_audit() TO thorbis_platform;

CREATE FUNCTION thorbis.verify_audit("from" timestamptz, "to" timestamptz, root bytea,
        OUT finding text, OUT seal bigint, OUT detail text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'verify_audit_wrapper';
COMMENT ON FUNCTION thorbis.verify_audit(timestamptz, timestamptz, bytea) IS
    'Verifies the chain of seals and the rows sealed between two times; root is a hash exported earlier. One row ok, or what is wrong. Only reads. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.verify_audit(timestamptz, timestamptz, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.verify_audit(timestamptz, timestamptz, bytea) TO thorbis_platform;

CREATE FUNCTION thorbis.prove_audit(id uuid, root bytea) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'prove_audit_wrapper';
COMMENT ON FUNCTION thorbis.prove_audit(uuid, bytea) IS
    'Proof that a change of the current tenant stands in the sealed log, until the seal with the hash root when one is given; thorbis-check-proof checks it. Needs audit:read';
REVOKE ALL ON FUNCTION thorbis.prove_audit(uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.prove_audit(uuid, bytea) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.get_chain_status(OUT last_seal bigint, OUT sealed_at timestamptz, OUT sealed_rows bigint,
        OUT unsealed_rows bigint, OUT oldest_unsealed timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'get_chain_status_wrapper';
COMMENT ON FUNCTION thorbis.get_chain_status() IS
    'How far the audit log is sealed: what audit.v_chain_status shows. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.get_chain_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.get_chain_status() TO thorbis_platform;
