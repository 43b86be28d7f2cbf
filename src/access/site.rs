//! A verdict kept at the place of a call, for one statement.
//!
//! A policy function runs once per scan when it is an index condition, and once per row when it is a filter. The first
//! evaluation of a statement looks at everything; the others compare a few numbers (about 20 ns). It also makes one
//! statement consistent: a revocation that commits while it runs does not cut its result in half.

use crate::context::current::Key;
use crate::pg::raw;
use pgrx::pg_sys;

/// What tells the snapshots of two statements apart. A PL/pgSQL loop has one call site and many snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SnapshotKey(pg_sys::TransactionId, u32, i32, pg_sys::CommandId);

impl SnapshotKey {
    #[inline]
    fn now() -> Option<SnapshotKey> {
        // SAFETY: an active snapshot stays valid while it is active.
        unsafe {
            raw::ActiveSnapshotSet().then(|| {
                let s = &*raw::GetActiveSnapshot();
                SnapshotKey(s.xmax, s.xcnt, s.subxcnt, s.curcid)
            })
        }
    }
}

/// Lives in the memory of the expression, next to the function's call info.
pub struct Site {
    caller: Key,
    snapshot: SnapshotKey,
    verdict: bool,
    tenant: [u8; 16],
}

impl Site {
    pub fn tenant(&self) -> Option<uuid::Uuid> {
        self.verdict.then(|| uuid::Uuid::from_bytes(self.tenant))
    }

    pub fn verdict(&self) -> bool {
        self.verdict
    }
}

/// The verdict of this call site, if it was reached in this statement, for this caller.
///
/// # Safety
/// `fcinfo` is the call info PostgreSQL passed to a function that stores nothing but a `Site` in `fn_extra`.
#[inline]
pub unsafe fn recall<'a>(fcinfo: pg_sys::FunctionCallInfo) -> Option<&'a Site> {
    // SAFETY: per contract; fn_extra lives as long as flinfo.
    unsafe {
        let site = (*(*fcinfo).flinfo).fn_extra.cast::<Site>().as_ref()?;
        (site.caller.same_caller(&Key::now()) && SnapshotKey::now() == Some(site.snapshot)).then_some(site)
    }
}

/// Stores a verdict when the arguments cannot change within the statement. `caller` was taken before deciding.
///
/// # Safety
/// As for `recall`.
pub unsafe fn store(fcinfo: pg_sys::FunctionCallInfo, caller: Key, tenant: Option<uuid::Uuid>, verdict: bool) {
    // SAFETY: per contract; the memory is freed with the expression.
    unsafe {
        let flinfo = (*fcinfo).flinfo;
        let Some(snapshot) = SnapshotKey::now() else { return };
        if (0..(*fcinfo).nargs as i32).any(|i| !pg_sys::get_fn_expr_arg_stable(flinfo, i)) {
            return;
        }
        if (*flinfo).fn_extra.is_null() {
            (*flinfo).fn_extra = pg_sys::MemoryContextAlloc((*flinfo).fn_mcxt, size_of::<Site>());
        }
        let tenant = tenant.unwrap_or_default().into_bytes();
        (*flinfo).fn_extra.cast::<Site>().write(Site { caller, snapshot, verdict, tenant });
    }
}
