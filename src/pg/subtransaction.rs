//! Doing something that may fail, and going on without it.

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use std::panic::AssertUnwindSafe;

/// Runs `body` in a subtransaction. None when it failed with one of the tolerated errors: then nothing of it is left, its
/// locks included. Other errors travel on.
pub fn attempt<R>(tolerated: &[PgSqlErrorCode], body: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: static variables of the process, given back below as PL/pgSQL does for its blocks with exceptions.
    let (memory, owner) = unsafe { (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner) };
    let restore = || {
        // SAFETY: both belong to the surrounding transaction, which goes on.
        unsafe {
            pg_sys::MemoryContextSwitchTo(memory);
            pg_sys::CurrentResourceOwner = owner;
        }
    };
    // SAFETY: ended on both paths below; what `body` allocates outlives it.
    unsafe {
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(memory);
    }
    let body = AssertUnwindSafe(|| Ok(body()));
    let outcome: Result<R, Box<CaughtError>> =
        PgTryBuilder::new(body).catch_others(|cause| Err(Box::new(cause))).execute();
    match outcome {
        Ok(value) => {
            // SAFETY: the subtransaction begun above is the current one.
            unsafe { pg_sys::ReleaseCurrentSubTransaction() };
            restore();
            Some(value)
        }
        Err(cause) => {
            // SAFETY: as above.
            unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
            restore();
            if tolerated.contains(&code(&cause)) {
                return None;
            }
            cause.rethrow()
        }
    }
}

fn code(cause: &CaughtError) -> PgSqlErrorCode {
    match cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report.sql_error_code(),
        CaughtError::RustPanic { ereport, .. } => ereport.sql_error_code(),
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use super::*;
    use crate::pg::settings_scope::SettingsScope;
    use crate::pg::sql;

    fn rows() -> i64 {
        Spi::get_one("SELECT count(*) FROM tried").unwrap().unwrap()
    }

    #[pg_test]
    fn what_failed_leaves_nothing() {
        Spi::run("CREATE TEMP TABLE tried (n int)").unwrap();
        let insert = || sql::run("INSERT INTO tried VALUES (1)", &[]);
        assert_eq!(attempt(&[], insert), Some(1));
        let failed = attempt(&[PgSqlErrorCode::ERRCODE_DIVISION_BY_ZERO], || {
            let scope = SettingsScope::pinned_path();
            scope.set("work_mem", "65kB");
            insert();
            sql::run("SELECT 1 / 0", &[]);
        });
        assert_eq!((failed, rows()), (None, 1));
        assert_ne!(Spi::get_one::<String>("SHOW work_mem").unwrap().as_deref(), Some("65kB"));
        assert_eq!(attempt(&[], insert), Some(1));
        assert_eq!(rows(), 2);
    }

    #[pg_test(error = "division by zero")]
    fn other_errors_travel_on() {
        attempt(&[PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE], || sql::run("SELECT 1 / 0", &[]));
    }
}
