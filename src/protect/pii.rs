//! What encrypted columns take beside a table's protection: the columns at rest, checks, trigger, views.
//!
//! | for column `c` of table `t` | what |
//! |---|---|
//! | `c_encrypted`, `c_bidx` | envelope and blind index |
//! | check `t_c_encrypted_check` | `c` is NULL at rest, trigger or not |
//! | trigger `encrypt_t_pii` | moves what is written to `c` into them |
//! | views `t_masked`, `t_pii` | `pii_views` |

use crate::deploy::extension_schema;
use crate::domain::names;
use crate::pg::sql::{column, exists, query_one};
use crate::protect::emptied;
use crate::protect::error::ProtectError;
use crate::protect::options::{Options, Purpose};
use crate::protect::personal::PiiColumn;
use crate::protect::pii_views;
use crate::protect::table::Table;
use pgrx::spi::{quote_identifier, quote_literal};

/// Types that can be encrypted: '' or JSON's null in them means "remove".
const TYPES: [&str; 6] = ["text", "character varying", "citext", "character", "json", "jsonb"];

/// Refuses what cannot be encrypted.
pub fn check(table: &Table, options: &Options) -> Result<(), ProtectError> {
    let named: Vec<&String> = options.pii.iter().map(|pii| &pii.column).chain(&options.not_personal).collect();
    if let Some(twice) = named.iter().enumerate().find(|(i, name)| named[..*i].contains(name)).map(|(_, name)| name) {
        return Err(ProtectError::Options(format!("column \"{twice}\" is named twice as personal or not personal")));
    }
    if let Some(key) = options.pii.iter().find(|pii| table.primary_key.contains(&pii.column)) {
        let reason = format!(
            "column \"{}\" is part of the primary key: keys stand in clear in other tables and in the log of changes, and an \
             erasure cannot empty them",
            key.column
        );
        return Err(ProtectError::Options(reason));
    }
    for pii in options.encrypted() {
        let found = table.column(&pii.column);
        if let Some(other) = found.filter(|c| !TYPES.contains(&base_type(&c.data_type)) || c.generated) {
            let (table, column, found) = (table.quoted(), other.name.clone(), other.data_type.clone());
            return Err(ProtectError::NotEncryptable { table, column, found });
        }
        table.row_key(&options.tenant_column)?;
        for (name, wanted) in [(Some(pii.encrypted()), "text"), (pii.blind_index(), "bytea")] {
            let taken = name.and_then(|name| table.column(&name)).filter(|c| c.data_type != wanted);
            if let Some(taken) = taken {
                let (table, column) = (table.quoted(), taken.name.clone());
                return Err(ProtectError::CompanionTaken { table, column, wanted });
            }
        }
    }
    if options.encrypted().next().is_some() && table.has_children() {
        let reason = "columns of a table with inheritance children cannot be encrypted: triggers are not inherited";
        return Err(ProtectError::Options(reason.into()));
    }
    if options.subject.is_some() {
        emptied::check(table, options)?;
    }
    if let Some(subject) = options.subject.as_ref() {
        if let Some(other) = table.column(&subject.column).filter(|c| c.data_type != "uuid") {
            let (table, column, found) = (table.quoted(), other.name.clone(), other.data_type.clone());
            return Err(ProtectError::SubjectType { table, column, found });
        }
        if subject.through.is_some() && options.encrypted().next().is_some() {
            let reason = "columns can be encrypted under a person's key only where the subject column holds the person's id: \
                          not \"through\" another table";
            return Err(ProtectError::Options(reason.into()));
        }
        if !names::is_word(&subject.kind) || subject.kind == "tenant" {
            return Err(ProtectError::Options(format!("subject kind {:?} is not a lower-case word", subject.kind)));
        }
    }
    Ok(())
}

/// `character varying(20)` is one of `character varying`, and citext is citext in whichever schema it is.
fn base_type(data_type: &str) -> &str {
    let base = data_type.split('(').next().unwrap_or(data_type);
    if base.ends_with(".citext") { "citext" } else { base }
}

/// The columns, checks and indexes that are missing.
pub fn columns(table: &Table, options: &Options) -> Vec<String> {
    let quoted = table.quoted();
    let mut statements = Vec::new();
    for pii in options.encrypted() {
        let plain = quote_identifier(&pii.column);
        for (name, data_type, about) in [
            (Some(pii.encrypted()), "text", "encrypted"),
            (pii.blind_index(), "bytea", "as a keyed hash, to find equal values"),
        ] {
            let Some(name) = name.filter(|name| table.column(name).is_none()) else { continue };
            let (name, about) = (quote_identifier(name), quote_literal(format!("The value of {plain} {about}")));
            statements.push(format!("ALTER TABLE {quoted} ADD COLUMN {name} {data_type}"));
            statements.push(format!("COMMENT ON COLUMN {quoted}.{name} IS {about}"));
        }
        statements.extend(check_constraint(table, options, pii));
        if let Some(index) = pii.blind_index().filter(|index| !is_indexed(table, options, index)) {
            let name = quote_identifier(names::derived("idx_", options.base(&table.name), &format!("_{index}")));
            let columns = [&options.tenant_column, &index].map(quote_identifier).join(", ");
            statements.push(format!("CREATE INDEX {name} ON {quoted} ({columns})"));
        }
    }
    statements
}

fn check_name(table: &Table, options: &Options, pii: &PiiColumn) -> String {
    names::derived("", options.base(&table.name), &format!("_{}_check", pii.encrypted()))
}

/// Whatever becomes of the trigger, no clear value is stored.
fn check_constraint(table: &Table, options: &Options, pii: &PiiColumn) -> Vec<String> {
    let name = check_name(table, options, pii);
    if constraint(table, &name).is_some() {
        return vec![];
    }
    let (quoted, plain) = (table.quoted(), quote_identifier(&pii.column));
    // Rows in clear stay until thorbis.encrypt_existing().
    let later = if table.has_rows(&format!("{plain} IS NOT NULL")) { " NOT VALID" } else { "" };
    let required = table.column(&pii.column).is_some_and(|c| c.not_null);
    let drop = required.then(|| format!("ALTER TABLE {quoted} ALTER COLUMN {plain} DROP NOT NULL"));
    let add = format!("ALTER TABLE {quoted} ADD CONSTRAINT {} CHECK ({plain} IS NULL){later}", quote_identifier(name));
    drop.into_iter().chain([add]).collect()
}

/// Whether a constraint exists, and is valid.
fn constraint(table: &Table, name: &str) -> Option<bool> {
    let find = "SELECT convalidated FROM pg_constraint WHERE conrelid = $1 AND conname = $2";
    query_one(find, &[table.oid.into(), name.into()], |row| column(row, 1))
}

fn is_indexed(table: &Table, options: &Options, name: &str) -> bool {
    exists(
        "SELECT 1 FROM pg_index i JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = i.indkey[0]
                                  JOIN pg_attribute b ON b.attrelid = i.indrelid AND b.attnum = i.indkey[1]
          WHERE i.indrelid = $1 AND t.attname = $2 AND b.attname = $3 AND i.indisvalid",
        &[table.oid.into(), options.tenant_column.as_str().into(), name.into()],
    )
}

/// Checks that hold now for all rows.
pub fn validations(table: &Table, options: &Options) -> Vec<String> {
    let names = options.encrypted().map(|pii| check_name(table, options, pii));
    let invalid = names.filter(|name| constraint(table, name) == Some(false));
    invalid
        .map(|name| format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", table.quoted(), quote_identifier(name)))
        .collect()
}

/// The columns with values in clear, among those that are to be encrypted.
pub fn in_clear<'a>(table: &Table, options: &'a Options) -> Vec<&'a str> {
    let unsure = options.encrypted().filter(|pii| constraint(table, &check_name(table, options, pii)) != Some(true));
    let holds = |pii: &&PiiColumn| table.has_rows(&format!("{} IS NOT NULL", quote_identifier(&pii.column)));
    unsure.filter(holds).map(|pii| pii.column.as_str()).collect()
}

/// The clear value of a column of the table called `t`, by `function`: decrypt_pii or mask_pii.
pub fn opened_by(function: &str, table: &Table, options: &Options, pii: &PiiColumn) -> Result<String, ProtectError> {
    let key = table.row_key(&options.tenant_column)?;
    let cast = if table.column(key).is_some_and(|c| c.data_type == "uuid") { "" } else { "::text" };
    let (schema, key, encrypted) = (extension_schema(), quote_identifier(key), quote_identifier(pii.encrypted()));
    let field = quote_literal(pii.field.as_deref().unwrap_or_default());
    Ok(format!("{schema}.{function}(t.{encrypted}, {field}, t.{key}{cast})"))
}

/// Whether any row has an encrypted value.
pub fn has_encrypted_rows(table: &Table, columns: &[&PiiColumn]) -> bool {
    let present = columns.iter().filter(|pii| table.column(&pii.encrypted()).is_some());
    let terms: Vec<_> = present.map(|pii| format!("{} IS NOT NULL", quote_identifier(pii.encrypted()))).collect();
    !terms.is_empty() && table.has_rows(&terms.join(" OR "))
}

/// The trigger that encrypts: (name, call), None for a table without encrypted columns.
pub fn trigger(table: &Table, options: &Options) -> Result<Option<(String, String)>, ProtectError> {
    if options.encrypted().next().is_none() {
        return Ok(None);
    }
    let mut arguments = vec![options.tenant_column.clone(), table.row_key(&options.tenant_column)?.to_owned()];
    arguments.extend(
        options.subject.as_ref().map_or([String::new(), String::new()], |s| [s.kind.clone(), s.column.clone()]),
    );
    for pii in options.encrypted() {
        let flags = [(pii.index, "index"), (pii.required, "required")];
        let flags: Vec<&str> = flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect();
        let field = pii.field.clone().unwrap_or_default();
        arguments.extend([field, pii.column.clone(), pii.kind.name().into(), flags.join(" ")]);
    }
    // The document's name of the function, where the document has one.
    let document = table.schema == "shared" && table.name == "customers";
    let function = if document { "encrypt_customer_pii" } else { "encrypt_pii_columns" };
    let arguments: Vec<String> = arguments.iter().map(quote_literal).collect();
    Ok(Some((trigger_name(table, options), format!("{}.{function}({})", extension_schema(), arguments.join(", ")))))
}

fn trigger_name(table: &Table, options: &Options) -> String {
    let chosen = options.triggers.get(&Purpose::Encrypt).cloned();
    chosen.unwrap_or_else(|| names::derived("encrypt_", options.base(&table.name), "_pii"))
}

/// What takes encryption off a table again: views, trigger, checks.
pub fn removals(table: &Table, options: &Options) -> Vec<String> {
    let encrypted: Vec<&PiiColumn> = options.encrypted().collect();
    if encrypted.is_empty() {
        return vec![];
    }
    let views = pii_views::quoted_names(table, options).map(|view| format!("DROP VIEW IF EXISTS {view}"));
    let trigger = quote_identifier(trigger_name(table, options));
    let trigger = format!("DROP TRIGGER IF EXISTS {trigger} ON {}", table.quoted());
    views.into_iter().chain([trigger]).chain(dropped_checks(table, options, &encrypted)).collect()
}

/// Columns that are encrypted no more may hold clear values again.
pub fn dropped_checks(table: &Table, options: &Options, columns: &[&PiiColumn]) -> Vec<String> {
    let drop = |pii: &&PiiColumn| {
        let name = quote_identifier(check_name(table, options, pii));
        format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {name}", table.quoted())
    };
    columns.iter().map(drop).collect()
}
