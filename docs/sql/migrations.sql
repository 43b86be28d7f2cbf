-- The migrations of this version as an installation records them, and the tables they make.
SET search_path = pg_catalog;

SELECT E'\n## Migrations of this version\n\nVersion 0 is the repeatable file of the module''s views. The checksum is the '
       'beginning of the SHA-256 of the file.\n\n| Module | Version | File | Checksum |\n|---|---|---|---|';
SELECT format('| %1$s | %2$s | sql/schema/%1$s/%3$s.sql | `%4$s` |', m.module, m.version, m.name, left(m.checksum, 16))
  FROM thorbis.migrations m
 ORDER BY array_position(ARRAY['thorbis', 'audit', 'shared', 'rbac', 'gdpr'], m.module), m.module COLLATE "C", m.version = 0, m.version;

SELECT E'\n## Tables they make\n\n| Table | What it holds |\n|---|---|';
SELECT format('| %s | %s |', c.oid::regclass, obj_description(c.oid, 'pg_class'))
  FROM pg_class c
 WHERE c.relnamespace IN (SELECT module::regnamespace FROM thorbis.migrations) AND c.relkind IN ('r', 'p')
   -- The months of the log.
   AND NOT c.relispartition
 ORDER BY c.oid::regclass::text COLLATE "C";
