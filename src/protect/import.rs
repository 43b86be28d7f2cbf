//! `thorbis.import_rows`: bulk loading under row security, where PostgreSQL refuses COPY FROM.
//!
//! Both forms are one `INSERT ... SELECT` run as the caller: policies, triggers and constraints hold for every row, and
//! one bad row refuses them all.

use crate::pg::error::{OrRaise, SqlError, required};
use crate::pg::sql::{self, column, query};
use crate::protect::error::ProtectError;
use crate::protect::table::{Table, qualified_name};
use pgrx::AnyElement;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use std::collections::BTreeSet;

/// Inserts `rows`, a JSON array of objects, or the rows of `source`: one of the two is given.
#[pg_extern(sql = false)]
fn import_rows(target: Option<pg_sys::Oid>, rows: Option<AnyElement>, source: Option<pg_sys::Oid>) -> i64 {
    let table = Table::read(required("target", target)).or_raise();
    match (rows, source) {
        (Some(rows), None) => import_json(&table, &rows),
        (None, Some(source)) => import_from(&table, source),
        _ => ProtectError::ImportFrom.raise(),
    }
}

/// Columns that no object names take their defaults. The document itself goes to PostgreSQL as it came: read as numbers
/// of another kind, amounts would change.
fn import_json(table: &Table, rows: &AnyElement) -> i64 {
    // SAFETY: the SQL declaration makes it jsonb; the datum outlives the statements.
    let document = || [unsafe { DatumWithOid::new(rows.datum(), pg_sys::JSONBOID) }];
    let objects = "SELECT 1 WHERE jsonb_typeof($1) = 'array'
                      AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(CASE jsonb_typeof($1) WHEN 'array' THEN $1 END) e
                                       WHERE jsonb_typeof(e) <> 'object')";
    if !sql::exists(objects, &document()) {
        ProtectError::NotRows.raise();
    }
    let keys = "SELECT DISTINCT k FROM jsonb_array_elements($1) e, jsonb_object_keys(e) k";
    let names: BTreeSet<String> = query(keys, &document(), |row| column(row, 1)).into_iter().collect();
    if names.is_empty() {
        return 0;
    }
    let columns = insertable(table, names);
    let statement = format!(
        "INSERT INTO {0} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{0}, $1)",
        table.quoted()
    );
    sql::run(&statement, &document()) as i64
}

/// Columns match by name.
fn import_from(table: &Table, source: pg_sys::Oid) -> i64 {
    let names = query(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped",
        &[source.into()],
        |row| column::<String>(row, 1),
    );
    let columns = insertable(table, names.into_iter().collect());
    let statement =
        format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {}", table.quoted(), qualified_name(source));
    sql::run(&statement, &[]) as i64
}

fn insertable(table: &Table, names: BTreeSet<String>) -> String {
    if let Some(unknown) = names.iter().find(|n| table.column(n).is_none_or(|c| c.generated)) {
        ProtectError::UnknownImportColumn { table: table.quoted(), column: unknown.clone() }.raise();
    }
    names.iter().map(quote_identifier).collect::<Vec<_>>().join(", ")
}
