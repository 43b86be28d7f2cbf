//! `calculate_order_total` and `calculate_refund`.

use crate::domain::totals::error::Fault;
use crate::domain::totals::{order_total, refund};
use crate::pg::error::OrRaise;
use crate::pg::function::{argument, guarded, null};
use crate::v1_function;
use pgrx::pg_sys;

v1_function!(
    /// `calculate_order_total(jsonb) -> jsonb`
    thorbis_calculate_order_total, pg_finfo_thorbis_calculate_order_total, |fcinfo| {
    // SAFETY: the SQL declaration has one jsonb argument.
    unsafe { call(fcinfo, order_total) }
});

v1_function!(
    /// `calculate_refund(jsonb) -> jsonb`
    thorbis_calculate_refund, pg_finfo_thorbis_calculate_refund, |fcinfo| {
    // SAFETY: the SQL declaration has one jsonb argument.
    unsafe { call(fcinfo, refund) }
});

/// From the bytes of a jsonb to those of another, whose first four are left for the varlena header.
type Calculation = fn(&[u8]) -> Result<Vec<u8>, Fault>;

/// # Safety
/// `fcinfo` has one jsonb argument.
unsafe fn call(fcinfo: pg_sys::FunctionCallInfo, calculation: Calculation) -> pg_sys::Datum {
    // SAFETY: per contract. Declared STRICT, and NULL stays NULL if somebody declares it otherwise.
    unsafe {
        guarded(|| match argument(fcinfo, 0) {
            Some(input) => datum(input, calculation),
            None => null(fcinfo),
        })
    }
}

/// What `calculate_order_total` returns for a jsonb datum, in the current memory context. Raises the errors of the input.
///
/// # Safety
/// `input` is a jsonb datum.
pub unsafe fn calculate_datum(input: pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: per contract.
    unsafe { datum(input, order_total) }
}

/// # Safety
/// `input` is a jsonb datum.
unsafe fn datum(input: pg_sys::Datum, calculation: Calculation) -> pg_sys::Datum {
    // SAFETY: per contract; a copy that was made to read it is given back. The result is as large as the bytes, whose
    // first four are the header's.
    unsafe {
        let stored = input.cast_mut_ptr::<pg_sys::varlena>();
        let plain = pgrx::varatt_is_4b_u(stored) || (pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored));
        let read = if plain { stored } else { pg_sys::pg_detoast_datum_packed(stored) };
        let result = calculation(pgrx::varlena_to_byte_slice(read));
        if !plain {
            pg_sys::pfree(read.cast());
        }
        let bytes = result.or_raise();
        let output = pg_sys::palloc(bytes.len()).cast::<u8>();
        output.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        pgrx::set_varsize_4b(output.cast(), bytes.len() as i32);
        pg_sys::Datum::from(output)
    }
}
