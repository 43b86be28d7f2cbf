//! A verdict kept at the place of a call, for one statement.
//!
//! A policy function runs once per scan when it is an index condition, and once per row when it is a filter. The first
//! evaluation of a statement looks at everything; the others compare a few numbers (about 20 ns). It also makes one
//! statement consistent: a revocation that commits while it runs does not cut its result in half.

use crate::access::clock::{UnixMicros, coarse_unix_micros};
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
    /// Whether the arguments are constants; a site whose arguments can change recalls nothing.
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
    let fresh = site.verdict.until.is_none_or(|until| coarse_unix_micros() < until);
    let now = Key::now();
    // A transaction with one snapshot for all statements tells by the access data that something changed.
    let same_caller =
        if raw::one_snapshot_per_transaction() { site.caller == now } else { site.caller.same_caller(&now) };
    (same_caller && SnapshotKey::now() == Some(site.snapshot) && fresh).then_some(site.verdict)
}

/// Stores a verdict when the arguments are constants. `caller` was taken before deciding.
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
            None => arguments_are_constants((*flinfo).fn_expr),
        };
        if known.is_null() {
            (*flinfo).fn_extra = pg_sys::MemoryContextAlloc((*flinfo).fn_mcxt, size_of::<Site>());
        }
        (*flinfo).fn_extra.cast::<Site>().write(Site { caller, snapshot, verdict, stable });
    }
}

/// Whether the call is `f('a', 'b')`. Parameters do not count: PL/pgSQL keeps an expression, and with it the site, while
/// its variables change.
///
/// # Safety
/// `call` is the expression of the function's call info, or null.
unsafe fn arguments_are_constants(call: pg_sys::fmNodePtr) -> bool {
    // SAFETY: per contract; the node's tag is checked before it is used as a function call.
    unsafe {
        let call = call.cast::<pg_sys::Node>();
        if call.is_null() || (*call).type_ != pg_sys::NodeTag::T_FuncExpr {
            return false;
        }
        let arguments = pgrx::PgList::<pg_sys::Node>::from_pg((*call.cast::<pg_sys::FuncExpr>()).args);
        arguments.iter_ptr().all(|argument| (*argument).type_ == pg_sys::NodeTag::T_Const)
    }
}
