-- Every policy, table by table, with what thorbis_app may do there; then what can be permitted and the role templates.
SET search_path = pg_catalog;

WITH tables AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relrowsecurity, p.resource,
           (SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
              FROM aclexplode(c.relacl) a WHERE a.grantee = 'thorbis_app'::regrole) AS granted,
           (SELECT string_agg(x.attname, ', ' ORDER BY x.attnum)
              FROM pg_attribute x, aclexplode(x.attacl) a
             WHERE x.attrelid = c.oid AND a.grantee = 'thorbis_app'::regrole AND a.privilege_type = 'UPDATE') AS updatable,
           has_table_privilege('thorbis_auditor', c.oid, 'SELECT') AS audited,
           -- Of tables that are readable by column.
           (SELECT string_agg(x.attname, ', ' ORDER BY x.attnum)
              FROM pg_attribute x
             WHERE x.attrelid = c.oid AND x.attnum > 0 AND NOT x.attisdropped
               AND has_any_column_privilege('thorbis_app', c.oid, 'SELECT')
               AND NOT has_column_privilege('thorbis_app', c.oid, x.attnum, 'SELECT')) AS hidden
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN thorbis.protected_tables p ON p.table_id = c.oid
), policies AS (
    SELECT t.name,
           format('| `%s` | %s | %s | %s | %s | %s |', p.polname,
                  CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                WHEN 'd' THEN 'DELETE' ELSE 'all' END,
                  CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
                  CASE p.polroles WHEN '{0}' THEN 'everybody' ELSE array_to_string(p.polroles::regrole[], ', ') END,
                  coalesce('`' || pg_get_expr(p.polqual, p.polrelid) || '`', ''),
                  coalesce('`' || pg_get_expr(p.polwithcheck, p.polrelid) || '`', '')) AS line,
           (NOT p.polpermissive, p.polname)::text AS position
      FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
)
SELECT format(E'\n### %s\n\nResource `%s`. thorbis_app: %s%s%s.%s\n\n'
              '| Policy | Command | Kind | For | Rows it shows or touches (USING) | Rows it accepts (WITH CHECK) |\n'
              '|---|---|---|---|---|---|\n%s',
              t.name, t.resource, t.granted, coalesce('; SELECT of all but ' || t.hidden, ''), coalesce('; UPDATE of ' || t.updatable, ''),
              CASE WHEN t.audited THEN ' thorbis_auditor: SELECT.' END,
              string_agg(p.line, E'\n' ORDER BY p.position COLLATE "C"))
  FROM tables t JOIN policies p USING (name)
 GROUP BY t.name, t.resource, t.granted, t.updatable, t.hidden, t.audited
 ORDER BY t.name COLLATE "C";

SELECT E'\n## Tables without row security\n\n'
       'The global look-up tables are the same for all tenants and read-only for the application; the registry in schema '
       'thorbis and the seals of the log of changes are closed to it.\n\n| Table | What it holds | thorbis_app may |\n|---|---|---|';
SELECT format('| %s | %s | %s |', c.oid::regclass, obj_description(c.oid, 'pg_class'),
              coalesce((SELECT string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
                          FROM aclexplode(c.relacl) a WHERE a.grantee = 'thorbis_app'::regrole), 'nothing'))
  FROM pg_class c
 WHERE c.relnamespace IN (SELECT module::regnamespace FROM thorbis.migrations)
   AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity AND NOT c.relispartition
 ORDER BY c.oid::regclass::text COLLATE "C";

SELECT E'\n## What can be permitted\n\n| Resource | Actions | Tables |\n|---|---|---|';
SELECT format('| %s | %s | %s |', p.resource,
              string_agg(p.action, ', ' ORDER BY array_position(ARRAY['read', 'create', 'update', 'delete', 'admin'], p.action), p.action COLLATE "C"),
              (SELECT string_agg(t.table_id::text, ', ' ORDER BY t.table_id::text COLLATE "C")
                 FROM thorbis.protected_tables t WHERE t.resource = p.resource))
  FROM rbac.permissions p GROUP BY p.resource ORDER BY p.resource COLLATE "C";

SELECT E'\n## Roles a tenant starts with\n\nCopied by `thorbis.create_tenant()`; each tenant changes its own copies.\n\n'
       '| Role | For | Tenants of | Permissions |\n|---|---|---|---|';
SELECT format('| %s | %s | %s | %s |', t.code, t.description, CASE t.module WHEN 'shared' THEN 'every industry' ELSE t.module END,
              CASE WHEN t.is_owner THEN 'all' ELSE string_agg(p.resource || ':' || p.action, ', '
                   ORDER BY p.resource COLLATE "C", p.action COLLATE "C") END)
  FROM rbac.role_templates t LEFT JOIN rbac.role_template_permissions p ON p.role_template_code = t.code
 GROUP BY t.code ORDER BY NOT t.is_owner, t.module <> 'shared', t.code COLLATE "C";
