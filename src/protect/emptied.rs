//! What stands in a column of a person who was erased.

use crate::pg::sql::exists;
use crate::protect::error::ProtectError;
use crate::protect::options::Options;
use crate::protect::table::{Column, Table};
use pgrx::spi::quote_identifier;

/// Begins the texts that stand where there has to be one.
pub const ERASED: &str = "[erased]";

/// An expression over the table as `t`: NULL where the column may be NULL, a constant default, or a value of the type that
/// says nothing. None where there is none.
fn value(table: &Table, column: &Column) -> Option<String> {
    let data_type = column.data_type.as_str();
    if !column.not_null {
        return (!is_required_by_its_type(table, column)).then(|| "NULL".into());
    }
    let base = data_type.split('(').next().unwrap_or(data_type);
    if is_unique(table, column) {
        // Several persons are erased: what stands there must differ, and a shorter type would cut the key off.
        let key = table.primary_key.last().map(quote_identifier)?;
        return ["text", "citext"].contains(&base).then(|| format!("('{ERASED} ' || t.{key}::text)::{data_type}"));
    }
    // A default that calls a function, or is a keyword such as CURRENT_TIMESTAMP, would be another value each time.
    let is_constant = |default: &&String| {
        !default.contains('(') && default.starts_with(|c: char| c == '\'' || c == '-' || c.is_ascii_digit())
            || ["true", "false"].contains(&default.as_str())
    };
    if let Some(default) = column.default.as_ref().filter(is_constant) {
        return Some(format!("({default})::{data_type}"));
    }
    Some(match base {
        "json" | "jsonb" => format!("'{{}}'::{data_type}"),
        // A cast cuts to the length of the type.
        "text" | "character varying" | "citext" | "character" => format!("'{ERASED}'::{data_type}"),
        "inet" | "cidr" => format!("'0.0.0.0'::{data_type}"),
        "date" | "timestamp without time zone" | "timestamp with time zone" => format!("'-infinity'::{data_type}"),
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" => format!("0::{data_type}"),
        "boolean" => "false".into(),
        array if array.ends_with("[]") => format!("'{{}}'::{data_type}"),
        _ => return None,
    })
}

/// The column may be NULL, its domain not.
fn is_required_by_its_type(table: &Table, column: &Column) -> bool {
    exists(
        "SELECT 1 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attname = $2 AND t.typnotnull",
        &[table.oid.into(), column.name.as_str().into()],
    )
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
