//! `thorbis.find_by_pii` and `thorbis.find_customer_by_email`: rows by the clear value of an encrypted column.

use crate::access::functions::require;
use crate::access::invalidation;
use crate::context::current;
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::sql::{column, query};
use crate::pg::uuid as pg_uuid;
use crate::pii::data_keys;
use crate::pii::error::PiiError;
use crate::pii::functions::{PII, check_length};
use crate::protect::registry;
use crate::protect::table::{Table, as_owner};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

/// The live rows of the current tenant whose value equals `value` when both are normalised: their keys, as far as the
/// caller may see them.
#[pg_extern(sql = false)]
fn find_by_pii(table: pg_sys::Oid, column_name: &str, value: &str) -> SetOfIterator<'static, pgrx::Uuid> {
    crate::deploy::require_installed();
    SetOfIterator::new(find(table, column_name, value))
}

#[pg_extern(sql = false)]
fn find_customer_by_email(email: &str) -> SetOfIterator<'static, pgrx::Uuid> {
    crate::deploy::require_installed();
    let customers = invalidation::named("shared", "customers").map_or(pg_sys::InvalidOid, |found| found.oid);
    SetOfIterator::new(find(customers, "email", email))
}

fn find(oid: pg_sys::Oid, name: &str, value: &str) -> Vec<pgrx::Uuid> {
    check_length(value);
    let table = Table::read(oid).or_raise();
    let entry = registry::expect(oid).or_raise();
    let searchable = entry.options.pii.iter().find(|pii| pii.column == name);
    let Some((pii, index)) = searchable.and_then(|pii| Some((pii, pii.blind_index()?))) else {
        PiiError::NotSearchable { table: table.quoted(), column: name.into() }.raise()
    };
    let Some(tenant) = current::get().tenant else { return Vec::new() };
    // Whoever may ask as often as they like reads a telephone number in the end.
    require(&entry.resource, PII);
    let (kind, field) = (pii.kind, pii.field.as_deref().unwrap_or_default());
    let normalised = kind.normalised(value);
    // A tenant without a key has nothing encrypted; and reading must not make one.
    let Some(blind_index) = data_keys::known_blind_index(tenant, field) else { return Vec::new() };
    let sought = blind_index.of(&normalised).to_vec();
    let key = table.row_key(&entry.options.tenant_column).or_raise();
    if table.column(key).is_none_or(|key| key.data_type != "uuid") {
        PiiError::NoUuidKey { table: table.quoted() }.raise();
    }
    let key = quote_identifier(key);
    let owned = |sql: String, args: &[pgrx::datum::DatumWithOid]| query(&sql, args, |row| column::<pgrx::Uuid>(row, 1));
    let tenant_column = quote_identifier(&entry.options.tenant_column);
    let live = if table.column("deleted_at").is_some() { " AND deleted_at IS NULL" } else { "" };
    let from = format!("SELECT {key} FROM {} WHERE {tenant_column} = $1", table.quoted());
    let tenant = pg_uuid::to_pgrx(tenant);
    let by_index = format!("{from} AND {} = $2{live}", quote_identifier(index));
    // Nobody but the owner may read blind indexes: with them one could compare guesses.
    let found = as_owner(oid, || owned(by_index, &[tenant.into(), sought.into()]));
    if found.is_empty() {
        return found;
    }
    owned(format!("{from} AND {key} = ANY ($2)"), &[tenant.into(), found.into()])
}
