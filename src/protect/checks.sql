-- Checks of the whole database: rows (severity, code, object, detail, remedy). Checks of single tables are in risks.sql
-- and plan.rs.
WITH app AS (
    -- Roles that act for users of tenants: thorbis_app and everybody who is a member of it; 0 is PUBLIC.
    SELECT 0::oid AS oid UNION ALL
    SELECT r.oid FROM pg_roles r WHERE NOT r.rolsuper AND pg_has_role(r.oid, 'thorbis_app', 'MEMBER')
), protected AS (
    WITH RECURSIVE p(oid) AS (SELECT table_id::oid FROM thorbis.protected_tables
                              UNION SELECT i.inhrelid FROM p JOIN pg_inherits i ON i.inhparent = p.oid)
    SELECT oid FROM p
), relation AS (
    SELECT c.oid, c.relkind, c.reloptions, format('%I.%I', n.nspname, c.relname) AS name, c.relispartition,
           EXISTS (SELECT 1 FROM aclexplode(c.relacl) a JOIN app ON app.oid = a.grantee
                    UNION ALL
                   SELECT 1 FROM pg_attribute x, aclexplode(x.attacl) a JOIN app ON app.oid = a.grantee
                    WHERE x.attrelid = c.oid) AS granted
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relpersistence <> 't'
)
SELECT 'error', 'unprotected_table', r.name, 'has a tenant_id and is granted to the application, but is not protected',
       format('SELECT thorbis.protect(%L);', r.name)
  FROM relation r
 WHERE r.relkind IN ('r', 'p') AND r.granted AND NOT r.relispartition AND r.oid NOT IN (SELECT oid FROM protected)
   AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
UNION ALL
SELECT 'error', 'partition_granted', r.name, 'is granted to the application: partitions are reached through their parent',
       format('REVOKE ALL ON %s FROM PUBLIC, thorbis_app;', r.name)
  FROM relation r WHERE r.relispartition AND r.granted AND r.oid IN (SELECT oid FROM protected)
UNION ALL
SELECT 'error', CASE r.relkind WHEN 'm' THEN 'materialized_view' ELSE 'definer_view' END, r.name,
       CASE r.relkind WHEN 'm' THEN 'holds rows of all tenants without row security'
                      ELSE 'reads a protected table with its owner''s rights' END,
       CASE r.relkind WHEN 'm' THEN format('REVOKE ALL ON %s FROM PUBLIC, thorbis_app;', r.name)
                      ELSE format('ALTER VIEW %s SET (security_invoker = true);', r.name) END
  FROM relation r
 WHERE r.relkind IN ('v', 'm') AND r.granted
   AND (r.relkind = 'm' OR NOT EXISTS (SELECT 1 FROM pg_options_to_table(r.reloptions) o
                                             WHERE o.option_name = 'security_invoker' AND o.option_value::boolean))
   AND EXISTS (SELECT 1 FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                WHERE w.ev_class = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM protected))
UNION ALL
SELECT 'error', 'definer_function', p.oid::regprocedure::text,
       'runs as ' || quote_ident(o.rolname) || ', which passes row security, and its search_path can be chosen by the caller',
       format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp; or SECURITY INVOKER.', p.oid::regprocedure)
  FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prosecdef AND (o.rolsuper OR o.rolbypassrls) AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND NOT EXISTS (SELECT 1 FROM unnest(p.proconfig) c WHERE c LIKE 'search\_path=%pg\_temp' OR c = 'search_path=""')
   AND (p.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) a JOIN app ON app.oid = a.grantee))
   AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'error', 'owner_role', 'thorbis_owner', 'can log in, or has members: who acts as the owner can switch row security off',
       'ALTER ROLE thorbis_owner NOLOGIN; REVOKE thorbis_owner FROM its members.'
  FROM pg_roles o WHERE o.rolname = 'thorbis_owner'
   AND (o.rolcanlogin OR o.rolsuper OR o.rolbypassrls
        OR EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles x ON x.oid = m.member WHERE m.roleid = o.oid AND NOT x.rolsuper))
UNION ALL
SELECT 'error', 'application_bypasses', r.rolname::text, 'acts for users of tenants and bypasses row security or is the platform',
       format('REVOKE thorbis_app FROM %I; or ALTER ROLE %I NOBYPASSRLS;', r.rolname, r.rolname)
  FROM pg_roles r
 WHERE NOT r.rolsuper AND pg_has_role(r.oid, 'thorbis_app', 'MEMBER') AND r.rolname <> 'thorbis_platform'
   AND (r.rolbypassrls OR pg_has_role(r.oid, 'thorbis_platform', 'MEMBER'))
UNION ALL
SELECT 'notice', 'bypassing_login', r.rolname::text, 'can log in and sees all tenants',
       'Keep such logins to operators; row security does not apply to them.'
  FROM pg_roles r WHERE r.rolcanlogin AND (r.rolsuper OR r.rolbypassrls) AND r.oid <> 10
UNION ALL
SELECT 'error', 'replication_role_grant', a.grantee::regrole::text, 'may set session_replication_role, which switches triggers off',
       format('REVOKE SET ON PARAMETER session_replication_role FROM %s;', a.grantee::regrole)
  FROM pg_parameter_acl p, aclexplode(p.paracl) a WHERE p.parname = 'session_replication_role' AND a.grantee <> 10
UNION ALL
SELECT 'error', 'context_grant', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
       'may set ' || p.parname || ' without being the gateway',
       format('REVOKE SET ON PARAMETER %s FROM %s;', p.parname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
  FROM pg_parameter_acl p, aclexplode(p.paracl) a
 WHERE p.parname IN ('app.current_tenant_id', 'app.current_user_id')
   AND a.grantee NOT IN (10, to_regrole('thorbis_gateway'), to_regrole('thorbis_platform'))
UNION ALL
SELECT 'warning', 'default_privileges', CASE d.defaclnamespace WHEN 0 THEN 'all schemas' ELSE d.defaclnamespace::regnamespace::text END,
       'new tables are granted to the application before anybody protects them',
       'ALTER DEFAULT PRIVILEGES ... REVOKE ALL ON TABLES FROM the application.'
  FROM pg_default_acl d, aclexplode(d.defaclacl) a JOIN app ON app.oid = a.grantee
 WHERE d.defaclobjtype = 'r' GROUP BY d.defaclnamespace
UNION ALL
SELECT 'warning', 'bound_role', b.role_name::text,
       CASE WHEN r.oid IS NULL THEN 'is bound to a tenant but does not exist' ELSE 'is bound to a tenant but passes row security' END,
       format('SELECT thorbis.unbind_role(%L); or mend the role.', b.role_name)
  FROM thorbis.bound_roles b LEFT JOIN pg_roles r ON r.rolname = b.role_name
 WHERE r.oid IS NULL OR r.rolsuper OR r.rolbypassrls
UNION ALL
SELECT 'warning', 'foreign_triggers', t.tgrelid::regclass::text || ' ' || quote_ident(t.tgname),
       'runs a function of schema ' || n.nspname || ', where the application may create objects',
       'Move the function to a schema in which only the owner may create.'
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE NOT t.tgisinternal AND t.tgrelid IN (SELECT oid FROM protected)
   AND EXISTS (SELECT 1 FROM aclexplode(n.nspacl) a JOIN app ON app.oid = a.grantee WHERE a.privilege_type = 'CREATE')
UNION ALL
SELECT 'notice', 'temporary_tables', quote_ident(d.datname), 'everybody may create temporary tables, which shadow names in pooled sessions; thorbis.import_rows() from a temporary table needs them',
       format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC;', d.datname)
  FROM pg_database d WHERE d.datname = current_database() AND has_database_privilege('thorbis_app', d.oid, 'TEMPORARY')
ORDER BY 1, 2, 3
