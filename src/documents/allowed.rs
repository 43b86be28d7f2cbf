//! `thorbis.allowed_transitions(document, id)`: what can be done next, for user interfaces.

use crate::access::functions::may;
use crate::context::current;
use crate::deploy::extension_schema;
use crate::documents::error::StatusError;
use crate::documents::guard::{self, Image};
use crate::documents::transitions::{Transition, Transitions};
use crate::pg::error::{SqlError, required};
use crate::pg::identity;
use crate::pg::sql::{column, exists, jsonb, query, query_one};
use crate::protect::table::{as_owner, qualified_name};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

/// A document that the caller may read.
struct Found {
    table: pg_sys::Oid,
    name: String,
    status_column: String,
    tenant: pgrx::Uuid,
    id: pgrx::Uuid,
    status: String,
}

/// Rows (to_status, resource, action, allowed, reason).
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn allowed_transitions(
    document: Option<&str>,
    id: Option<pgrx::Uuid>,
) -> TableIterator<
    'static,
    (
        name!(to_status, String),
        name!(resource, Option<String>),
        name!(action, Option<String>),
        name!(allowed, bool),
        name!(reason, Option<String>),
    ),
> {
    let (document, id) = (required("document", document), required("id", id));
    let tables = tables(document);
    if tables.is_empty() {
        StatusError::NoTrigger { document: document.to_owned() }.raise();
    }
    let found = tables.into_iter().find_map(|(table, status_column)| find(table, status_column, id));
    let Some(found) = found else { StatusError::NoDocument { document: document.to_owned() }.raise() };
    let rows = Transitions::open().from(document, &found.status).into_iter().map(|transition| {
        let objection = objection(&found, &transition);
        let (resource, action) = transition.permission.unzip();
        (transition.to, resource, action, objection.is_none(), objection)
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// Every table that carries the trigger for this document, with its column of the status.
fn tables(document: &str) -> Vec<(pg_sys::Oid, String)> {
    let rows = query(
        "SELECT t.tgrelid, t.tgargs FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                JOIN pg_namespace n ON n.oid = p.pronamespace
          WHERE p.proname = 'check_status_transition' AND n.nspname = $1 AND t.tgparentid = 0 ORDER BY t.tgrelid",
        &[extension_schema().as_str().into()],
        |row| (column::<pg_sys::Oid>(row, 1), column::<Vec<u8>>(row, 2)),
    );
    rows.into_iter()
        .filter_map(|(table, arguments)| {
            let arguments = crate::documents::split_arguments(&arguments);
            let status = arguments.get(1).cloned().unwrap_or_else(|| "status".into());
            (arguments.first().is_some_and(|name| name == document)).then_some((table, status))
        })
        .collect()
}

/// As the caller, whose policies decide what is there.
fn find(table: pg_sys::Oid, status_column: String, id: pgrx::Uuid) -> Option<Found> {
    let name = qualified_name(table);
    let status = quote_identifier(&status_column);
    let tenant = current::get().tenant.map(crate::pg::uuid::to_pgrx);
    if tenant.is_none() && !identity::operates_all_tenants() {
        return None;
    }
    let tenant_column = tenant_column(table);
    let sql = format!(
        "SELECT d.{tenant_column}, coalesce(d.{status}, '') FROM {name} d
          WHERE d.id = $1 AND ($2 IS NULL OR d.{tenant_column} = $2)"
    );
    let (tenant, status) =
        query_one(&sql, &[id.into(), tenant.into()], |row| (column(row, 1), column::<String>(row, 2)))?;
    Some(Found { table, name, status_column, tenant, id, status })
}

/// The table of the tenants themselves has no other than its key.
fn tenant_column(table: pg_sys::Oid) -> &'static str {
    let found = "SELECT 1 FROM pg_attribute WHERE attrelid = $1 AND attname = 'tenant_id' AND NOT attisdropped";
    if exists(found, &[table.into()]) { "tenant_id" } else { "id" }
}

/// Why the caller cannot make this transition; None when they can.
fn objection(found: &Found, transition: &Transition) -> Option<String> {
    let job = identity::operates_all_tenants() && current::get().user.is_none();
    match &transition.permission {
        _ if job => {}
        Some((resource, action)) if !may(resource, action) => return Some(format!("needs {resource}:{action}")),
        Some(_) => {}
        None => return Some("it comes about by itself".into()),
    }
    let guard = transition.guard.as_ref()?;
    let key: [DatumWithOid; 2] = [found.tenant.into(), found.id.into()];
    let row = as_owner(found.table, || {
        let sql = format!(
            "SELECT to_jsonb(d) FROM {} d WHERE d.{} = $1 AND d.id = $2",
            found.name,
            tenant_column(found.table)
        );
        jsonb(&sql, &key)
    });
    // SAFETY: a jsonb, made by the query above.
    let given = unsafe { DatumWithOid::new(row, pg_sys::JSONBOID) };
    let time = transition.sets_column.as_deref();
    let after = jsonb(
        "SELECT $1 || jsonb_build_object($2::text, $3::text)
             || CASE WHEN $4::text IS NULL THEN '{}' ELSE jsonb_build_object($4::text, now()) END",
        &[given, found.status_column.as_str().into(), transition.to.as_str().into(), time.into()],
    );
    guard::objection(found.table, guard, Image::Json(row), Image::Json(after))
}
