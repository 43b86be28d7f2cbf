//! `thorbis.encrypt_existing` and `thorbis.decrypt_existing`: the rows a table had before its columns were encrypted,
//! and the way back.
//!
//! Both are one transaction. Rows are rewritten with `session_replication_role = replica`: of the table's triggers only
//! those fire that always do (encryption, audit), and `updated_at` stays.

use crate::audit::events;
use crate::deploy::error::DeployError;
use crate::pg::error::{OrRaise, SqlError, required};
use crate::pg::identity;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{self, column, query, query_one};
use crate::pii::error::PiiError;
use crate::pii::functions::Unchecked;
use crate::pii::keyring;
use crate::protect::commands::{apply, require_owner};
use crate::protect::options::Options;
use crate::protect::personal::{Method, PiiColumn};
use crate::protect::pii as pii_plan;
use crate::protect::registry::{self, Entry};
use crate::protect::table::{Table, as_owner};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use serde_json::json;

/// Encrypts the clear values of the columns that are to be encrypted. Returns the number of rows.
#[pg_extern(sql = false)]
fn encrypt_existing(table: Option<pg_sys::Oid>, dry_run: Option<bool>) -> i64 {
    let (table, entry) = protected(table);
    let columns = encrypted(&table, &entry.options);
    let clear = any(&columns, |pii| format!("{} IS NOT NULL", quote_identifier(&pii.column)));
    if required("dry_run", dry_run) {
        return count(&table, &clear);
    }
    keyring::latest();
    lock(&table);
    // The trigger does it: it takes what it finds in the plain columns.
    let assignments = list(&columns, |pii| format!("{0} = {0}", quote_identifier(&pii.column)));
    let done = rewrite(&table, &assignments, &clear);
    for statement in pii_plan::validations(&table, &entry.options) {
        sql::run(&statement, &[]);
    }
    if done > 0 {
        let table = table.quoted();
        notice!(
            "{done} rows of {table} are encrypted. Their old versions are on disk until: VACUUM FULL {table}; ANALYZE \
             {table}; VACUUM FULL pg_catalog.pg_statistic; and in the WAL and backups until these expire"
        );
    }
    done
}

/// Writes the values back in clear and ends the encryption of the table's columns. Returns the number of rows.
#[pg_extern(sql = false)]
fn decrypt_existing(table: Option<pg_sys::Oid>, dry_run: Option<bool>) -> i64 {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function: "thorbis.decrypt_existing()" }.raise();
    }
    let (table, entry) = protected(table);
    let columns = encrypted(&table, &entry.options);
    let sealed = any(&columns, |pii| format!("{} IS NOT NULL", quote_identifier(pii.encrypted())));
    if required("dry_run", dry_run) {
        return count(&table, &sealed);
    }
    lock(&table);
    let required: Vec<&String> = columns.iter().filter(|pii| pii.required).map(|pii| &pii.column).collect();
    for statement in pii_plan::removals(&table, &entry.options) {
        sql::run(&statement, &[]);
    }
    let assignments = list(&columns, |pii| {
        let opened = pii_plan::opened_by("decrypt_pii", &table, &entry.options, pii).or_raise();
        let (plain, encrypted) = (quote_identifier(&pii.column), quote_identifier(pii.encrypted()));
        let data_type = table.column(&pii.column).map_or("text", |c| c.data_type.as_str());
        let index = pii.blind_index().map(|index| format!(", {} = NULL", quote_identifier(index))).unwrap_or_default();
        format!("{plain} = {opened}::{data_type}, {encrypted} = NULL{index}")
    });
    let done = {
        let _unchecked = Unchecked::everywhere();
        rewrite(&table, &assignments, &sealed)
    };
    let mut options = entry.options.clone();
    for pii in &mut options.pii {
        (pii.method, pii.index, pii.required) = (Method::Clear, false, false);
    }
    for column in required {
        sql::run(
            &format!("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", table.quoted(), quote_identifier(column)),
            &[],
        );
    }
    let after = Table::read(table.oid).or_raise();
    apply(&after, &Entry { options, ..entry.clone() }, Some(&entry));
    let columns: Vec<&String> = columns.iter().map(|pii| &pii.column).collect();
    events::record(None, "encryption.end", &table.quoted(), json!({"columns": columns, "rows": done}));
    done
}

fn protected(table: Option<pg_sys::Oid>) -> (Table, Entry) {
    crate::deploy::require_installed();
    let table = Table::read(required("table", table)).or_raise();
    require_owner(&table);
    let entry = registry::expect(table.oid).or_raise();
    (table, entry)
}

fn encrypted<'a>(table: &Table, options: &'a Options) -> Vec<&'a PiiColumn> {
    let columns: Vec<_> = options.encrypted().collect();
    if columns.is_empty() {
        PiiError::NothingEncrypted { table: table.quoted() }.raise();
    }
    columns
}

fn any(columns: &[&PiiColumn], term: impl Fn(&PiiColumn) -> String) -> String {
    columns.iter().map(|pii| term(pii)).collect::<Vec<_>>().join(" OR ")
}

fn list(columns: &[&PiiColumn], term: impl Fn(&PiiColumn) -> String) -> String {
    columns.iter().map(|pii| term(pii)).collect::<Vec<_>>().join(", ")
}

fn lock(table: &Table) {
    sql::run_utility(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", table.quoted()));
}

fn count(table: &Table, condition: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {} WHERE {condition}", table.quoted());
    as_owner(table.oid, || query_one(&count, &[], |row| column(row, 1)).unwrap_or(0))
}

/// Rewrites the rows in ranges of blocks, with a notice after each, for whoever waits.
fn rewrite(table: &Table, assignments: &str, condition: &str) -> i64 {
    let settings = SettingsScope::pinned_path();
    settings.set_as_superuser("session_replication_role", "replica");
    let total = count(table, condition);
    let mut done = 0;
    for (leaf, blocks) in leaves(table) {
        let step = (blocks / 20).max(1000);
        for from in (0..blocks.max(1)).step_by(step as usize) {
            let range = format!("ctid >= '({from},0)' AND ctid < '({},0)'", from + step);
            let update = format!("UPDATE ONLY {leaf} t SET {assignments} WHERE {range} AND ({condition})");
            done += as_owner(table.oid, || sql::run(&update, &[])) as i64;
            notice!("{leaf}: {done} of {total} rows rewritten");
        }
    }
    done
}

/// The tables that hold rows, with the blocks they have now: rewritten rows go behind them.
fn leaves(table: &Table) -> Vec<(String, i64)> {
    let descendants = table.descendants();
    let oids: Vec<pg_sys::Oid> =
        std::iter::once(table.oid).chain(descendants.into_iter().map(|(oid, _)| oid)).collect();
    query(
        "SELECT format('%I.%I', n.nspname, c.relname),
                pg_relation_size(c.oid) / current_setting('block_size')::int8
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1) AND c.relkind = 'r'",
        &[oids.into()],
        |row| (column(row, 1), column(row, 2)),
    )
}
