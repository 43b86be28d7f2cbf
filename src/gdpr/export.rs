//! `thorbis.export_subject`: everything that is kept about a person, decrypted.

use crate::audit::events;
use crate::gdpr::catalogue::{Person, PersonTable};
use crate::pg::error::OrRaise;
use crate::pg::function::{argument, guarded, null, text_datum, with_text};
use crate::pg::{sql, uuid as pg_uuid};
use crate::pii::functions::Unchecked;
use crate::protect::pii::opened_by;
use crate::v1_function;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::quote_literal;
use serde_json::json;

v1_function!(
    /// `export_subject(kind text, id uuid) -> jsonb`, STRICT: `{"subject": {kind, id}, "tenant_id", "exported_at",
    /// "tables": {"shared.customers": [{...}], ...}}`. Made by PostgreSQL throughout, so that amounts stay what they are.
    thorbis_export_subject, pg_finfo_thorbis_export_subject, |fcinfo| {
    // SAFETY: the SQL declaration is (text, uuid).
    unsafe {
        guarded(|| {
            let (Some(kind), Some(id)) = (argument(fcinfo, 0), argument(fcinfo, 1)) else { return null(fcinfo) };
            let id = crate::pg::uuid::to_pgrx(crate::pg::uuid::from_datum(id));
            with_text(kind, |kind| export(kind, id))
        })
    }
});

fn export(kind: &str, id: pgrx::Uuid) -> pg_sys::Datum {
    let (person, tables) = Person::required("export", kind, id);
    events::record(Some(person.tenant), "subject.export", kind, json!({"subject_id": person.id.to_string()}));
    let empty = sql::jsonb("SELECT '{}'::jsonb", &[]);
    let tables = tables.iter().fold(empty, |all, table| {
        let rows = rows(&person, table);
        // SAFETY: jsonb made by PostgreSQL, and a text datum of our own.
        let args = unsafe {
            [
                DatumWithOid::new(all, pg_sys::JSONBOID),
                DatumWithOid::new(text_datum(&table.table.quoted()), pg_sys::TEXTOID),
                DatumWithOid::new(rows, pg_sys::JSONBOID),
            ]
        };
        sql::jsonb("SELECT $1 || jsonb_build_object($2, $3)", &args)
    });
    let (tenant, id) = (pg_uuid::to_pgrx(person.tenant).into(), pg_uuid::to_pgrx(person.id).into());
    // SAFETY: as above.
    let tables = unsafe { DatumWithOid::new(tables, pg_sys::JSONBOID) };
    sql::jsonb(
        "SELECT jsonb_build_object('subject', jsonb_build_object('kind', $3, 'id', $2), 'tenant_id', $1,
                                   'exported_at', now(), 'tables', $4)",
        &[tenant, id, kind.into(), tables],
    )
}

/// The person's rows in a table as a JSON array, encrypted columns under their own names.
fn rows(person: &Person, table: &PersonTable) -> pg_sys::Datum {
    let options = &table.entry.options;
    let hidden: Vec<String> = options.sealed_columns().map(quote_literal).collect();
    let clear: Vec<String> = options
        .encrypted()
        .map(|pii| {
            let opened = opened_by("decrypt_pii", &table.table, options, pii).or_raise();
            format!("{}, {opened}", quote_literal(&pii.column))
        })
        .collect();
    let select = format!(
        "SELECT coalesce(jsonb_agg((to_jsonb(t) - ARRAY[{}]::text[]) || jsonb_build_object({})), '[]') FROM {} t WHERE {}",
        hidden.join(", "),
        clear.join(", "),
        table.table.quoted(),
        table.condition
    );
    let _unchecked = Unchecked::within(person.tenant);
    table.as_owner(|| sql::jsonb(&select, &person.arguments()))
}
