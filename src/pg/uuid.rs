//! Between PostgreSQL's uuid (a pointer to 16 bytes) and `uuid::Uuid`.

use crate::pg::raw;
use pgrx::pg_sys;
use uuid::Uuid;

/// # Safety
/// `datum` is a non-null uuid datum.
#[inline]
pub unsafe fn from_datum(datum: pg_sys::Datum) -> Uuid {
    // SAFETY: a uuid datum points to 16 bytes without alignment.
    Uuid::from_bytes(unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
}

/// A datum in the current memory context.
#[inline]
pub fn into_datum(uuid: Uuid) -> pg_sys::Datum {
    // SAFETY: palloc returns at least 16 bytes or raises.
    unsafe {
        let bytes = raw::palloc(16) as *mut [u8; 16];
        bytes.write(uuid.into_bytes());
        pg_sys::Datum::from(bytes)
    }
}

/// The form pgrx's functions take and return.
pub fn to_pgrx(uuid: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(uuid.into_bytes())
}

pub fn from_pgrx(uuid: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*uuid.as_bytes())
}
