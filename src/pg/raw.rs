//! The few PostgreSQL functions that the fast paths call without pgrx's guard.
//!
//! A guarded `pg_sys` call saves and restores a jump buffer (about 10 ns). None of these can raise an error, except
//! when memory is exhausted; the callers hold nothing that would have to be dropped then.

use pgrx::pg_sys;
use std::ffi::c_void;

unsafe extern "C-unwind" {
    pub fn GetUserId() -> pg_sys::Oid;
    pub fn GetSessionUserId() -> pg_sys::Oid;
    pub fn palloc(size: usize) -> *mut c_void;
    pub fn ActiveSnapshotSet() -> bool;
    pub fn GetActiveSnapshot() -> pg_sys::Snapshot;
}

/// The local id of the current transaction: unique within this backend, still set while deferred triggers and held
/// cursors run at commit. So what is keyed by it needs no reset.
#[inline]
pub fn local_transaction_id() -> pg_sys::LocalTransactionId {
    // SAFETY: MyProc is set in every process that executes SQL.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return (*pg_sys::MyProc).lxid;
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        return (*pg_sys::MyProc).vxid.lxid;
    }
}

/// Whether this transaction has written: what it reads now may be its own and be rolled back.
pub fn has_written() -> bool {
    // SAFETY: reads the state of the transaction; assigns nothing.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// REPEATABLE READ or SERIALIZABLE.
#[inline]
pub fn one_snapshot_per_transaction() -> bool {
    // SAFETY: a static variable of the process.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// (session user, current user).
#[inline]
pub fn user_ids() -> (pg_sys::Oid, pg_sys::Oid) {
    // SAFETY: both only read static variables.
    unsafe { (GetSessionUserId(), GetUserId()) }
}
