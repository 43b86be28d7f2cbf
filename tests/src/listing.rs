//! A database written down as sorted lines: every object with its definition, every grant, every row. Two databases
//! with the same listing are the same as far as a user can tell.

use postgres::GenericClient;

/// Objects of all schemas but the system's. Left out is what differs by nature: identifiers of the catalog, and the
/// column options in which some minor releases keep a hidden version.
const OBJECTS: &str = "
WITH ns AS (
    SELECT oid, nspname, nspacl, nspowner FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), rel AS (
    SELECT c.*, format('%I.%I', ns.nspname, c.relname) AS name FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
), acl(kind, name, acl) AS (
    SELECT 'schema', quote_ident(nspname), nspacl FROM ns
    UNION ALL SELECT 'relation', name, relacl FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL SELECT 'column', rel.name || '.' || a.attname, a.attacl FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid
    UNION ALL SELECT 'function', p.oid::regprocedure::text, p.proacl FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
)
SELECT 'schema ' || quote_ident(nspname) || ' owner ' || nspowner::regrole FROM ns
UNION ALL
SELECT 'extension ' || extname || ' ' || extversion || ' in ' || extnamespace::regnamespace FROM pg_extension
UNION ALL
SELECT format('relation %s kind %s owner %s row security %s forced %s options %s', name, relkind, relowner::regrole,
              relrowsecurity, relforcerowsecurity, reloptions)
  FROM rel WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
UNION ALL
SELECT format('column %s.%I %s not null %s generated %s default %s', rel.name, a.attname,
              format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
  FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE rel.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT format('constraint %s %I %s', rel.name, k.conname, pg_get_constraintdef(k.oid))
  FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid
UNION ALL
SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM rel JOIN pg_index i ON i.indrelid = rel.oid
UNION ALL
SELECT format('trigger %s enabled %s', pg_get_triggerdef(t.oid), t.tgenabled)
  FROM rel JOIN pg_trigger t ON t.tgrelid = rel.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT format('policy %s %I for %s permissive %s to %s using %s check %s', rel.name, p.polname, p.polcmd, p.polpermissive,
              p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
  FROM rel JOIN pg_policy p ON p.polrelid = rel.oid
UNION ALL
SELECT format('view %s %s', name, pg_get_viewdef(oid)) FROM rel WHERE relkind IN ('v', 'm')
UNION ALL
SELECT format('function owner %s %s', p.proowner::regrole, pg_get_functiondef(p.oid))
  FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace WHERE p.prokind IN ('f', 'p')
UNION ALL
SELECT format('grant %s %s to %s of %s', acl.kind, acl.name,
              CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END,
              string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', '
                         ORDER BY x.privilege_type))
  FROM acl, aclexplode(acl.acl) x GROUP BY acl.kind, acl.name, x.grantee
UNION ALL
SELECT format('comment %s: %s', o.what, o.said)
  FROM (SELECT 'relation ' || name, obj_description(oid, 'pg_class') FROM rel
        UNION ALL
        SELECT 'column ' || rel.name || '.' || a.attname, col_description(rel.oid, a.attnum)
          FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid
        UNION ALL
        SELECT 'schema ' || nspname, obj_description(oid, 'pg_namespace') FROM ns
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure, obj_description(p.oid, 'pg_proc')
          FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace) o(what, said)
 WHERE o.said IS NOT NULL
ORDER BY 1";

pub fn objects(superuser: &mut impl GenericClient) -> Vec<String> {
    crate::ok(superuser.query(OBJECTS, &[])).iter().map(|row| row.get(0)).collect()
}

/// One line a table: how many rows, and a digest over all of them.
pub fn rows(superuser: &mut impl GenericClient) -> Vec<String> {
    let tables = crate::ok(superuser.query(
        "SELECT c.oid::regclass::text FROM pg_class c
          WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema$)' ORDER BY 1",
        &[],
    ));
    tables
        .iter()
        .map(|row| row.get::<_, String>(0))
        .map(|table| {
            let sql = format!(
                "SELECT count(*) || ' ' || coalesce(md5(string_agg(r, E'\\n' ORDER BY r)), '')
                                 FROM (SELECT to_jsonb(t)::text FROM {table} t) s(r)"
            );
            format!("{table} {}", crate::one::<String>(superuser, &sql, &[]))
        })
        .collect()
}

/// Panics with the lines that only one side has.
#[track_caller]
pub fn assert_same(what: &str, expected: &[String], found: &[String]) {
    let only = |these: &[String], those: &[String], mark: &str| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{mark} {line}")).collect()
    };
    let mut difference = only(expected, found, "-");
    difference.extend(only(found, expected, "+"));
    assert!(difference.is_empty(), "{what} differ:\n{}", difference.join("\n"));
}
