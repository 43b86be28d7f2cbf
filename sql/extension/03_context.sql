-- Who is asking. Policies call these functions for every scan: native, no SQL inside.

CREATE FUNCTION get_current_tenant_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_get_current_tenant_id';
COMMENT ON FUNCTION get_current_tenant_id() IS
    'The tenant the transaction acts for: bound role, settings or claims. NULL without a context; 28000 when sources disagree or the tenant would change within the transaction';
REVOKE ALL ON FUNCTION get_current_tenant_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION get_current_tenant_id()
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION get_current_user_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_get_current_user_id';
COMMENT ON FUNCTION get_current_user_id() IS 'The user the transaction acts for, NULL for none';
REVOKE ALL ON FUNCTION get_current_user_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION get_current_user_id()
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION thorbis.set_context(tenant_id uuid, user_id uuid DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'set_context_wrapper';
COMMENT ON FUNCTION thorbis.set_context(uuid, uuid) IS
    'Sets tenant and user for the current transaction. Call it right after BEGIN, as a member of thorbis_gateway';
REVOKE ALL ON FUNCTION thorbis.set_context(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.set_context(uuid, uuid) TO thorbis_gateway, thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.bind_role(role regrole, tenant_id uuid, user_id uuid DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'bind_role_wrapper';
COMMENT ON FUNCTION thorbis.bind_role(regrole, uuid, uuid) IS
    'Fixes the tenant, and the user, of a database role: for BI tools and everybody who types SQL. Superuser';
REVOKE ALL ON FUNCTION thorbis.bind_role(regrole, uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.bind_role(regrole, uuid, uuid) TO thorbis_platform;

CREATE FUNCTION thorbis.unbind_role(role text) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'unbind_role_wrapper';
COMMENT ON FUNCTION thorbis.unbind_role(text) IS 'Ends the binding of a role, which may be gone already; returns whether there was one. Superuser';
REVOKE ALL ON FUNCTION thorbis.unbind_role(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.unbind_role(text) TO thorbis_platform;
