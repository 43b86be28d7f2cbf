-- Superuser: the extension, the schemas, and the login of an application.
SET client_min_messages = warning;
CREATE EXTENSION thorbis_db;
SELECT thorbis.install('{restaurants}', preload => true);
-- Applications that need no temporary tables should not be able to make any: the doctor says why.
REVOKE TEMPORARY ON DATABASE thorbis_demo FROM PUBLIC;

SELECT 'CREATE ROLE demo_app LOGIN' WHERE to_regrole('demo_app') IS NULL \gexec
SELECT thorbis.grant_app('demo_app');
