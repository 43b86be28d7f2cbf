//! Rows of the log as they go into a hash. PostgreSQL sorts digests, not rows: 32 bytes instead of a thousand.
//!
//! Nothing here depends on settings of the session (TimeZone, DateStyle, bytea_output, ...).

use crate::domain::merkle::Hash256;
use crate::domain::seal::{COLUMNS, RowDigest};
use crate::pg::cursor::{self, EPOCH_MICROS, Row};
use crate::pg::function::{argument, bytes_datum, guarded, with_text, written};
use crate::pg::uuid::from_datum;
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

/// The types of `COLUMNS`.
const TYPES: [pg_sys::Oid; COLUMNS.len()] = {
    use pg_sys::{INETOID, INT8OID, JSONBOID, TEXTOID, TIMESTAMPTZOID, UUIDOID};
    [
        UUIDOID,
        TIMESTAMPTZOID,
        UUIDOID,
        INT8OID,
        INT8OID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        JSONBOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        INETOID,
        TEXTOID,
    ]
};

v1_function!(
    /// `calculate_change_digest(...) -> bytea`: the columns of `audit.change_log` in their order.
    thorbis_change_digest, pg_finfo_thorbis_change_digest, |fcinfo| {
    guarded(|| {
        let mut digest = RowDigest::default();
        for (i, of) in TYPES.into_iter().enumerate() {
            // SAFETY: the SQL declaration has these arguments.
            match unsafe { argument(fcinfo, i) } {
                // SAFETY: as above.
                Some(datum) => unsafe { with_written(datum, of, |text| digest.column(Some(text))) },
                None => digest.column(None),
            }
        }
        bytes_datum(&digest.finish().0)
    })
});

/// Calls `body` with the text of a value.
///
/// # Safety
/// The datum is of the type, which is one of `TYPES`.
unsafe fn with_written<R>(datum: pg_sys::Datum, of: pg_sys::Oid, body: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: per contract. Text of a database is UTF-8 and jsonb_out's is terminated.
    unsafe {
        match of {
            pg_sys::TEXTOID => with_text(datum, |text| body(text.as_bytes())),
            pg_sys::UUIDOID => body(from_datum(datum).hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes()),
            pg_sys::INT8OID => body((datum.value() as i64).to_string().as_bytes()),
            // Infinity and all: wider than what is stored.
            pg_sys::TIMESTAMPTZOID => {
                body((i128::from(datum.value() as i64) + i128::from(EPOCH_MICROS)).to_string().as_bytes())
            }
            pg_sys::JSONBOID => {
                let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
                let jsonb = pg_sys::pg_detoast_datum(stored);
                let size = pgrx::varsize_any(jsonb);
                let root = &raw mut (*jsonb.cast::<pg_sys::Jsonb>()).root;
                let text = pg_sys::JsonbToCString(std::ptr::null_mut(), root, size as i32);
                let result = body(std::ffi::CStr::from_ptr(text).to_bytes());
                pg_sys::pfree(text.cast());
                if jsonb != stored {
                    pg_sys::pfree(jsonb.cast());
                }
                result
            }
            _ => body(written(datum, of).as_bytes()),
        }
    }
}

/// The columns of a row that a query gives in the order of `COLUMNS`: names and texts.
pub fn texts(row: &Row) -> Vec<(String, Option<String>)> {
    let text = |i: usize| {
        let datum = row.datum(i as i32 + 1)?;
        // SAFETY: the query selects `columns()`, whose types are these.
        unsafe { with_written(datum, TYPES[i], |text| Some(String::from_utf8_lossy(text).into_owned())) }
    };
    COLUMNS.iter().enumerate().map(|(i, name)| (name.to_string(), text(i))).collect()
}

/// A row of the log, without what it says.
pub struct Change {
    pub transaction: i64,
    pub id: Uuid,
    /// Microseconds since 1970.
    pub occurred_at: i64,
    pub digest: Hash256,
}

/// Hands the rows for which `condition`, over `audit.change_log c`, is true to `each`, ordered by transaction and id. The
/// caller acts as the owner of the log.
pub fn changes(condition: &str, mut each: impl FnMut(Change)) {
    // OFFSET 0 keeps the digests below the sort.
    let query = format!(
        "SELECT n.transaction_id, n.id, n.occurred_at, n.digest
           FROM (SELECT c.transaction_id, c.id, c.occurred_at, thorbis.calculate_change_digest({}) AS digest
                   FROM audit.change_log c WHERE {condition} OFFSET 0) n
          ORDER BY n.transaction_id, n.id",
        columns()
    );
    cursor::read(&query, |row| {
        each(Change {
            transaction: row.bigint(1),
            id: row.uuid(2),
            occurred_at: row.unix_micros(3),
            digest: Hash256::from_slice(&row.bytes(4)).expect("a digest has 32 bytes"),
        })
    });
}

/// The columns of `audit.change_log c`, in the order in which they are hashed.
pub fn columns() -> String {
    COLUMNS.map(|name| format!("c.{name}")).join(", ")
}
