//! `thorbis.soft_delete` and `thorbis.restore`.
//!
//! Soft deletion is not in the SELECT policy: PostgreSQL would then refuse the very update that hides the row.
//! These functions run as the caller, under the caller's policies and grants.

use crate::pg::error::{OrRaise, SqlError};
use crate::pg::sql;
use crate::protect::error::ProtectError;
use crate::protect::registry;
use crate::protect::table::Table;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

/// Marks a row deleted. Returns whether there was a live row the caller may update.
#[pg_extern(sql = false)]
fn soft_delete(table: pg_sys::Oid, id: pgrx::Uuid) -> bool {
    set_deleted(table, id, "now()", "deleted_at IS NULL")
}

/// Takes a soft deletion back. Returns whether there was such a row.
#[pg_extern(sql = false)]
fn restore(table: pg_sys::Oid, id: pgrx::Uuid) -> bool {
    set_deleted(table, id, "NULL", "deleted_at IS NOT NULL")
}

fn set_deleted(table: pg_sys::Oid, id: pgrx::Uuid, value: &str, condition: &str) -> bool {
    crate::deploy::require_installed();
    let table = Table::read(table).or_raise();
    let entry = registry::expect(table.oid).or_raise();
    if table.column("id").is_none() {
        ProtectError::NoId { table: table.quoted() }.raise();
    }
    if table.column("deleted_at").is_none() {
        ProtectError::NoSoftDelete { table: table.quoted() }.raise();
    }
    let schema = crate::deploy::extension_schema();
    let tenant = quote_identifier(&entry.options.tenant_column);
    // Operators of all tenants are bound to the current tenant too, when there is one: ids are unique per tenant.
    let statement = format!(
        "UPDATE {} SET deleted_at = {value} WHERE id = $1 AND {condition}
            AND {tenant} = coalesce({schema}.get_current_tenant_id(), {tenant})",
        table.quoted()
    );
    sql::run(&statement, &[id.into()]) > 0
}
