-- Default privileges of the database may have granted our functions to others, trigger functions included.
DO $$
DECLARE
    extra record;
BEGIN
    FOR extra IN
        SELECT p.oid::pg_catalog.regprocedure AS function, a.grantee::pg_catalog.regrole AS role
          FROM pg_catalog.pg_proc p
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
                                     AND d.deptype = 'e'
          JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'thorbis_db',
               pg_catalog.aclexplode(p.proacl) a
         WHERE a.grantee <> p.proowner AND a.grantee <> 0
           AND a.grantee::pg_catalog.regrole::text NOT LIKE 'thorbis\_%'
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM %s', extra.function, extra.role);
    END LOOP;
END
$$;

-- CREATE EXTENSION mutes notices of its script; this one is for the person who typed it.
DO $$
BEGIN
    SET LOCAL client_min_messages = notice;
    RAISE NOTICE 'thorbis_db is created. Next: SELECT thorbis.install();';
END
$$;
