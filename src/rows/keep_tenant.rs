//! `keep_tenant_id()`: a row stays with its tenant.

use crate::pg::error::SqlError;
use crate::pg::function::guarded;
use crate::pg::trigger::{ColumnType, Firing, Trigger};
use crate::rows::error::RowError;
use crate::v1_function;

v1_function!(
    /// BEFORE UPDATE OF the tenant column. The column's name is the trigger's argument, `tenant_id` without one.
    thorbis_keep_tenant_id, pg_finfo_thorbis_keep_tenant_id, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let column = trigger.arguments().first().copied().unwrap_or("tenant_id");
        // A column that was renamed would otherwise compare nothing with nothing.
        trigger.required_column(column, ColumnType::Uuid);
        if trigger.uuid(trigger.old(), column) != trigger.uuid(trigger.new_row(), column) {
            RowError::TenantIsFixed { table: trigger.table_name() }.raise();
        }
        trigger.unchanged()
    })
});
