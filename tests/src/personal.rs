//! Rows of the tables whose e-mail addresses and telephone numbers are encrypted: written, read, and as they are stored.

use crate::database::Database;
use crate::ok;
use crate::session::{as_owner, in_context, one};
use crate::tenants::{A, Tenant};
use postgres::Error;
use postgres::error::DbError;
use postgres::types::ToSql;
use uuid::Uuid;

pub const TABLES: [&str; 2] = ["shared.customers", "shared.users"];

/// One statement of the tenant's owner.
pub fn execute(db: &Database, tenant: &Tenant, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
    in_context(&mut db.app(), tenant.id, tenant.owner, |tx| tx.execute(sql, params))
}

/// A new row with both values, written by A's owner.
pub fn insert(db: &Database, relation: &str, email: &str, phone: &str) -> Uuid {
    let sql = format!(
        "INSERT INTO {relation} (email, phone, first_name, last_name) VALUES ($1, $2, 'Ada', 'Lovelace') RETURNING id"
    );
    as_owner(db, &A, |tx| Ok(one(tx, &sql, &[&email, &phone])))
}

/// (e-mail, phone) as A's owner reads them.
pub fn read(db: &Database, table: &str, id: Uuid) -> (Option<String>, Option<String>) {
    let sql = format!("SELECT email, phone FROM {table}_pii WHERE id = $1");
    let row = as_owner(db, &A, |tx| tx.query_one(&sql, &[&id]));
    (row.get(0), row.get(1))
}

/// What the table holds of one value: in clear, encrypted, its blind index.
#[derive(Debug, PartialEq)]
pub struct Stored {
    pub clear: Option<String>,
    pub encrypted: Option<String>,
    pub index: Option<Vec<u8>>,
}

pub fn stored(db: &Database, table: &str, column: &str, id: Uuid) -> Stored {
    let sql =
        format!("SELECT {column}, {column}_encrypted, {column}_bidx FROM {table} WHERE tenant_id = $1 AND id = $2");
    let row = ok(db.superuser().query_one(&sql, &[&A.id, &id]));
    Stored { clear: row.get(0), encrypted: row.get(1), index: row.get(2) }
}

pub const NOTHING: Stored = Stored { clear: None, encrypted: None, index: None };

/// No part of the error shows the value.
#[track_caller]
pub fn keeps_quiet_about(error: &DbError, value: &str) {
    let parts =
        [Some(error.message()), error.detail(), error.hint(), error.where_(), error.column(), error.constraint()];
    let said = parts.into_iter().flatten().collect::<Vec<_>>().join("\n").to_lowercase();
    assert!(!said.contains(&value.to_lowercase()), "the error shows the value:\n{said}");
}

pub fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The employee's role is given a permission.
pub fn give(db: &Database, tenant: &Tenant, resource: &str, action: &str) {
    let sql = "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, $3, $4)
               ON CONFLICT DO NOTHING";
    crate::ok(db.superuser().execute(sql, &[&tenant.id, &tenant.employee_role, &resource, &action]));
}
