//! Version-1 functions written by hand, for the functions that policies call.
//!
//! pgrx's `#[pg_extern]` wrapper costs about 20 ns a call; `get_current_tenant_id()` itself takes 5. The SQL side of
//! these functions is in `sql/extension/`.

use pgrx::pg_sys;

/// Declares the C symbol `$symbol` with its V1 record. `$body` gets the call info; it must not raise errors outside
/// `guarded`.
#[macro_export]
macro_rules! v1_function {
    ($(#[$doc:meta])* $symbol:ident, $info:ident, |$fcinfo:ident| $body:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const V1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        $(#[$doc])*
        /// # Safety
        /// Called by PostgreSQL's function manager only.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $symbol($fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            $body
        }
    };
}

/// Runs code that may raise PostgreSQL errors or panic, from a hand-written function.
#[inline]
pub fn guarded<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: called directly beneath an extern "C-unwind" function that PostgreSQL called.
    unsafe { pg_sys::panic::pgrx_extern_c_guard(body) }
}

/// Result NULL.
///
/// # Safety
/// `fcinfo` is the call info PostgreSQL passed.
#[inline]
pub unsafe fn null(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: per contract.
    unsafe { (*fcinfo).isnull = true };
    pg_sys::Datum::from(0)
}

/// Argument `i`, or None when it is NULL.
///
/// # Safety
/// `fcinfo` is the call info PostgreSQL passed and the function has more than `i` arguments.
#[inline]
pub unsafe fn argument(fcinfo: pg_sys::FunctionCallInfo, i: usize) -> Option<pg_sys::Datum> {
    // SAFETY: per contract, `args` holds at least i + 1 elements.
    let argument = unsafe { (*fcinfo).args.as_slice((*fcinfo).nargs as usize)[i] };
    (!argument.isnull).then_some(argument.value)
}

/// Calls `body` with argument `i` as text (empty when NULL is not allowed to occur: see `argument`).
///
/// # Safety
/// `datum` is a text datum.
pub unsafe fn with_text<R>(datum: pg_sys::Datum, body: impl FnOnce(&str) -> R) -> R {
    // SAFETY: per contract; detoasting returns the same pointer for plain and short values, which constants are.
    unsafe {
        let packed = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
        let result = body(pgrx::varlena::text_to_rust_str_unchecked(packed));
        if packed as usize != datum.value() {
            pg_sys::pfree(packed.cast());
        }
        result
    }
}
