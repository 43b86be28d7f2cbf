//! `assign_document_number(column)`: the next number of this table within the tenant, when none is given.
//!
//! A sequence would be one for all tenants: it shows how much business the others do. The next number is the highest
//! one plus one, under a lock on the tenant's row: no other tenant waits, a rollback leaves no gap. Within a
//! transaction the last number is remembered, so a bulk INSERT reads once.

use crate::access::invalidation;
use crate::context::current;
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::function::guarded;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{ColumnType, Firing, Trigger};
use crate::pg::{raw, sql};
use crate::rows::error::RowError;
use crate::v1_function;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use std::cell::Cell;
use uuid::Uuid;

/// Where the last number was given: it holds for that subtransaction only, since a rollback frees the number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    transaction: pg_sys::LocalTransactionId,
    subtransaction: pg_sys::SubTransactionId,
    table: pg_sys::Oid,
    tenant: Uuid,
}

static LAST: BackendCell<Cell<Option<(Place, i32)>>> = BackendCell::new(Cell::new(None));

v1_function!(
    /// BEFORE INSERT FOR EACH ROW on a table with `tenant_id` and an integer column named by the argument.
    thorbis_assign_document_number, pg_finfo_thorbis_assign_document_number, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let column = trigger.arguments().first().copied().unwrap_or("number");
        let attribute = trigger.required_column(column, ColumnType::Integer);
        let given = trigger.value(trigger.new_row(), attribute);
        let tenant = trigger.uuid(trigger.new_row(), "tenant_id");
        // Without a tenant the NOT NULL constraint reports it.
        let (None, Some(tenant)) = (given, tenant) else {
            if given.is_some() {
                LAST.set(None);
            }
            return trigger.unchanged();
        };
        // This runs before the policies: a row for another tenant is theirs to refuse, and must not even wait for that
        // tenant's lock.
        if current::get().tenant != Some(tenant) && !identity::operates_all_tenants() {
            return trigger.unchanged();
        }
        let number = next(&trigger, column, tenant);
        trigger.with_value(attribute, pg_sys::Datum::from(number))
    })
});

fn next(trigger: &Trigger, column: &str, tenant: Uuid) -> i32 {
    let place = Place {
        transaction: raw::local_transaction_id(),
        // SAFETY: reads the state of the transaction.
        subtransaction: unsafe { pg_sys::GetCurrentSubTransactionId() },
        table: trigger.relation(),
        tenant,
    };
    let last = match LAST.get() {
        Some((known, number)) if known == place => number,
        _ => highest(trigger, column, tenant),
    };
    let Some(number) = last.checked_add(1) else { RowError::NumbersExhausted { table: trigger.table_name() }.raise() };
    LAST.set(Some((place, number)));
    number
}

/// Locks the tenant against other numberings and reads the highest number there is.
fn highest(trigger: &Trigger, column: &str, tenant: Uuid) -> i32 {
    let _path = SettingsScope::pinned_path();
    let id = crate::pg::uuid::to_pgrx(tenant);
    if let Some(tenants) = invalidation::relation(invalidation::Watched::Tenants) {
        let _identity = ActingAs::owner(tenants.owner);
        sql::run("SELECT 1 FROM shared.tenants WHERE id = $1 FOR NO KEY UPDATE", &[id.into()]);
    }
    let _identity = ActingAs::owner(trigger.owner());
    let column = quote_identifier(column);
    let table = crate::protect::table::qualified_name(trigger.relation());
    // Under READ COMMITTED this statement sees what the lock waited for; in higher levels the unique key refuses a
    // number that somebody else took meanwhile.
    sql::query_one(
        &format!(
            "SELECT {column} FROM {table} WHERE tenant_id = $1 AND {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1"
        ),
        &[id.into()],
        |row| sql::column::<i32>(row, 1),
    )
    .unwrap_or(0)
}
