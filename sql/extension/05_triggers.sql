-- Trigger functions. EXECUTE is needed to create a trigger, not to fire one.

CREATE FUNCTION set_updated_at_column() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_set_updated_at_column';
COMMENT ON FUNCTION set_updated_at_column() IS
    'BEFORE UPDATE row trigger: updated_at becomes the transaction''s start, updated_by the current user where the table has it';
REVOKE ALL ON FUNCTION set_updated_at_column() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_updated_at_column() TO thorbis_owner;

CREATE FUNCTION keep_tenant_id() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_tenant_id';
COMMENT ON FUNCTION keep_tenant_id() IS
    'BEFORE UPDATE OF the tenant column, row trigger: a row cannot move to another tenant (42501). Argument: the column, tenant_id by default';
REVOKE ALL ON FUNCTION keep_tenant_id() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_tenant_id() TO thorbis_owner;

CREATE FUNCTION check_own_row_update() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_own_row_update';
COMMENT ON FUNCTION check_own_row_update() IS
    'BEFORE UPDATE row trigger: without the update permission only the listed columns may change (42501). Arguments: the resource, then the columns';
REVOKE ALL ON FUNCTION check_own_row_update() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_own_row_update() TO thorbis_owner;

CREATE FUNCTION invalidate_permissions() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_invalidate_permissions';
COMMENT ON FUNCTION invalidate_permissions() IS
    'AFTER row or TRUNCATE trigger on tables that decide access: every session drops what it cached';
REVOKE ALL ON FUNCTION invalidate_permissions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION invalidate_permissions() TO thorbis_owner;

CREATE FUNCTION check_role_grant() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_role_grant';
COMMENT ON FUNCTION check_role_grant() IS
    'BEFORE INSERT OR UPDATE row trigger on rbac tables: nobody grants what they lack (42501), no inheritance in a circle (23514)';
REVOKE ALL ON FUNCTION check_role_grant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_role_grant() TO thorbis_owner;

CREATE FUNCTION keep_last_owner() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_last_owner';
COMMENT ON FUNCTION keep_last_owner() IS
    'AFTER UPDATE OR DELETE row trigger on users and rbac tables: the last owner of a tenant stays (23001)';
REVOKE ALL ON FUNCTION keep_last_owner() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_last_owner() TO thorbis_owner;
