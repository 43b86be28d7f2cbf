//! The rows of a trigger as PostgreSQL has taken them apart already: no copy, and each column once.

use pgrx::pg_sys;

/// A filled slot, while the trigger runs.
#[derive(Clone, Copy)]
pub struct Slot<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl<'a> Slot<'a> {
    /// # Safety
    /// The slot holds a row, and is not cleared during `'a`.
    pub unsafe fn of(slot: *mut pg_sys::TupleTableSlot) -> Slot<'a> {
        // SAFETY: per contract; both arrays have one element a column, filled up to tts_nvalid.
        unsafe {
            let columns = (*(*slot).tts_tupleDescriptor).natts;
            if i32::from((*slot).tts_nvalid) < columns {
                pg_sys::slot_getsomeattrs_int(slot, columns);
            }
            Slot {
                values: std::slice::from_raw_parts((*slot).tts_values, columns as usize),
                nulls: std::slice::from_raw_parts((*slot).tts_isnull, columns as usize),
            }
        }
    }

    /// The value of column `number`, which counts from 1.
    #[inline]
    pub fn value(&self, number: i32) -> Option<pg_sys::Datum> {
        let i = number as usize - 1;
        (!self.nulls[i]).then(|| self.values[i])
    }
}
