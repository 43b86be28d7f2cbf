//! A table as the catalog describes it.

use crate::access::invalidation;
use crate::deploy::engine::OWNER;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{column, optional, query, query_one};
use crate::protect::error::ProtectError;
use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_qualified_identifier};

#[derive(Debug, Clone)]
pub struct Table {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    pub primary_key: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub data_type: String,
    pub not_null: bool,
    pub default: Option<String>,
    pub generated: bool,
    pub identity: bool,
}

impl Table {
    /// Reads the catalog and refuses what cannot be protected. The table stays as it is until the transaction ends.
    pub fn read(oid: pg_sys::Oid) -> Result<Table, ProtectError> {
        crate::pg::identity::lock_relation(oid, pg_sys::AccessShareLock);
        let Some((schema, name, kind, persistence, parent)) = query_one(
            "SELECT n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
                    (SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid AND c.relispartition)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[oid.into()],
            |row| {
                let text = |i| column::<String>(row, i);
                (text(1), text(2), text(3), text(4), optional::<String>(row, 5))
            },
        ) else {
            return Err(ProtectError::NoTable);
        };
        let table = quote_qualified_identifier(&schema, &name);
        if schema == "information_schema" || schema == "thorbis" || schema.starts_with("pg_") && persistence != "t" {
            return Err(ProtectError::System { table });
        }
        if persistence == "t" {
            return Err(ProtectError::Temporary { table });
        }
        if let Some(parent) = parent {
            return Err(ProtectError::Partition { table, parent });
        }
        let kind = match kind.as_str() {
            "r" | "p" => None,
            "v" => Some("view"),
            "m" => Some("materialized view"),
            "f" => Some("foreign table"),
            "S" => Some("sequence"),
            "i" | "I" => Some("index"),
            _ => Some("relation of another kind"),
        };
        if let Some(kind) = kind {
            return Err(ProtectError::NotATable { table, kind });
        }
        Ok(Table { oid, schema, name, columns: columns(oid), primary_key: primary_key(oid) })
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The one column that identifies a row within its tenant: what ciphertexts of the row are bound to.
    pub fn row_key(&self, tenant_column: &str) -> Result<&str, ProtectError> {
        const TYPES: [&str; 5] = ["uuid", "text", "smallint", "integer", "bigint"];
        let mut keys = self.primary_key.iter().filter(|name| *name != tenant_column);
        match (keys.next().and_then(|name| self.column(name)), keys.next()) {
            (Some(key), None) if TYPES.contains(&key.data_type.as_str()) => Ok(&key.name),
            _ => Err(ProtectError::NoRowKey { table: self.quoted(), tenant: tenant_column.into() }),
        }
    }

    /// Quoted, for SQL text.
    pub fn quoted(&self) -> String {
        quote_qualified_identifier(&self.schema, &self.name)
    }

    pub fn quoted_schema(&self) -> String {
        quote_identifier(&self.schema)
    }

    /// As the table's owner, with nothing more than its rights: the name could stand for a view of theirs by now.
    pub fn has_rows(&self, condition: &str) -> bool {
        let rows = format!("SELECT 1 FROM {} WHERE {condition} LIMIT 1", self.quoted());
        as_owner(self.oid, || crate::pg::sql::exists(&rows, &[]))
    }

    /// Whether other tables inherit from this one. Partitions do not count.
    pub fn has_children(&self) -> bool {
        crate::pg::sql::exists(
            "SELECT 1 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1 AND NOT c.relispartition",
            &[self.oid.into()],
        )
    }

    /// All partitions beneath a partitioned table and all children of an inheritance parent, at any depth.
    pub fn descendants(&self) -> Vec<(pg_sys::Oid, String)> {
        query(
            "WITH RECURSIVE d(oid) AS (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1
                                       UNION ALL SELECT i.inhrelid FROM d JOIN pg_inherits i ON i.inhparent = d.oid)
             SELECT d.oid, format('%I.%I', n.nspname, c.relname)
               FROM d JOIN pg_class c ON c.oid = d.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 2",
            &[self.oid.into()],
            |row| (column(row, 1), column(row, 2)),
        )
    }
}

/// Runs `body` as the owner of a table, with names resolving to PostgreSQL's own. Of an owner who is not ours nothing
/// outlives the statement: the table may have triggers and types of theirs.
pub fn as_owner<R>(table: pg_sys::Oid, body: impl FnOnce() -> R) -> R {
    let owner = invalidation::owner_of(table).unwrap_or(pg_sys::InvalidOid);
    let _path = SettingsScope::pinned_path();
    let _identity = if identity::role_oid(OWNER) == Some(owner) {
        ActingAs::owner(owner)
    } else {
        ActingAs::untrusted_owner(owner)
    };
    body()
}

/// The quoted, qualified name of a relation that exists.
pub fn qualified_name(oid: pg_sys::Oid) -> String {
    query_one(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = $1",
        &[oid.into()],
        |row| column::<String>(row, 1),
    )
    .unwrap_or_else(|| oid.to_string())
}

/// The columns of a table or view, in their order.
pub fn columns(oid: pg_sys::Oid) -> Vec<Column> {
    query(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                pg_get_expr(d.adbin, d.adrelid), a.attgenerated <> '', a.attidentity <> ''
           FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[oid.into()],
        |row| Column {
            name: column(row, 1),
            data_type: column(row, 2),
            not_null: column(row, 3),
            default: optional(row, 4),
            generated: column(row, 5),
            identity: column(row, 6),
        },
    )
}

fn primary_key(oid: pg_sys::Oid) -> Vec<String> {
    query(
        "SELECT a.attname::text FROM pg_index i, pg_attribute a
          WHERE i.indrelid = $1 AND i.indisprimary AND a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)",
        &[oid.into()],
        |row| column(row, 1),
    )
}
