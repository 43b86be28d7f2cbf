//! Sealing in the background, for servers without a scheduler.
//!
//! With the library in `shared_preload_libraries`, and a database in `thorbis.seal_database`, a worker seals that database
//! every `thorbis.seal_interval` seconds. What fails is logged, and tried again the next time.

use crate::access::invalidation;
use crate::audit::seal;
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// After a crash of the worker, or when it cannot connect.
const RESTART: Duration = Duration::from_secs(60);

static DATABASE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(60);

/// From `_PG_init`.
pub fn init() {
    GucRegistry::define_string_guc(
        c"thorbis.seal_database",
        c"The database whose audit log a background worker seals. Empty: none.",
        c"Needs thorbis_db in shared_preload_libraries; the first one is taken up when the server starts.",
        &DATABASE,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"thorbis.seal_interval",
        c"Time between two runs of the background worker that seals the audit log.",
        c"What was changed since the last run can still be changed again without a trace.",
        &INTERVAL,
        1,
        86_400,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    // SAFETY: a static variable of the process.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } && !database().is_empty() {
        BackgroundWorkerBuilder::new("thorbis sealer")
            .set_library("thorbis_db")
            .set_function("thorbis_sealer_main")
            .enable_spi_access()
            .set_start_time(BgWorkerStartTime::RecoveryFinished)
            .set_restart_time(Some(RESTART))
            .load();
    }
}

fn database() -> String {
    DATABASE.get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[doc(hidden)]
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn thorbis_sealer_main(_arg: pg_sys::Datum) {
    end_when_told();
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP);
    let connected = database();
    if !connected.is_empty() {
        BackgroundWorker::connect_worker_to_spi(Some(&connected), None);
    }
    loop {
        if !connected.is_empty() {
            run();
        }
        if !BackgroundWorker::wait_latch(Some(Duration::from_secs(INTERVAL.get() as u64))) {
            return;
        }
        if BackgroundWorker::sighup_received() {
            // SAFETY: between transactions, as PostgreSQL's own workers do.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        if database() != connected {
            // A worker connects once: the server starts another one.
            log!("thorbis.seal_database was changed: the sealer starts anew");
            // SAFETY: ends the process as PostgreSQL's own workers do.
            unsafe { pg_sys::proc_exit(1) };
        }
    }
}

/// SIGTERM ends the worker as it ends a session: also while it waits for a lock.
fn end_when_told() {
    // SAFETY: signals are blocked still; `die` is the handler of sessions.
    unsafe {
        unsafe extern "C-unwind" {
            fn die(signal: i32);
        }
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(libc::SIGTERM, Some(die));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(libc::SIGTERM, Some(die));
    }
}

/// One transaction. A database without the extension, or without its schemas, has nothing to seal yet.
fn run() {
    // SAFETY: begun, and ended on both paths, as PostgreSQL's main loop does it for each command.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, c"audit.seal()".as_ptr());
        let seal = || {
            let sealed = invalidation::named("audit", "seals").map(|_| seal::seal().len());
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
            sealed
        };
        let failed = |error: CaughtError| {
            let (CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic { ereport: report, .. }) = error;
            log!("the audit log could not be sealed: {}", report.message());
            pg_sys::AbortCurrentTransaction();
            None
        };
        let sealed = PgTryBuilder::new(AssertUnwindSafe(seal)).catch_others(failed).execute();
        pg_sys::pgstat_report_stat(true);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
        debug1!("{} seals", sealed.unwrap_or(0));
    }
}
