//! `keep_append_only()`: what was written stays.

use crate::pg::error::SqlError;
use crate::pg::function::guarded;
use crate::pg::trigger::{Firing, Trigger};
use crate::pg::{identity, raw};
use crate::rows::error::RowError;
use crate::v1_function;

v1_function!(
    /// BEFORE UPDATE OR DELETE FOR EACH ROW, or BEFORE TRUNCATE. Cascades of foreign keys act as the table's owner.
    thorbis_keep_append_only, pg_finfo_thorbis_keep_append_only, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::Any) };
        if !identity::operates_all_tenants() && raw::user_ids().1 != trigger.owner() {
            RowError::AppendOnly { table: trigger.table_name() }.raise();
        }
        trigger.unchanged()
    })
});
