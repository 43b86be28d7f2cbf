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

/// Calls `body` with a text datum. Databases are UTF-8 (`assert_supported_server` sees to it), so text is valid `str`.
///
/// # Safety
/// `datum` is a text datum.
pub unsafe fn with_text<R>(datum: pg_sys::Datum, body: impl FnOnce(&str) -> R) -> R {
    // SAFETY: per contract. Values that are stored plainly, as constants and short columns are, are read in place.
    unsafe {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        let plain = pgrx::varatt_is_4b_u(stored) || (pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored));
        if plain {
            return body(pgrx::text_to_rust_str_unchecked(stored));
        }
        let packed = pg_sys::pg_detoast_datum_packed(stored);
        let result = body(pgrx::text_to_rust_str_unchecked(packed));
        pg_sys::pfree(packed.cast());
        result
    }
}

/// A text datum in the current memory context.
pub fn text_datum(text: &str) -> pg_sys::Datum {
    bytes_datum(text.as_bytes())
}

/// A bytea datum in the current memory context. Text is stored alike.
pub fn bytes_datum(bytes: &[u8]) -> pg_sys::Datum {
    // SAFETY: copies the bytes.
    pg_sys::Datum::from(unsafe { pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), bytes.len() as i32) })
}

/// A value of any type as its output function writes it.
///
/// # Safety
/// The datum is of the type.
pub unsafe fn written(datum: pg_sys::Datum, of: pg_sys::Oid) -> String {
    // SAFETY: per contract; the text is copied before it is given back.
    unsafe {
        if [pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&of) {
            return with_text(datum, str::to_owned);
        }
        let (mut function, mut varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(of, &mut function, &mut varlena);
        let text = pg_sys::OidOutputFunctionCall(function, datum);
        let copy = std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        copy
    }
}
