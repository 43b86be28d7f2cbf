//! How long the log is kept: `thorbis.audit_retention`, and `audit.apply_retention()`, which drops what is older.
//!
//! A month goes as a whole or not at all, never while a tenant with rows in it is under a legal hold, and only when all of
//! it is sealed. What stays of it is a tombstone among the seals: how many rows there were, and the root over their seals.

use crate::access::invalidation::{self, Relation};
use crate::audit::maintain::{Step, begin, unless_busy};
use crate::audit::partitions::{self, Partition};
use crate::audit::seal;
use crate::pg::error::required;
use crate::pg::function::guarded;
use crate::pg::identity::{self, ActingAs};
use crate::pg::sql::{self, column, query, query_one};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use std::ffi::{CString, c_char, c_void};

/// For how long at most everybody who writes waits: dropping a partition locks the whole log.
const LONGEST_WAIT: &str = "1s";

static RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

pub fn init() {
    // SAFETY: called once per backend from _PG_init; the hook is guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"thorbis.audit_retention",
            c"How long changes are kept in audit.change_log, such as '10 years'. Empty: for ever.",
            c"Whole months that are older are dropped by audit.apply_retention() and thorbis.maintain().",
            &RETENTION,
            GucContext::Suset,
            GucFlags::default(),
            Some(check),
            None,
            None,
        );
    }
}

/// Accepts an interval of a day or more, or an empty text.
unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a valid pointer to a terminated text or null.
    guarded(|| unsafe {
        let text = *value;
        if text.is_null() || *text == 0 {
            return true;
        }
        let parse = || {
            let (none, any) = (pg_sys::Datum::from(pg_sys::InvalidOid), pg_sys::Datum::from(-1));
            let arguments = [Some(pg_sys::Datum::from(text)), Some(none), Some(any)];
            pgrx::direct_function_call_as_datum(pg_sys::interval_in, &arguments)
        };
        // Parsing reads no table: there is nothing to clean up after an error.
        let parsed = PgTryBuilder::new(std::panic::AssertUnwindSafe(parse)).catch_others(|_| None).execute();
        let is_good = parsed.is_some_and(|datum| {
            let pg_sys::Interval { time, day, month } = *datum.cast_mut_ptr::<pg_sys::Interval>();
            time >= 0 && day >= 0 && month >= 0 && (day > 0 || month > 0)
        });
        if !is_good {
            let hint = c"An interval of a day or more, such as '10 years', or '' to keep the log for ever.";
            pg_sys::GUC_check_errhint_string = pg_sys::pstrdup(hint.as_ptr());
        }
        is_good
    })
}

/// Nothing is dropped when there is none.
fn period() -> Option<String> {
    RETENTION.get().map(|text| text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Rows (task, object, action, count) of `audit.apply_retention()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn apply_audit_retention(
    dry_run: Option<bool>,
) -> TableIterator<'static, (name!(task, String), name!(object, String), name!(action, String), name!(count, i64))> {
    let dry_run = required("dry_run", dry_run);
    let _settings = begin("audit.apply_retention()", dry_run);
    if period().is_none() {
        notice!("thorbis.audit_retention is not set: the log is kept for ever");
    }
    TableIterator::new(apply(dry_run).into_iter().map(|s| ("retention".to_owned(), s.object, s.action, s.count)))
}
