//! Parallel queries: the leader latches before its workers start.
//!
//! A worker takes settings over but latches only itself. Without this hook a transaction whose reads all happen in
//! workers could change its tenant in between.

use crate::context::{current, settings};
use crate::pg::cell::BackendCell;
use pgrx::prelude::*;
use std::cell::Cell;

static PREVIOUS: BackendCell<Cell<pg_sys::ExecutorStart_hook_type>> = BackendCell::new(Cell::new(None));

pub fn init() {
    // SAFETY: hooks are chained once per backend, from _PG_init.
    unsafe {
        PREVIOUS.set(pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: PostgreSQL passes a valid query; the previous hook is called across the boundary that turns its errors
    // into panics.
    unsafe {
        if (*(*query).plannedstmt).parallelModeNeeded && !pg_sys::IsInParallelMode() {
            settings::clear_stale();
            current::get();
        }
        match PREVIOUS.get() {
            Some(previous) => pg_sys::ffi::pg_guard_ffi_boundary(|| previous(query, flags)),
            None => pg_sys::standard_ExecutorStart(query, flags),
        }
    }
}
