//! `check_own_row_update(resource, column, ...)`: what users may change in their own row.
//!
//! A policy lets users update their own row; policies cannot compare the old row with the new one, so this trigger
//! holds such an update to the listed columns. Whoever may update the resource anyway is not restricted.

use crate::access::error::AccessError;
use crate::access::functions::may;
use crate::pg::error::SqlError;
use crate::pg::function::guarded;
use crate::pg::raw;
use crate::pg::trigger::{Firing, Trigger};
use crate::v1_function;

/// Columns that other triggers maintain.
const MAINTAINED: [&str; 2] = ["updated_at", "updated_by"];

v1_function!(
    /// BEFORE UPDATE FOR EACH ROW.
    thorbis_check_own_row_update, pg_finfo_thorbis_check_own_row_update, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let arguments = trigger.arguments();
        let (resource, columns) = arguments.split_first().map_or(("", &[][..]), |(r, c)| (*r, c));
        // As the owner only our own code acts, such as an erasure.
        if raw::user_ids().1 != trigger.owner() && !may(resource, "update") {
            let forbidden = trigger
                .changed_columns()
                .into_iter()
                .find(|changed| !columns.contains(&changed.as_str()) && !MAINTAINED.contains(&changed.as_str()));
            if let Some(column) = forbidden {
                AccessError::OwnColumn { column }.raise();
            }
        }
        trigger.unchanged()
    })
});
