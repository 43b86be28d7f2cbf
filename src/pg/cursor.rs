//! Long results in portions, so that memory stays flat however long they are.

use crate::pg::function::with_text;
use crate::pg::uuid::from_datum;
use pgrx::pg_sys;
use std::ffi::CString;
use uuid::Uuid;

/// Rows fetched at once.
const PORTION: i64 = 1000;

/// From 1970 to 2000, where PostgreSQL's times and dates begin.
pub const EPOCH_MICROS: i64 = 946_684_800_000_000;
pub const EPOCH_DAYS: i64 = 10_957;

/// One row of a result; columns count from 1, as in SQL. A value that the query leaves NULL, or gives in another type, is a
/// mistake of our own.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
}

impl Row {
    /// A column of any type; None when it is NULL.
    pub fn datum(&self, column: i32) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: tuple and descriptor are of one result, which lives as long as the row.
        let datum = unsafe { pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut null) };
        (!null).then_some(datum)
    }

    fn value(&self, column: i32, of: pg_sys::Oid) -> pg_sys::Datum {
        // SAFETY: as above.
        assert_eq!(unsafe { pg_sys::SPI_gettypeid(self.desc, column) }, of, "type of column {column}");
        self.datum(column).unwrap_or_else(|| panic!("column {column} is null"))
    }

    pub fn bigint(&self, column: i32) -> i64 {
        self.value(column, pg_sys::INT8OID).value() as i64
    }

    pub fn uuid(&self, column: i32) -> Uuid {
        // SAFETY: `value` checked that it is a uuid.
        unsafe { from_datum(self.value(column, pg_sys::UUIDOID)) }
    }

    pub fn text(&self, column: i32) -> String {
        // SAFETY: `value` checked that it is text.
        unsafe { with_text(self.value(column, pg_sys::TEXTOID), str::to_owned) }
    }

    pub fn bytes(&self, column: i32) -> Vec<u8> {
        // SAFETY: `value` checked that it is bytea; whatever had to be detoasted goes with SPI's memory.
        unsafe {
            let stored = self.value(column, pg_sys::BYTEAOID).cast_mut_ptr();
            pgrx::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(stored)).to_vec()
        }
    }

    /// A timestamptz in microseconds since 1970; times beyond all calendars are as far away as numbers go.
    pub fn unix_micros(&self, column: i32) -> i64 {
        (self.value(column, pg_sys::TIMESTAMPTZOID).value() as i64).saturating_add(EPOCH_MICROS)
    }

    /// A date in days since 1970.
    pub fn unix_day(&self, column: i32) -> i64 {
        i64::from(self.value(column, pg_sys::DATEOID).value() as i32) + EPOCH_DAYS
    }
}

/// Runs a query that only reads, under the active snapshot, and hands each row to `each`. Others may run meanwhile.
pub fn read(query: &str, mut each: impl FnMut(&Row)) {
    let query = CString::new(query).expect("SQL text");
    // SAFETY: SPI_connect and SPI_finish pair up, on an error PostgreSQL's abort cleans up; a portion's rows are freed after
    // `each` saw them.
    unsafe {
        pg_sys::SPI_connect();
        let none = std::ptr::null_mut();
        let name = std::ptr::null();
        let cursor =
            pg_sys::SPI_cursor_open_with_args(name, query.as_ptr(), 0, none, none.cast(), std::ptr::null(), true, 0);
        loop {
            pg_sys::SPI_cursor_fetch(cursor, true, PORTION as _);
            let (count, table) = (pg_sys::SPI_processed as usize, pg_sys::SPI_tuptable);
            for i in 0..count {
                each(&Row { tuple: *(*table).vals.add(i), desc: (*table).tupdesc });
            }
            pg_sys::SPI_freetuptable(table);
            if count < PORTION as usize {
                break;
            }
        }
        pg_sys::SPI_cursor_close(cursor);
        pg_sys::SPI_finish();
    }
}

/// The rows of a short result.
pub fn collect<T>(query: &str, value: impl Fn(&Row) -> T) -> Vec<T> {
    let mut values = Vec::new();
    read(query, |row| values.push(value(row)));
    values
}

/// What is committed now becomes what queries see, until this is dropped: for those who waited for a lock.
pub struct FreshSnapshot(());

impl FreshSnapshot {
    /// In READ COMMITTED.
    pub fn take() -> FreshSnapshot {
        // SAFETY: the snapshot is copied, and popped by Drop or by the abort of the transaction.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        FreshSnapshot(())
    }
}

impl Drop for FreshSnapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pushed by `take`; scopes nest.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}
