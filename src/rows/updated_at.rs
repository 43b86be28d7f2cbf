//! `set_updated_at_column()`: `updated_at`, and `updated_by` where the table has it.
//!
//! Runs for every updated row of every table, so the row is rebuilt once, the column numbers are looked up once per
//! statement, and the call that rebuilds it takes no guard.

use crate::pg::function::guarded;
use crate::pg::trigger::{ColumnType, Firing, Trigger};
use crate::pg::uuid::into_datum;
use crate::v1_function;
use pgrx::pg_sys;

unsafe extern "C-unwind" {
    // Raises for column numbers that do not exist, which `look_up` rules out, and when memory is exhausted: then it
    // leaves over frames that own nothing.
    fn heap_modify_tuple_by_cols(
        tuple: pg_sys::HeapTuple,
        descriptor: pg_sys::TupleDesc,
        count: i32,
        columns: *const i32,
        values: *const pg_sys::Datum,
        nulls: *const bool,
    ) -> pg_sys::HeapTuple;
    fn GetCurrentTransactionStartTimestamp() -> pg_sys::TimestampTz;
}

/// The column numbers of one table, kept in `fn_extra` of the trigger: 0 where the table has no such column.
#[derive(Clone, Copy)]
struct Columns {
    relation: pg_sys::Oid,
    updated_at: i32,
    updated_by: i32,
}

v1_function!(
    /// BEFORE UPDATE (or INSERT) FOR EACH ROW.
    thorbis_set_updated_at_column, pg_finfo_thorbis_set_updated_at_column, |fcinfo| {
    // SAFETY: called by PostgreSQL as a trigger; fn_extra holds nothing but `Columns`.
    unsafe {
        let known = (*(*fcinfo).flinfo).fn_extra.cast::<Columns>();
        if known.is_null() {
            guarded(|| look_up(fcinfo));
        }
        let trigger = Trigger::of(fcinfo, Firing::Any);
        let columns = *(*(*fcinfo).flinfo).fn_extra.cast::<Columns>();
        debug_assert_eq!(columns.relation, trigger.relation());
        let now = pg_sys::Datum::from(GetCurrentTransactionStartTimestamp());
        let actor = if columns.updated_by > 0 { guarded(crate::access::functions::actor) } else { None };
        let by = actor.map_or(pg_sys::Datum::from(0), into_datum);
        let row = heap_modify_tuple_by_cols(
            trigger.new_row().as_ptr(),
            trigger.descriptor(),
            if columns.updated_by > 0 { 2 } else { 1 },
            [columns.updated_at, columns.updated_by].as_ptr(),
            [now, by].as_ptr(),
            [false, actor.is_none()].as_ptr(),
        );
        pg_sys::Datum::from(row)
    }
});

/// # Safety
/// Called with the call info of the trigger.
unsafe fn look_up(fcinfo: pg_sys::FunctionCallInfo) {
    // SAFETY: per contract; the memory lives as long as the trigger's function info.
    unsafe {
        // Level and timing belong to the trigger, so they hold for all its calls.
        let trigger = Trigger::of(fcinfo, Firing::BeforeRow);
        let columns = Columns {
            relation: trigger.relation(),
            updated_at: trigger.required_column("updated_at", ColumnType::Timestamptz),
            // One of another type is the table's own business.
            updated_by: trigger.column_if("updated_by", ColumnType::Uuid).unwrap_or(0),
        };
        let flinfo = (*fcinfo).flinfo;
        let place = pg_sys::MemoryContextAlloc((*flinfo).fn_mcxt, size_of::<Columns>()).cast::<Columns>();
        place.write(columns);
        (*flinfo).fn_extra = place.cast();
    }
}
