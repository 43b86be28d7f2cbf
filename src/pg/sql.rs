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
