-- What would void the protection of table $1, whose tenant column is $2: rows (code, object, detail, remedy).
-- $3 names the policies that protection itself makes, $4 the columns the application may write: a key it cannot write
-- tells it nothing.
WITH t AS (
    SELECT c.oid, c.relowner, c.relacl, format('%I.%I', n.nspname, c.relname) AS name,
           (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped) AS tenant
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
), keys AS (
    SELECT i.*, x.relname, con.conname, k.contype
      FROM t JOIN pg_index i ON i.indrelid = t.oid
             JOIN pg_class x ON x.oid = i.indexrelid
             LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = t.oid
                                        AND con.contype IN ('p', 'u', 'x')
             CROSS JOIN LATERAL (SELECT CASE WHEN i.indisprimary THEN 'primary_key'
                                             WHEN i.indisexclusion THEN 'exclusion' ELSE 'unique' END) AS k(contype)
     WHERE (i.indisunique OR i.indisexclusion)
       AND NOT coalesce(t.tenant = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]), false)
       AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = ANY ($4::text[])
                      AND (a.attnum = ANY (i.indkey) OR i.indexprs IS NOT NULL))
)
SELECT k.contype || '_without_tenant', k.relname::text,
       CASE k.contype WHEN 'primary_key' THEN 'the primary key does not contain ' || quote_ident($2)
                      WHEN 'exclusion' THEN 'an exclusion constraint without ' || quote_ident($2) || ' compares tenants'
                      ELSE 'a unique key without ' || quote_ident($2) || ' tells one tenant which values another has' END,
       CASE WHEN k.contype = 'exclusion' THEN 'Recreate it with ' || quote_ident($2) || ' WITH = as its first element.'
            WHEN k.conname IS NULL THEN 'Recreate the index with ' || quote_ident($2) || ' as its first column.'
            ELSE format('ALTER TABLE %s %sDROP CONSTRAINT %I, ADD %s (%I%s);', t.name,
                        CASE WHEN t.tenant IS NULL THEN format('ADD COLUMN %I uuid, ', $2) END, k.conname,
                        CASE k.contype WHEN 'primary_key' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, $2,
                        (SELECT string_agg(', ' || quote_ident(a.attname), '' ORDER BY p.i)
                           FROM unnest((k.indkey::int2[])[0:k.indnkeyatts - 1]) WITH ORDINALITY AS p(attnum, i)
                           JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = p.attnum)) END
  FROM t, keys k
UNION ALL
-- Foreign-key checks ignore row security: without the tenant in the key, one tenant points at another's rows.
SELECT 'foreign_key_without_tenant', con.conname::text,
       format('the foreign key from %s to %s does not contain the tenant', con.conrelid::regclass, con.confrelid::regclass),
       format('Reference (%I, id): FOREIGN KEY (tenant_id, ...) REFERENCES %s (tenant_id, id).', $2, con.confrelid::regclass)
  FROM t JOIN pg_constraint con ON con.contype = 'f' AND con.conparentid = 0 AND t.oid IN (con.conrelid, con.confrelid)
  CROSS JOIN LATERAL (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = con.conrelid AND NOT a.attisdropped
                         AND a.attname = CASE WHEN con.conrelid = t.oid THEN $2 ELSE 'tenant_id' END) AS child(tenant)
  CROSS JOIN LATERAL (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = con.confrelid AND NOT a.attisdropped
                         AND a.attname = CASE WHEN con.confrelid = t.oid THEN $2 ELSE 'tenant_id' END) AS parent(tenant)
 WHERE NOT EXISTS (SELECT 1 FROM unnest(con.conkey, con.confkey) AS pair(c, p)
                    WHERE pair.c = child.tenant AND pair.p = parent.tenant)
UNION ALL
SELECT 'public_grant', t.name, 'PUBLIC holds ' || string_agg(DISTINCT acl.privilege_type, ', '),
       format('REVOKE ALL ON %s FROM PUBLIC;', t.name)
  FROM t, LATERAL (SELECT * FROM aclexplode(t.relacl)
                   UNION ALL
                   SELECT x.* FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = t.oid) AS acl
 WHERE acl.grantee = 0 GROUP BY t.name
UNION ALL
-- TRUNCATE ignores policies; a trigger runs in other tenants' sessions; REFERENCES shows which keys exist; MAINTAIN
-- (from 17 on) permits LOCK TABLE.
SELECT 'dangerous_grant', g.rolname::text, g.rolname || ' holds ' || string_agg(DISTINCT acl.privilege_type, ', '),
       format('REVOKE %s ON %s FROM %I;', string_agg(DISTINCT acl.privilege_type, ', '), t.name, g.rolname)
  FROM t, LATERAL (SELECT * FROM aclexplode(t.relacl)
                   UNION ALL
                   SELECT x.* FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = t.oid) AS acl
  JOIN pg_roles g ON g.oid = acl.grantee
 WHERE acl.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN') AND acl.grantee <> t.relowner
   AND NOT g.rolsuper AND NOT g.rolbypassrls
 GROUP BY t.name, g.rolname
UNION ALL
SELECT 'other_permissive_policy', p.polname::text,
       'a permissive policy beside those of protection is ORed with them',
       format('DROP POLICY %I ON %s; or make it AS RESTRICTIVE.', p.polname, t.name)
  FROM t JOIN pg_policy p ON p.polrelid = t.oid WHERE p.polpermissive AND NOT p.polname = ANY ($3::text[])
UNION ALL
SELECT 'owner_can_login', o.rolname::text, 'the owner ' || quote_ident(o.rolname) || ' can log in and switch row security off',
       format('ALTER TABLE %s OWNER TO thorbis_owner;', t.name)
  FROM t JOIN pg_roles o ON o.oid = t.relowner WHERE o.rolcanlogin
UNION ALL
SELECT 'owner_has_members', m.rolname::text, quote_ident(m.rolname) || ' is a member of the owner and can switch row security off',
       format('REVOKE %I FROM %I; or ALTER TABLE %s OWNER TO thorbis_owner;', o.rolname, m.rolname, t.name)
  FROM t JOIN pg_roles o ON o.oid = t.relowner
         JOIN pg_roles m ON m.oid <> o.oid AND NOT m.rolsuper AND pg_has_role(m.oid, o.oid, 'MEMBER')
UNION ALL
SELECT 'child_of_other_table', parent.inhparent::regclass::text,
       'rows are also reachable through ' || parent.inhparent::regclass,
       'ALTER TABLE ' || t.name || ' NO INHERIT ' || parent.inhparent::regclass || ';'
  FROM t JOIN pg_inherits parent ON parent.inhrelid = t.oid
ORDER BY 1, 2
