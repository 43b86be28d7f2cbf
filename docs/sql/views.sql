-- Every view, grouped by purpose, with its columns. Purposes follow the schema; reporting views are named here.
SET search_path = pg_catalog;

WITH purpose(position, title, remark) AS (VALUES
    (1, 'Business views', NULL),
    (2, 'Reporting views', NULL),
    (3, 'Security views', 'Permissions, data protection, who changed what, and tables with their encrypted columns masked or decrypted.'),
    (4, 'Integration views', 'None yet.'),
    (5, 'Administrative views', '`thorbis.status()` and `thorbis.doctor()` are functions: see FUNCTIONS.md. What to watch: OPERATIONS.md.')
), views AS (
    SELECT c.oid, c.oid::regclass::text AS name,
           CASE WHEN n.nspname = 'thorbis' OR c.oid::regclass::text IN ('audit.roots', 'audit.v_chain_status') THEN 5
                WHEN n.nspname IN ('rbac', 'gdpr', 'audit') OR c.relname LIKE ANY (ARRAY['%\_masked', '%\_pii']) THEN 3
                WHEN c.relname IN ('v_daily_sales') THEN 2 ELSE 1 END AS position,
           'security_invoker=true' = ANY (coalesce(c.reloptions, '{}')) AS invoker,
           (SELECT string_agg(a.grantee::regrole::text, ', ' ORDER BY a.grantee::regrole::text COLLATE "C")
              FROM aclexplode(c.relacl) a WHERE a.privilege_type = 'SELECT' AND a.grantee <> c.relowner) AS readers
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm') AND n.nspname IN (SELECT module FROM thorbis.migrations)
), texts AS (
    SELECT v.position, v.name,
           format(E'\n### %s\n\n%s. %s SELECT: %s.\n\n| Column | Type | Meaning |\n|---|---|---|\n%s', v.name,
                  rtrim(obj_description(v.oid, 'pg_class'), '.'),
                  CASE WHEN v.invoker THEN 'Runs with the rights and policies of whoever asks.' ELSE 'Runs with the rights of its owner.' END,
                  coalesce(v.readers, 'superusers only'),
                  (SELECT string_agg(format('| %s | %s | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
                                            col_description(v.oid, a.attnum)), E'\n' ORDER BY a.attnum)
                     FROM pg_attribute a WHERE a.attrelid = v.oid AND a.attnum > 0)) AS text
      FROM views v
)
SELECT format(E'\n## %s\n', p.title) || coalesce(E'\n' || p.remark || E'\n', '') || coalesce(string_agg(t.text, E'\n' ORDER BY t.name COLLATE "C"), '')
  FROM purpose p LEFT JOIN texts t USING (position)
 GROUP BY p.position, p.title, p.remark
 ORDER BY p.position;
