//! A verdict kept at the place of a call, for one statement.
//!
//! A policy function runs once per scan when it is an index condition, and once per row when it is a filter. The first
//! evaluation of a statement looks at everything; the others compare a few numbers (about 20 ns). It also makes one
//! statement consistent: a revocation that commits while it runs does not cut its result in half.

use crate::access::cache::unix_micros;
use crate::access::load::UnixMicros;
use crate::context::current::Key;
use crate::pg::raw;
use pgrx::pg_sys;
use uuid::Uuid;

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

/// What was decided, for whom, and until when the clock alone cannot change it.
#[derive(Clone, Copy)]
pub struct Verdict {
    pub tenant: Option<Uuid>,
    pub held: bool,
    pub until: Option<UnixMicros>,
}

impl Verdict {
    pub const NO: Verdict = Verdict { tenant: None, held: false, until: None };
}

/// Lives in the memory of the expression, next to the function's call info.
struct Site {
    caller: Key,
    snapshot: SnapshotKey,
    verdict: Verdict,
    /// Whether the arguments keep their values; a site whose arguments change recalls nothing.
    stable: bool,
}

/// The verdict of this call site, if it was reached in this statement, for this caller.
///
/// # Safety
/// `fcinfo` is the call info PostgreSQL passed to a function that stores nothing but a `Site` in `fn_extra`.
#[inline]
pub unsafe fn recall(fcinfo: pg_sys::FunctionCallInfo) -> Option<Verdict> {
    // SAFETY: per contract; fn_extra lives as long as flinfo.
    let site = unsafe { (*(*fcinfo).flinfo).fn_extra.cast::<Site>().as_ref()? };
    if !site.stable {
        return None;
    }
    let fresh = site.verdict.until.is_none_or(|until| unix_micros() < until);
    (site.caller.same_caller(&Key::now()) && SnapshotKey::now() == Some(site.snapshot) && fresh).then_some(site.verdict)
}

/// Stores a verdict when the arguments cannot change within the statement. `caller` was taken before deciding.
///
/// # Safety
/// As for `recall`.
pub unsafe fn store(fcinfo: pg_sys::FunctionCallInfo, caller: Key, verdict: Verdict) {
    // SAFETY: per contract; the memory is freed with the expression.
    unsafe {
        let flinfo = (*fcinfo).flinfo;
        let Some(snapshot) = SnapshotKey::now() else { return };
        let known = (*flinfo).fn_extra.cast::<Site>();
        let stable = match known.as_ref() {
            Some(site) if !site.stable => return,
            Some(_) => true,
            None => (0..(*fcinfo).nargs as i32).all(|i| pg_sys::get_fn_expr_arg_stable(flinfo, i)),
        };
        if known.is_null() {
            (*flinfo).fn_extra = pg_sys::MemoryContextAlloc((*flinfo).fn_mcxt, size_of::<Site>());
        }
        (*flinfo).fn_extra.cast::<Site>().write(Site { caller, snapshot, verdict, stable });
    }
}
