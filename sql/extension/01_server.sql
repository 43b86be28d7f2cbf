-- Refuses servers on which isolation cannot hold, before anything is created.

CREATE SCHEMA thorbis;
COMMENT ON SCHEMA thorbis IS 'Administration of thorbis_db: deployment, protection, tenants';

CREATE FUNCTION thorbis.assert_supported_server() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'assert_supported_server_wrapper';
COMMENT ON FUNCTION thorbis.assert_supported_server() IS
    'Raises 0A000 on a PostgreSQL release older than 15.14, 16.10 or 17.6';
REVOKE ALL ON FUNCTION thorbis.assert_supported_server() FROM PUBLIC;

SELECT thorbis.assert_supported_server();
