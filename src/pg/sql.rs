//! SQL text run by administrative functions.
//!
//! Reads go through `Spi::connect`, which assigns no transaction id; writes through `connect_mut`. Errors of PostgreSQL
//! itself travel as they are: they already carry SQLSTATE, detail and hint.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::{Spi, SpiHeapTupleData};

/// The rows of a query, each made into a value.
pub fn query<T>(sql: &str, args: &[DatumWithOid], row: impl Fn(&SpiHeapTupleData) -> T) -> Vec<T> {
    Spi::connect(|client| {
        let table = client.select(sql, None, args).unwrap_or_else(|e| pgrx::error!("{e}"));
        table.map(|tuple| row(&tuple)).collect()
    })
}

/// The first row of a query.
pub fn query_one<T>(sql: &str, args: &[DatumWithOid], row: impl Fn(&SpiHeapTupleData) -> T) -> Option<T> {
    query(sql, args, row).into_iter().next()
}

/// Whether a query has a row.
pub fn exists(sql: &str, args: &[DatumWithOid]) -> bool {
    !query(sql, args, |_| ()).is_empty()
}

/// The one jsonb value of a query, as PostgreSQL made it, in the current memory context.
pub fn jsonb(sql: &str, args: &[DatumWithOid]) -> pg_sys::Datum {
    single(sql, args, pg_sys::JSONBOID, true).expect("a query of our own gives a value")
}

/// The one text of a query, None when it is NULL. It sees what was committed by now, as a statement that writes would, and
/// assigns no transaction id.
pub fn text_now(sql: &str, args: &[DatumWithOid]) -> Option<String> {
    let text = single(sql, args, pg_sys::TEXTOID, false);
    // SAFETY: `single` checked that it is text.
    text.map(|text| unsafe { crate::pg::function::with_text(text, str::to_owned) })
}

/// The value of a query with one row and one column of that type, in the current memory context. `active`: under the
/// snapshot of the running statement, else under one taken now.
fn single(sql: &str, args: &[DatumWithOid], of: pg_sys::Oid, active: bool) -> Option<pg_sys::Datum> {
    let sql = std::ffi::CString::new(sql).expect("SQL text");
    let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
    let nulls: Vec<std::ffi::c_char> =
        args.iter().map(|arg| if arg.datum().is_none() { b'n' } else { b' ' } as _).collect();
    let mut values: Vec<pg_sys::Datum> =
        args.iter().map(|arg| arg.datum().map_or(pg_sys::Datum::from(0), |datum| datum.sans_lifetime())).collect();
    // SAFETY: one type, value and null flag an argument; the value is copied to the caller's memory before SPI's is freed.
    unsafe {
        pg_sys::SPI_connect();
        let count = args.len() as i32;
        let code = pg_sys::SPI_execute_with_args(
            sql.as_ptr(),
            count,
            types.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_ptr(),
            active,
            1,
        );
        assert!(code == pg_sys::SPI_OK_SELECT as i32 && pg_sys::SPI_processed == 1, "a query of our own has a row");
        let table = &*pg_sys::SPI_tuptable;
        assert_eq!(pg_sys::SPI_gettypeid(table.tupdesc, 1), of);
        let mut null = false;
        let value = pg_sys::SPI_getbinval(*table.vals, table.tupdesc, 1, &mut null);
        let copy = (!null).then(|| pg_sys::SPI_datumTransfer(value, false, -1));
        pg_sys::SPI_finish();
        copy
    }
}

/// Runs one statement and returns how many rows it touched.
pub fn run(sql: &str, args: &[DatumWithOid]) -> usize {
    Spi::connect_mut(|client| client.update(sql, None, args).unwrap_or_else(|e| pgrx::error!("{e}")).len())
}

/// Runs a utility statement without assigning a transaction id.
pub fn run_utility(sql: &str) {
    let sql = std::ffi::CString::new(sql).expect("SQL text");
    // SAFETY: SPI_connect and SPI_finish pair up; on an error PostgreSQL's abort cleans SPI up.
    unsafe {
        pg_sys::SPI_connect();
        let code = pg_sys::SPI_execute(sql.as_ptr(), false, 0);
        assert_eq!(code, pg_sys::SPI_OK_UTILITY as i32, "a utility statement runs");
        pg_sys::SPI_finish();
    }
}

/// A column that the query never leaves NULL.
pub fn column<T: pgrx::FromDatum + pgrx::IntoDatum>(row: &SpiHeapTupleData, i: usize) -> T {
    optional(row, i).unwrap_or_else(|| pgrx::error!("column {i} is null"))
}

/// A column that may be NULL.
pub fn optional<T: pgrx::FromDatum + pgrx::IntoDatum>(row: &SpiHeapTupleData, i: usize) -> Option<T> {
    row.get(i).unwrap_or_else(|e| pgrx::error!("column {i}: {e}"))
}
