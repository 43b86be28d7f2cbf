-- What a user may do.

CREATE VIEW thorbis.permission_epoch AS SELECT NULL::pg_catalog.int4 AS epoch WHERE false;
COMMENT ON VIEW thorbis.permission_epoch IS
    'Empty. Cache invalidation is sent in its name when access data changes, so that cached plans of real tables stay';
COMMENT ON COLUMN thorbis.permission_epoch.epoch IS 'Never read';

CREATE FUNCTION permitted_tenant_id(resource text, action text) RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_permitted_tenant_id';
COMMENT ON FUNCTION permitted_tenant_id(text, text) IS
    'The current tenant when the current user holds the permission there, else NULL: the condition of every policy';
REVOKE ALL ON FUNCTION permitted_tenant_id(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION permitted_tenant_id(text, text)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION has_permission(resource text, action text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_has_permission';
COMMENT ON FUNCTION has_permission(text, text) IS 'Whether the current user holds the permission in the current tenant';
REVOKE ALL ON FUNCTION has_permission(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION has_permission(text, text)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION has_permission(user_id uuid, resource text, action text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_user_has_permission';
COMMENT ON FUNCTION has_permission(uuid, text, text) IS
    'Whether a user holds the permission in the current tenant. About another user it needs rbac:inspect';
REVOKE ALL ON FUNCTION has_permission(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION has_permission(uuid, text, text)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION within_business_hours(resource text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_within_business_hours';
COMMENT ON FUNCTION within_business_hours(text) IS
    'Whether the resource is open now on the wall clock of the current tenant; always for holders of admin, and where no hours are set';
REVOKE ALL ON FUNCTION within_business_hours(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION within_business_hours(text)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION get_current_actor_id() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_get_current_actor_id';
COMMENT ON FUNCTION get_current_actor_id() IS
    'The current user when a live row of shared.users stands for it, else NULL: the default of created_by';
REVOKE ALL ON FUNCTION get_current_actor_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION get_current_actor_id()
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION thorbis.explain_permission(user_id uuid, resource text, action text,
        OUT allowed boolean, OUT reason text, OUT source text) RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 3 AS 'MODULE_PATHNAME', 'explain_permission_wrapper';
COMMENT ON FUNCTION thorbis.explain_permission(uuid, text, text) IS
    'Why a user of the current tenant may or may not do something. About another user it needs rbac:inspect';
REVOKE ALL ON FUNCTION thorbis.explain_permission(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.explain_permission(uuid, text, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.who_can(resource text, action text,
        OUT user_id uuid, OUT reason text, OUT source text) RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 20 AS 'MODULE_PATHNAME', 'who_can_wrapper';
COMMENT ON FUNCTION thorbis.who_can(text, text) IS
    'The users of the current tenant who may do something now, and why. Needs rbac:inspect';
REVOKE ALL ON FUNCTION thorbis.who_can(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.who_can(text, text) TO thorbis_app, thorbis_platform;
