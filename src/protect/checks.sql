-- Checks of the whole database: rows (severity, code, object, detail, remedy). Checks of single tables are in risks.sql
-- and plan.rs.
WITH app AS (
    -- Roles that act for users of tenants, and every role these can become; 0 is PUBLIC.
    SELECT 0::oid AS oid UNION
    SELECT x.oid FROM pg_roles r JOIN pg_roles x ON pg_has_role(r.oid, x.oid, 'MEMBER')
     WHERE NOT r.rolsuper AND r.rolname NOT IN ('thorbis_platform', 'thorbis_owner')
       AND (pg_has_role(r.oid, 'thorbis_app', 'MEMBER') OR pg_has_role(r.oid, 'thorbis_gateway', 'MEMBER'))
), protected AS (
    WITH RECURSIVE p(oid) AS (SELECT table_id::oid FROM thorbis.protected_tables
                              UNION SELECT i.inhrelid FROM p JOIN pg_inherits i ON i.inhparent = p.oid)
    SELECT oid FROM p
), reading AS (
    -- Views and materialized views that read a protected table, at any depth.
    WITH RECURSIVE v(oid) AS (
        SELECT w.ev_class FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM protected)
        UNION
        SELECT w.ev_class FROM v JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
                               JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid)
    SELECT oid FROM v
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
   AND r.oid IN (SELECT oid FROM reading)
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
SELECT 'error', 'application_bypasses', r.rolname::text,
       'acts for users of tenants and ' || CASE WHEN r.rolsuper THEN 'is a superuser' WHEN r.rolbypassrls THEN 'bypasses row security'
                                                WHEN r.rolreplication THEN 'may replicate' ELSE 'may create roles' END,
       format('REVOKE thorbis_app, thorbis_gateway FROM %I; or ALTER ROLE %I NOSUPERUSER NOBYPASSRLS NOREPLICATION NOCREATEROLE;',
              r.rolname, r.rolname)
  FROM pg_roles r
 WHERE (r.rolsuper OR r.rolbypassrls OR r.rolreplication OR r.rolcreaterole)
   AND CASE WHEN r.rolsuper  -- is a member of everything: only what was granted counts
            THEN r.rolname IN ('thorbis_app', 'thorbis_gateway')
                 OR EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid
                               AND m.roleid IN (to_regrole('thorbis_app'), to_regrole('thorbis_gateway')))
            ELSE pg_has_role(r.oid, 'thorbis_app', 'MEMBER') OR pg_has_role(r.oid, 'thorbis_gateway', 'MEMBER') END
UNION ALL
SELECT 'error', 'application_reaches', r.rolname::text,
       'can be reached by the application with SET ROLE: ' || CASE r.rolname WHEN 'thorbis_owner' THEN 'it owns the tables'
            WHEN 'thorbis_platform' THEN 'it sees all tenants' ELSE 'it reads or writes past row security or the database' END,
       format('REVOKE %I FROM the roles of the application.', r.rolname)
  FROM pg_roles r JOIN app ON app.oid = r.oid
 WHERE (r.rolsuper OR r.rolbypassrls) AND NOT pg_has_role(r.oid, 'thorbis_app', 'MEMBER')
    OR r.rolname IN ('thorbis_owner', 'thorbis_platform', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files',
                     'pg_execute_server_program')
UNION ALL
SELECT 'error', 'schema_owner', quote_ident(n.nspname), 'is owned by a role of the application, which can replace the protected tables in it',
       format('ALTER SCHEMA %I OWNER TO thorbis_owner;', n.nspname)
  FROM pg_namespace n JOIN app ON app.oid = n.nspowner
 WHERE EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.oid IN (SELECT oid FROM protected))
UNION ALL
SELECT 'error', 'child_owner', c.oid::regclass::text, 'is a partition or child owned by a role of the application',
       format('ALTER TABLE %s OWNER TO thorbis_owner;', c.oid::regclass)
  FROM pg_class c JOIN app ON app.oid = c.relowner WHERE c.oid IN (SELECT oid FROM protected)
UNION ALL
SELECT 'error', 'replica_role_setting', coalesce(r.rolname::text, d.datname::text, 'all'),
       'is given session_replication_role, which switches triggers off',
       concat_ws(' ', 'ALTER', CASE WHEN r.oid IS NULL THEN 'DATABASE ' || quote_ident(d.datname)
                                    ELSE 'ROLE ' || quote_ident(r.rolname) || coalesce(' IN DATABASE ' || quote_ident(d.datname), '') END,
                 'RESET session_replication_role;')
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
       unnest(s.setconfig) c
 WHERE c LIKE 'session\_replication\_role=%' AND c NOT LIKE '%=origin'
   AND (s.setdatabase = 0 OR d.datname = current_database())
UNION ALL
SELECT 'error', 'member_function_grant', p.oid::regprocedure::text,
       'may be called by ' || g.name || ', which it was not granted to by thorbis_db',
       format('REVOKE ALL ON FUNCTION %s FROM %s;', p.oid::regprocedure, g.name)
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'thorbis_db', aclexplode(p.proacl) a,
  LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) AS g(name)
 WHERE p.prorettype = 'trigger'::regtype AND a.grantee NOT IN (p.proowner, to_regrole('thorbis_owner'))
UNION ALL
SELECT 'warning', 'definer_reader', p.oid::regprocedure::text,
       'runs as ' || quote_ident(o.rolname) || ', which passes row security: what it shows is up to its text',
       format('ALTER FUNCTION %s SECURITY INVOKER; unless it names the tenant in every statement.', p.oid::regprocedure)
  FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prosecdef AND (o.rolsuper OR o.rolbypassrls) AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND EXISTS (SELECT 1 FROM unnest(p.proconfig) c WHERE c LIKE 'search\_path=%pg\_temp' OR c = 'search_path=""')
   AND (p.proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(p.proacl) a JOIN app ON app.oid = a.grantee))
   AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'notice', 'shared_sequence', s.oid::regclass::text, 'numbers rows of all tenants: gaps tell one how much the others do',
       'Use a uuid, or assign_document_number() for a number per tenant.'
  FROM pg_class s JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i')
 WHERE s.relkind = 'S' AND d.refobjid IN (SELECT oid FROM protected)
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
-- What is not classified is not exported, not erased, and not looked for.
SELECT 'warning', 'unclassified_column', format('%s.%I', p.table_id::regclass, a.attname),
       'can hold personal data, and nobody said whether it does',
       'Name it in the option pii or not_personal of thorbis.protect().'
  FROM thorbis.protected_tables p
  JOIN pg_attribute a ON a.attrelid = p.table_id AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  -- What an array holds, and what a domain stands for.
  LEFT JOIN pg_type e ON e.oid = coalesce(nullif(t.typelem, 0), nullif(t.typbasetype, 0), t.oid)
 WHERE (e.typcategory = 'S' AND e.typname <> 'char' OR e.typname IN ('json', 'jsonb', 'inet', 'cidr', 'citext') OR t.typname = 'name')
   AND NOT coalesce(p.options -> 'not_personal' ? a.attname, false)
   AND NOT coalesce(p.options -> 'companions' ? a.attname, false)
   AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(p.options -> 'pii') c WHERE a.attname = c ->> 'column')
UNION ALL
SELECT 'error', 'key_in_setting', coalesce(r.rolname::text, d.datname::text, 'all'), 'is given ' || split_part(c, '=', 1)
       || ', a key that everybody can read in pg_db_role_setting, and every dump of the server carries',
       concat_ws(' ', 'ALTER', CASE WHEN r.oid IS NULL THEN 'DATABASE ' || quote_ident(d.datname)
                                    ELSE 'ROLE ' || quote_ident(r.rolname) || coalesce(' IN DATABASE ' || quote_ident(d.datname), '') END,
                 'RESET', split_part(c, '=', 1) || ';')
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
       unnest(s.setconfig) c
 WHERE c ~* '^[a-z0-9_]+\.[a-z0-9_]*(encryption|secret|jwt)_?key=' AND (s.setdatabase = 0 OR d.datname = current_database())
UNION ALL
SELECT 'warning', 'logged_parameters', quote_ident(s.name), 'parameters of statements get into the server log, personal data among them',
       format('ALTER SYSTEM SET %I = 0; SELECT pg_reload_conf();', s.name)
  FROM pg_settings s
 WHERE s.setting <> '0'
   AND (s.name = 'log_parameter_max_length_on_error'
        OR s.name = 'log_parameter_max_length'
           AND EXISTS (SELECT 1 FROM pg_settings l WHERE l.name = 'log_statement' AND l.setting IN ('mod', 'all')
                          OR l.name IN ('log_min_duration_statement', 'log_min_duration_sample') AND l.setting <> '-1'
                          OR l.name = 'log_duration' AND l.setting = 'on'
                          OR l.name = 'log_transaction_sample_rate' AND l.setting <> '0'))
   AND EXISTS (SELECT 1 FROM thorbis.protected_tables p WHERE p.options @> '{"pii": [{"method": "encrypt"}]}')
UNION ALL
SELECT 'notice', 'temporary_tables', quote_ident(d.datname), 'everybody may create temporary tables, which shadow names in pooled sessions; thorbis.import_rows() from a temporary table needs them',
       format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC;', d.datname)
  FROM pg_database d WHERE d.datname = current_database() AND has_database_privilege('thorbis_app', d.oid, 'TEMPORARY')
ORDER BY 1, 2, 3
