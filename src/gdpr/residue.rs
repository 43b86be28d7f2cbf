//! `thorbis.residue_scan`: what is left of a person.

use crate::access::invalidation;
use crate::domain::envelope;
use crate::gdpr::catalogue::{Person, PersonTable};
use crate::pg::error::OrRaise;
use crate::pg::identity::ActingAs;
use crate::pg::sql::{column, query, query_one};
use crate::pg::uuid as pg_uuid;
use crate::pii::data_keys;
use crate::pii::functions::Unchecked;
use crate::protect::pii::opened_by;
use crate::protect::registry;
use crate::protect::table::{Table, as_owner};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

type Finding = (String, String, i64);

/// Rows (object, finding, count). Findings: `not erased`, a catalogued column of the person that has a value; `envelope`
/// and `unreadable envelope`, a ciphertext of theirs, whose key exists or not (those in the log of changes are not told);
/// `clear value`, one of `clear_values` or,
/// while the key exists, of their encrypted values.
#[pg_extern(sql = false)]
fn residue_scan(
    kind: &str,
    id: pgrx::Uuid,
    clear_values: Vec<Option<String>>,
) -> TableIterator<'static, (name!(object, String), name!(finding, String), name!(count, i64))> {
    let (person, tables) = Person::required("inspect", kind, id);
    let mut findings: Vec<Finding> = tables.iter().flat_map(|table| not_erased(&person, table)).collect();
    let live = |id: &uuid::Uuid| data_keys::id_of_subject(person.tenant, &person.kind, *id);
    let keys: Vec<uuid::Uuid> = person.ids.iter().filter_map(live).collect();
    for (finding, keys) in [("envelope", keys), ("unreadable envelope", erased_keys(&person))] {
        let prefixes: Vec<String> = keys.into_iter().map(envelope::prefix).collect();
        let found = occurrences(&person, &prefixes, false);
        // The log keeps what nobody can read any more: that is how an erasure works there.
        let told = |object: &str| finding == "envelope" || !object.starts_with("audit.change_log.");
        findings.extend(found.into_iter().filter(|(o, _)| told(o)).map(|(o, n)| (o, finding.to_owned(), n)));
    }
    let mut values: Vec<String> = clear_values.into_iter().flatten().filter(|v| !v.trim().is_empty()).collect();
    values.extend(encrypted_values(&person, &tables));
    findings.extend(occurrences(&person, &values, true).into_iter().map(|(o, n)| (o, "clear value".to_owned(), n)));
    TableIterator::new(findings)
}

/// The keys that were destroyed when the person was erased.
fn erased_keys(person: &Person) -> Vec<uuid::Uuid> {
    let Some(erasures) = invalidation::named("gdpr", "erasures") else { return Vec::new() };
    let _identity = ActingAs::owner(erasures.owner);
    let [tenant, id] = person.arguments();
    query(
        "SELECT data_key_id FROM gdpr.erasures
          WHERE tenant_id = $1 AND subject_id = ANY ($2) AND subject_kind = $3 AND data_key_id IS NOT NULL",
        &[tenant, id, person.kind.as_str().into()],
        |row| pg_uuid::from_pgrx(column(row, 1)),
    )
}

/// Places where the person's encrypted values stand in clear.
pub fn copies_elsewhere(person: &Person, tables: &[PersonTable]) -> Vec<(String, i64)> {
    occurrences(person, &encrypted_values(person, tables), true)
}

fn not_erased(person: &Person, table: &PersonTable) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, value) in table.emptied() {
        let count = table.count(person, &format!("t.{name}::text IS DISTINCT FROM ({value})::text"));
        if count > 0 {
            findings.push((format!("{}.{name}", table.table.quoted()), "not erased".into(), count));
        }
    }
    findings
}

/// The clear values of the person's encrypted columns, as long as they open.
fn encrypted_values(person: &Person, tables: &[PersonTable]) -> Vec<String> {
    let _unchecked = Unchecked::within(person.tenant);
    let mut values = Vec::new();
    for table in tables {
        let options = &table.entry.options;
        for pii in options.encrypted() {
            let opened = opened_by("decrypt_pii", &table.table, options, pii).or_raise();
            // What does not open is NULL here.
            let select = format!(
                "SELECT s.value FROM (SELECT {opened} AS value FROM {} t WHERE {}) s WHERE s.value IS NOT NULL",
                table.table.quoted(),
                table.condition
            );
            values.extend(table.as_owner(|| query(&select, &person.arguments(), |row| column::<String>(row, 1))));
        }
    }
    values
}

/// How many rows of the tenant have one of the texts in a column, for every column of protected tables that can hold
/// text.
fn occurrences(person: &Person, texts: &[String], any_case: bool) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    if texts.is_empty() {
        return found;
    }
    let fold = |text: &str| if any_case { format!("lower({text})") } else { text.to_owned() };
    for entry in registry::all() {
        let Ok(table) = Table::read(entry.table) else { continue };
        let (tenant, names) = (quote_identifier(&entry.options.tenant_column), text_columns(table.oid));
        if names.is_empty() {
            continue;
        }
        // All columns in one pass over the table.
        let counts: Vec<String> = names
            .iter()
            .map(|name| {
                let text = fold(&format!("t.{}::text", quote_identifier(name)));
                let found = format!("EXISTS (SELECT 1 FROM unnest($2) v WHERE position({} IN {text}) > 0)", fold("v"));
                format!("count(*) FILTER (WHERE {found})")
            })
            .collect();
        let count = format!("SELECT ARRAY[{}] FROM {} t WHERE t.{tenant} = $1", counts.join(", "), table.quoted());
        let args: [DatumWithOid; 2] = [pg_uuid::to_pgrx(person.tenant).into(), texts.to_vec().into()];
        let rows =
            as_owner(table.oid, || query_one(&count, &args, |row| column::<Vec<i64>>(row, 1))).unwrap_or_default();
        let objects = names.iter().map(|name| format!("{}.{}", table.quoted(), quote_identifier(name)));
        found.extend(objects.zip(rows).filter(|(_, rows)| *rows > 0));
    }
    found
}

/// Columns of text and JSON, arrays and domains of these included.
fn text_columns(table: pg_sys::Oid) -> Vec<String> {
    query(
        "SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_type e ON e.oid = coalesce(nullif(t.typelem, 0), nullif(t.typbasetype, 0), t.oid)
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
            AND (e.typcategory = 'S' OR e.typname IN ('json', 'jsonb'))",
        &[table.into()],
        |row| column(row, 1),
    )
}
