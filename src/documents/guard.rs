//! A transition's own condition: a function `(old jsonb, new jsonb) RETURNS text`, which says NULL, or why not.
//!
//! It runs as the owner of the document's table, past row security: it names the tenant, `new ->> 'tenant_id'`, in whatever
//! it reads. What it raises travels on.

use crate::documents::error::StatusError;
use crate::pg::error::SqlError;
use crate::pg::function::text_datum;
use crate::pg::sql;
use crate::protect::table::as_owner;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::quote_qualified_identifier;

/// A row as the guard sees it.
#[derive(Clone, Copy)]
pub enum Image {
    Nothing,
    /// A composite value of the table's row type.
    Row {
        of: pg_sys::Oid,
        value: pg_sys::Datum,
    },
    Json(pg_sys::Datum),
}

impl Image {
    fn expression(self, parameter: usize) -> String {
        match self {
            Image::Nothing => format!("${parameter}::jsonb"),
            Image::Row { .. } => format!("to_jsonb(${parameter})"),
            Image::Json(_) => format!("${parameter}"),
        }
    }

    fn argument(self) -> DatumWithOid<'static> {
        // SAFETY: each value is of its type.
        unsafe {
            match self {
                Image::Nothing => DatumWithOid::null_oid(pg_sys::JSONBOID),
                Image::Row { of, value } => DatumWithOid::new(value, of),
                Image::Json(value) => DatumWithOid::new(value, pg_sys::JSONBOID),
            }
        }
    }
}

/// Why the guard is against it; None when it is not.
pub fn objection(table: pg_sys::Oid, guard: &str, old: Image, new: Image) -> Option<String> {
    let named = guard.split_once('.').map(|(schema, name)| quote_qualified_identifier(schema, name));
    let Some(function) = named.filter(|name| is_guard(name)) else {
        StatusError::NoGuard { guard: guard.to_owned() }.raise()
    };
    let call = format!("SELECT {function}({}, {})", old.expression(1), new.expression(2));
    // As of now: it sees what was committed while the row was waited for.
    as_owner(table, || sql::text_now(&call, &[old.argument(), new.argument()]))
}

/// Whether there is such a function, and it gives text.
fn is_guard(name: &str) -> bool {
    let signature = text_datum(&format!("{name}(pg_catalog.jsonb,pg_catalog.jsonb)"));
    // SAFETY: text to regprocedure, which is an oid or NULL; then a look-up in the catalog's cache.
    unsafe {
        let found = pgrx::direct_function_call::<pg_sys::Oid>(pg_sys::to_regprocedure, &[Some(signature)]);
        found.is_some_and(|function| pg_sys::get_func_rettype(function) == pg_sys::TEXTOID)
    }
}
