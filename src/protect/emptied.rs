//! What stands in a column of a person who was erased.

use crate::pg::sql::exists;
use crate::protect::error::ProtectError;
use crate::protect::options::Options;
use crate::protect::table::{Column, Table};
use pgrx::spi::quote_identifier;

/// An expression over the table as `t`: NULL where the column may be NULL, a constant default, or a value of the type that
/// says nothing. None where there is none.
fn value(table: &Table, column: &Column) -> Option<String> {
    let data_type = column.data_type.as_str();
    let base = data_type.split('(').next().unwrap_or(data_type);
    // A default that calls a function would be another value each time.
    let constant = column.default.as_ref().filter(|default| !default.contains('('));
    Some(match (column.not_null, constant, base) {
        (false, ..) => "NULL".into(),
        (true, Some(default), _) => default.clone(),
        (true, None, "json" | "jsonb") => format!("'{{}}'::{data_type}"),
        // A shorter type would cut the key off.
        (true, None, "character varying" | "character") if is_unique(table, column) => return None,
        (true, None, "text" | "citext") if is_unique(table, column) => {
            let key = table.primary_key.last().map(quote_identifier)?;
            format!("('[erased] ' || t.{key}::text)::{data_type}")
        }
        // A cast cuts to the length of the type.
        (true, None, "text" | "character varying" | "citext" | "character") => format!("'[erased]'::{data_type}"),
        (true, None, "inet" | "cidr") => format!("'0.0.0.0'::{data_type}"),
        (true, None, "date" | "timestamp without time zone" | "timestamp with time zone") => {
            format!("'-infinity'::{data_type}")
        }
        (true, None, "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision") => {
            format!("0::{data_type}")
        }
        (true, None, "boolean") => "false".into(),
        (true, None, array) if array.ends_with("[]") => format!("'{{}}'::{data_type}"),
        _ => return None,
    })
}

fn is_unique(table: &Table, column: &Column) -> bool {
    exists(
        "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
          WHERE i.indrelid = $1 AND i.indisunique AND a.attname = $2",
        &[table.oid.into(), column.name.as_str().into()],
    )
}

/// As it is written into the statement of an erasure. `check` has seen to it that there is one.
pub fn emptied(table: &Table, column: &Column) -> String {
    value(table, column).unwrap_or_else(|| "NULL".into())
}

/// Refuses columns with personal data in clear that could not be emptied.
pub fn check(table: &Table, options: &Options) -> Result<(), ProtectError> {
    let clear = options.pii.iter().filter(|pii| !pii.is_encrypted());
    let mut columns = clear.filter_map(|pii| table.column(&pii.column)).filter(|c| !c.generated);
    match columns.find(|c| value(table, c).is_none()) {
        Some(c) => {
            let (table, column, found) = (table.quoted(), c.name.clone(), c.data_type.clone());
            Err(ProtectError::NotErasable { table, column, found })
        }
        None => Ok(()),
    }
}
