//! `thorbis.verify_totals(document)`: stored amounts that disagree with the calculation.

use crate::deploy::extension_schema;
use crate::documents::totals::statements::Statements;
use crate::documents::totals::triggers::{self, with_own_memory};
use crate::pg::cursor;
use crate::pg::fresh::Arg;
use crate::pg::sql::{column, query};
use crate::pg::subtransaction::attempt;
use crate::pg::uuid::to_pgrx;
use crate::protect::table::qualified_name;
use pgrx::prelude::*;
use uuid::Uuid;

/// (document, tenant_id, document_id, line_id, column_name, stored, expected)
type Row = (pg_sys::Oid, pgrx::Uuid, pgrx::Uuid, Option<pgrx::Uuid>, String, Option<String>, Option<String>);

/// Rows (document, tenant_id, document_id, line_id, column_name, stored, expected).
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_totals(
    document: Option<pg_sys::Oid>,
) -> TableIterator<
    'static,
    (
        name!(document, pg_sys::Oid),
        name!(tenant_id, pgrx::Uuid),
        name!(document_id, pgrx::Uuid),
        name!(line_id, Option<pgrx::Uuid>),
        name!(column_name, String),
        name!(stored, Option<String>),
        name!(expected, Option<String>),
    ),
> {
    let kept = query(
        "SELECT t.oid, t.tgrelid, t.tgargs FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                JOIN pg_namespace n ON n.oid = p.pronamespace
          WHERE p.proname = 'keep_document_totals' AND n.nspname = $1 AND t.tgparentid = 0
            AND ($2 IS NULL OR t.tgrelid = $2) ORDER BY t.tgrelid",
        &[extension_schema().as_str().into(), document.into()],
        |row| (column::<pg_sys::Oid>(row, 1), column::<pg_sys::Oid>(row, 2), column::<Vec<u8>>(row, 3)),
    );
    TableIterator::new(kept.into_iter().flat_map(|(trigger, table, arguments)| of_table(trigger, table, &arguments)))
}

fn of_table(trigger: pg_sys::Oid, table: pg_sys::Oid, arguments: &[u8]) -> Vec<Row> {
    let name = qualified_name(table);
    let statements = Statements::of_catalog(trigger, arguments, &name);
    let mut found = Vec::new();
    cursor::read(&format!("SELECT d.tenant_id, d.id FROM {name} d ORDER BY d.tenant_id, d.id"), |row| {
        found.extend(with_own_memory(|| of_document(statements, table, row.uuid(1), row.uuid(2))));
    });
    found
}

fn of_document(statements: &Statements, table: pg_sys::Oid, tenant: Uuid, id: Uuid) -> Vec<Row> {
    const INPUT: [PgSqlErrorCode; 2] =
        [PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE];
    let row = |line: Option<Uuid>, name: String, stored, expected| {
        (table, to_pgrx(tenant), to_pgrx(id), line.map(to_pgrx), name, stored, expected)
    };
    let mut found = Vec::new();
    match attempt(&INPUT, || triggers::outcome(statements, tenant, id)) {
        None => found.push(row(None, "*".into(), None, Some("the inputs are not valid".into()))),
        Some(None) => {}
        Some(Some(outcome)) => {
            let result = Arg::Value(pg_sys::JSONBOID, Some(outcome.result));
            statements.compare.run(&[Arg::Uuid(tenant), Arg::Uuid(id), result], None, |r| {
                found.push(row(r.uuid(1), r.text(2).unwrap_or_default(), r.text(3), r.text(4)));
            });
        }
    }
    found
}
