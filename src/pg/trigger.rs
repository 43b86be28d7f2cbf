//! Row and statement triggers written by hand: the tuples stay PostgreSQL's, nothing is copied that is not changed.

use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};
use uuid::Uuid;

/// One call of a trigger function.
#[derive(Clone, Copy)]
pub struct Trigger<'a> {
    data: &'a pg_sys::TriggerData,
}

impl<'a> Trigger<'a> {
    /// # Safety
    /// `fcinfo` is the call info PostgreSQL passed.
    #[inline]
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> Trigger<'a> {
        // SAFETY: the context is checked to be trigger data before it is used as such.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                ereport!(
                    ERROR,
                    PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                    "this function can only be called as a trigger"
                );
            }
            Trigger { data: &*context.cast::<pg_sys::TriggerData>() }
        }
    }

    fn event(&self) -> u32 {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK
    }

    pub fn is_insert(&self) -> bool {
        self.event() == pg_sys::TRIGGER_EVENT_INSERT
    }

    #[inline]
    pub fn is_update(&self) -> bool {
        self.event() == pg_sys::TRIGGER_EVENT_UPDATE
    }

    /// The row as it was: for UPDATE and DELETE.
    pub fn old(&self) -> pg_sys::HeapTuple {
        self.data.tg_trigtuple
    }

    /// The row as it will be: for INSERT and UPDATE.
    #[inline]
    pub fn new_row(&self) -> pg_sys::HeapTuple {
        if self.is_update() { self.data.tg_newtuple } else { self.data.tg_trigtuple }
    }

    /// What a row trigger returns to leave the operation as it is.
    #[inline]
    pub fn unchanged(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.new_row())
    }

    #[inline]
    pub fn descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open while its trigger runs.
        unsafe { (*self.data.tg_relation).rd_att }
    }

    pub fn relation(&self) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { (*self.data.tg_relation).rd_id }
    }

    pub fn owner(&self) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { (*(*self.data.tg_relation).rd_rel).relowner }
    }

    pub fn table_name(&self) -> String {
        // SAFETY: as above; names are terminated.
        unsafe { CStr::from_ptr((*(*self.data.tg_relation).rd_rel).relname.data.as_ptr()) }.to_string_lossy().into()
    }

    /// The arguments given in CREATE TRIGGER.
    pub fn arguments(&self) -> Vec<&'a str> {
        // SAFETY: tgargs has tgnargs terminated strings that live as long as the relation's descriptor.
        unsafe {
            let trigger = &*self.data.tg_trigger;
            (0..trigger.tgnargs as usize)
                .map(|i| CStr::from_ptr(*trigger.tgargs.add(i)).to_str().unwrap_or_default())
                .collect()
        }
    }

    /// The number of a column, or None when the table has no such column.
    pub fn attribute(&self, name: &str) -> Option<i32> {
        let name = CString::new(name).ok()?;
        // SAFETY: the descriptor is valid; an unknown name gives SPI_ERROR_NOATTRIBUTE, which is negative.
        let number = unsafe { pg_sys::SPI_fnumber(self.descriptor(), name.as_ptr()) };
        (number > 0).then_some(number)
    }

    pub fn value(&self, row: pg_sys::HeapTuple, attribute: i32) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: the row has the relation's descriptor.
        let datum = unsafe { pg_sys::SPI_getbinval(row, self.descriptor(), attribute, &mut null) };
        (!null).then_some(datum)
    }

    /// A uuid column by name; None when it is NULL or missing.
    pub fn uuid(&self, row: pg_sys::HeapTuple, column: &str) -> Option<Uuid> {
        let datum = self.value(row, self.attribute(column)?)?;
        // SAFETY: the columns asked for by this name are uuids.
        Some(unsafe { crate::pg::uuid::from_datum(datum) })
    }

    /// A text column by name; None when it is NULL or missing.
    pub fn text(&self, row: pg_sys::HeapTuple, column: &str) -> Option<String> {
        let datum = self.value(row, self.attribute(column)?)?;
        // SAFETY: the columns asked for by this name are text.
        Some(unsafe { crate::pg::function::with_text(datum, str::to_owned) })
    }

    /// A boolean column by name; false when it is NULL or missing.
    pub fn boolean(&self, row: pg_sys::HeapTuple, column: &str) -> bool {
        self.attribute(column).and_then(|a| self.value(row, a)).is_some_and(|d| d.value() != 0)
    }

    /// The new row with one column changed.
    pub fn with_value(&self, attribute: i32, value: pg_sys::Datum) -> pg_sys::Datum {
        // SAFETY: one column of the row's own descriptor; the result is palloc'd, as PostgreSQL expects of triggers.
        let row = unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                self.new_row(),
                self.descriptor(),
                1,
                [attribute].as_ptr().cast_mut(),
                [value].as_ptr().cast_mut(),
                [false].as_ptr().cast_mut(),
            )
        };
        pg_sys::Datum::from(row)
    }

    /// The names of the columns whose stored values differ between the old and the new row.
    pub fn changed_columns(&self) -> Vec<String> {
        unsafe extern "C-unwind" {
            fn datum_image_eq(a: pg_sys::Datum, b: pg_sys::Datum, by_value: bool, length: i32) -> bool;
        }
        // SAFETY: attribute descriptors are valid for the live columns of the relation; both rows have its descriptor.
        unsafe {
            let columns = pgrx::PgTupleDesc::from_pg_unchecked(self.descriptor());
            columns
                .iter()
                .filter(|a| !a.attisdropped)
                .filter(|a| {
                    let number = a.attnum as i32;
                    match (self.value(self.old(), number), self.value(self.new_row(), number)) {
                        (Some(old), Some(new)) => !datum_image_eq(old, new, a.attbyval, a.attlen as i32),
                        (old, new) => old.is_some() != new.is_some(),
                    }
                })
                .map(|a| a.name().to_owned())
                .collect()
        }
    }
}
