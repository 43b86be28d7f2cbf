-- Every index, grouped as the requirements group them; within a group by table. "Serves" names the foreign key whose
-- columns the index starts with.
SET search_path = pg_catalog;

WITH purpose(position, title, remark) AS (VALUES
    (1, 'Primary indexes', 'What identifies a row: primary keys and unique keys without a condition.'),
    (2, 'Performance indexes', 'What looks up the rows that point at another row: one for each foreign key that is always set.'),
    (3, 'Composite indexes', 'What answers the common queries of a tenant: filters and orders after the tenant. And the small '
        'indexes of the log of changes, for the history of a row and for sealing.'),
    (4, 'Partial indexes', 'What holds only some rows: live ones, or those whose optional reference is set.'),
    (5, 'Full-text indexes', 'What searches words.')
), indexes AS (
    SELECT i.*, t.oid::regclass::text AS on_table, x.relname::text AS name,
           replace(substring(pg_get_indexdef(x.oid) FROM 'USING (.*?)(?: WHERE .*)?$'), '|', '\|') AS definition,
           pg_get_expr(i.indpred, i.indrelid) AS condition,
           (SELECT string_agg(k.conname, ', ' ORDER BY k.conname)
              FROM pg_constraint k
             WHERE k.conrelid = i.indrelid AND k.contype = 'f' AND NOT i.indisprimary AND cardinality(k.conkey) > 1
               AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) LIKE '% IS NOT NULL)')
               AND k.conkey @> (i.indkey::int2[])[0:cardinality(k.conkey) - 1]
               AND k.conkey <@ (i.indkey::int2[])[0:cardinality(k.conkey) - 1]) AS serves
      FROM pg_index i
      JOIN pg_class x ON x.oid = i.indexrelid
      JOIN pg_class t ON t.oid = i.indrelid
     WHERE t.relnamespace IN (SELECT module::regnamespace FROM thorbis.migrations) AND t.relkind IN ('r', 'p')
       AND NOT t.relispartition
), grouped AS (
    SELECT i.*, CASE WHEN definition LIKE '%to_tsvector%' THEN 5 WHEN condition IS NOT NULL THEN 4
                     WHEN indisunique THEN 1 WHEN definition ~ '^(hash|brin)' THEN 3 WHEN serves IS NOT NULL OR indnkeyatts = 1 THEN 2 ELSE 3 END AS position
      FROM indexes i
)
SELECT format(E'\n## %s\n\n%s\n\n| Table | Index | Definition | Unique | Condition | Serves | Remark |\n|---|---|---|---|---|---|---|\n%s', p.title, p.remark,
              string_agg(format('| %s | `%s` | `%s` | %s | %s | %s | %s |', g.on_table, g.name, g.definition,
                                CASE WHEN g.indisprimary THEN 'primary key' WHEN g.indisunique THEN 'yes' ELSE '' END,
                                coalesce('`' || g.condition || '`', ''), coalesce(g.serves, ''),
                                coalesce(obj_description(g.indexrelid, 'pg_class'), '')),
                         E'\n' ORDER BY g.on_table COLLATE "C", NOT g.indisprimary, g.name COLLATE "C"))
  FROM purpose p JOIN grouped g USING (position)
 GROUP BY p.position, p.title, p.remark
 ORDER BY p.position;
