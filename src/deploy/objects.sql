-- The objects of schema $1, extension members and partitions aside (those come and go): rows (kind, identity, definition). Definitions are compared with
-- what was deployed. Attribute options are left out: some minor releases keep a hidden version there.
WITH s AS (SELECT oid FROM pg_namespace WHERE nspname = $1),
rel AS (
    SELECT c.*, format('%I.%I', $1, c.relname) AS name FROM s JOIN pg_class c ON c.relnamespace = s.oid
     WHERE NOT c.relispartition
       AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, name,
       CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) || coalesce(array_to_string(reloptions, ','), '')
            ELSE format('row security %s, forced %s, owner %s', relrowsecurity, relforcerowsecurity, relowner::regrole) END
  FROM rel WHERE relkind IN ('r', 'p', 'v')
UNION ALL
SELECT 'column', rel.name || '.' || quote_ident(a.attname),
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                 CASE WHEN a.attgenerated <> '' THEN 'GENERATED' WHEN d.adbin IS NOT NULL THEN 'DEFAULT' END,
                 pg_get_expr(d.adbin, d.adrelid))
  FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped
           LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE rel.relkind IN ('r', 'p')
UNION ALL
SELECT 'constraint', rel.name || ' ' || quote_ident(c.conname), pg_get_constraintdef(c.oid)
  FROM rel JOIN pg_constraint c ON c.conrelid = rel.oid WHERE c.contype <> 'n'
UNION ALL
SELECT 'index', format('%I.%I', $1, x.relname), pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
  FROM rel JOIN pg_index i ON i.indrelid = rel.oid JOIN pg_class x ON x.oid = i.indexrelid
UNION ALL
SELECT 'policy', rel.name || ' ' || quote_ident(p.polname),
       concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[]::text,
                 'USING ' || pg_get_expr(p.polqual, p.polrelid), 'CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid))
  FROM rel JOIN pg_policy p ON p.polrelid = rel.oid
UNION ALL
SELECT 'trigger', rel.name || ' ' || quote_ident(t.tgname),
       pg_get_triggerdef(t.oid) || ' enabled ' || t.tgenabled::text
  FROM rel JOIN pg_trigger t ON t.tgrelid = rel.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
  FROM s JOIN pg_proc p ON p.pronamespace = s.oid AND p.prokind IN ('f', 'p')
 WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1, 2
