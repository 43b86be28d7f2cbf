//! The tenant tables as the catalog has them: a table added later is tested without anybody listing it.

use crate::database::Database;
use crate::tenants::Tenant;
use postgres::GenericClient;
use serde_json::Value;
use uuid::Uuid;

pub struct TenantTable {
    /// Qualified and quoted.
    pub name: String,
    /// Where the tenant stands: `tenant_id`, in shared.tenants `id`.
    pub tenant_column: String,
    /// Those that an INSERT may name: not the ciphertexts and blind indexes, which triggers fill.
    pub columns: Vec<String>,
    /// Those that the application may read: not the blind indexes.
    pub readable: Vec<String>,
    /// Those that the application may UPDATE.
    pub updatable: Vec<String>,
    /// What `thorbis_app` holds on the whole table.
    pub privileges: Vec<String>,
    /// Its rows are in its partitions, which nobody reaches but through it (shape.rs).
    pub is_partitioned: bool,
}

/// Every table of a module's schema that carries a tenant. Schema thorbis is administration, not tenant data.
pub fn tenant_tables(client: &mut impl GenericClient) -> Vec<TenantTable> {
    let sql = "
        SELECT format('%I.%I', n.nspname, c.relname), k.tenant_column,
               ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                        AND NOT EXISTS (SELECT FROM gdpr.pii_catalog p
                                         WHERE p.table_id = c.oid AND p.method = 'encrypt'
                                           AND a.attname IN (p.column_name || '_encrypted', p.column_name || '_bidx'))
                      ORDER BY a.attnum),
               ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND has_column_privilege('thorbis_app', c.oid, a.attnum, 'SELECT')
                      ORDER BY a.attnum),
               ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                        AND has_column_privilege('thorbis_app', c.oid, a.attnum, 'UPDATE')
                      ORDER BY a.attnum),
               ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
                      WHERE has_table_privilege('thorbis_app', c.oid, p)
                         OR p = 'SELECT' AND has_any_column_privilege('thorbis_app', c.oid, p)),
               c.relkind = 'p'
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace,
               LATERAL (SELECT CASE WHEN format('%I.%I', n.nspname, c.relname) = 'shared.tenants'
                                    THEN 'id' ELSE 'tenant_id' END) k(tenant_column)
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'thorbis')
           AND EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attname = k.tenant_column AND NOT a.attisdropped)
           AND (k.tenant_column = 'id' OR EXISTS (SELECT FROM pg_attribute a
                                                   WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))
         ORDER BY 1";
    let tables: Vec<TenantTable> = crate::ok(client.query(sql, &[]))
        .iter()
        .map(|row| TenantTable {
            name: row.get(0),
            tenant_column: row.get(1),
            columns: row.get(2),
            readable: row.get(3),
            updatable: row.get(4),
            privileges: row.get(5),
            is_partitioned: row.get(6),
        })
        .collect();
    assert!(tables.len() >= 10, "the catalog shows only {} tenant tables: is everything installed?", tables.len());
    tables
}

impl TenantTable {
    pub fn may(&self, privilege: &str) -> bool {
        self.privileges.iter().any(|p| p == privilege)
    }

    /// The select list that shows what the application may read.
    pub fn all(&self) -> String {
        self.readable.join(", ")
    }

    /// Rows of a tenant with their versions: differs when any was changed, even to the same values.
    pub fn fingerprint(&self, superuser: &mut impl GenericClient, tenant: Uuid) -> String {
        let sql = format!(
            "SELECT count(*) || ':' || coalesce(md5(string_agg(t.xmin::text || to_jsonb(t), E'\\n'
                                                               ORDER BY to_jsonb(t)::text)), '')
               FROM {} t WHERE {} = $1",
            self.name, self.tenant_column
        );
        crate::one(superuser, &sql, &[&tenant])
    }

    /// One row of a tenant as JSON, for building an attack with it: what an INSERT may name.
    pub fn row_of(&self, superuser: &mut impl GenericClient, tenant: &Tenant) -> Value {
        let columns = self.columns.join(", ");
        let sql = format!(
            "SELECT to_jsonb(t) FROM (SELECT {columns} FROM {} WHERE {} = $1 LIMIT 1) t",
            self.name, self.tenant_column
        );
        let row = crate::ok(superuser.query_opt(&sql, &[&tenant.id]));
        row.unwrap_or_else(|| panic!("{} has no row of {}: add one to tests/fixture.sql", self.name, tenant.name))
            .get(0)
    }

    /// The same row under another key, where the table has one.
    pub fn with_new_id(&self, mut row: Value) -> Value {
        if self.tenant_column != "id" && row.get("id").is_some_and(Value::is_string) {
            row["id"] = Uuid::new_v4().to_string().into();
        }
        row
    }

    /// INSERT of the row given as the text parameter `$1`.
    pub fn insert_sql(&self) -> String {
        let columns = self.columns.join(", ");
        format!(
            "INSERT INTO {0} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{0}, $1::text::jsonb)",
            self.name
        )
    }

    /// `a = a, b = b` over what the application may update; None when that is nothing.
    pub fn set_to_itself(&self) -> Option<String> {
        let pairs: Vec<String> = self.updatable.iter().map(|c| format!("{c} = {c}")).collect();
        (!pairs.is_empty()).then(|| pairs.join(", "))
    }
}

/// Schemas with our objects: the business and its administration.
const SCHEMAS: &str = "ARRAY(SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_'
                                AND nspname NOT IN ('information_schema', 'public'))";

/// The names that a query over the catalog finds break a rule. `{schemas}` stands for the schemas with our objects.
/// Exceptions are known names with the reason why they may.
#[track_caller]
pub fn assert_none(rule: &str, sql: &str, exceptions: &[(&str, &str)]) {
    let found = crate::ok(Database::untouched().superuser().query(&sql.replace("{schemas}", SCHEMAS), &[]));
    let mut offenders: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    offenders.retain(|name| exceptions.iter().all(|(known, _)| known != name));
    assert!(offenders.is_empty(), "{rule}:\n{offenders:#?}");
}
