//! `thorbis.rollback`.

use crate::deploy::error::DeployError;
use crate::deploy::{engine, manifest, objects, require_superuser};
use crate::domain::plan::Module;
use crate::pg::error::{SqlError, required};
use crate::pg::sql::{self, column, query_one};
use pgrx::prelude::*;

/// Look-up tables that migrations fill.
const SEEDED: [&str; 5] = [
    "rbac.permissions",
    "rbac.role_templates",
    "rbac.role_template_permissions",
    "shared.currencies",
    "shared.state_transitions",
];

/// Takes a module back to an earlier version, 0 for none. Rows: the files run, or with `dry_run` their statements.
/// Refuses while other modules need it, and while tables it would drop hold rows, unless told to discard them.
#[pg_extern(sql = false)]
fn rollback(
    module: Option<&str>,
    to_version: Option<i32>,
    dry_run: Option<bool>,
    discard_data: Option<bool>,
) -> SetOfIterator<'static, String> {
    require_superuser("thorbis.rollback()");
    crate::deploy::require_installed();
    let (module, to_version) = (required("module", module), required("to_version", to_version));
    let (dry_run, discard_data) = (required("dry_run", dry_run), required("discard_data", discard_data));
    let names = manifest::MODULES.iter().map(|m| m.name).collect();
    let Some(module) = manifest::find(module) else { DeployError::UnknownModule(module.into(), names).raise() };
    let _scope = engine::begin();
    let installed = engine::applied(module.name).iter().map(|(version, _)| *version).max().unwrap_or(0);
    if to_version < 0 || to_version >= installed {
        DeployError::NothingToRollBack { module: module.name.into(), installed, wanted: to_version }.raise();
    }
    refuse_while_needed(module);
    let files: Vec<(i32, String, &str)> = module
        .migrations
        .iter()
        .rev()
        .filter(|m| m.version > to_version && m.version <= installed)
        .map(|m| (m.version, format!("{}/{}.down.sql", module.name, m.name), m.down))
        .collect();
    if dry_run {
        let statements: Vec<String> = files.iter().flat_map(|(_, file, text)| engine::listing(file, text)).collect();
        return SetOfIterator::new(statements);
    }
    let before = objects::of(module.name);
    let grants = granted_permissions();
    let filled = if discard_data { Vec::new() } else { filled_tables(&before) };
    for (_, file, text) in &files {
        engine::run_file(file, &engine::render(text));
        notice!("rolled back {file}");
    }
    if !discard_data {
        refuse_losses(module, &filled, granted_permissions() < grants);
    }
    forget(module, to_version, &before);
    SetOfIterator::new(files.into_iter().map(|(_, file, _)| file).collect::<Vec<_>>())
}

fn refuse_while_needed(module: &Module) {
    let needed_by = manifest::MODULES
        .iter()
        .rev()
        .find(|m| m.requires.contains(&module.name) && !engine::applied(m.name).is_empty());
    if let Some(needed_by) = needed_by {
        DeployError::Needed { module: module.name.into(), needed_by: needed_by.name.into() }.raise();
    }
}

fn filled_tables(objects: &objects::Objects) -> Vec<String> {
    let tables = objects.keys().filter(|(kind, _)| kind == "table").map(|(_, table)| table.clone());
    tables.filter(|table| sql::exists(&format!("SELECT 1 FROM {table} LIMIT 1"), &[])).collect()
}

/// Raises, after the down files, if a table that held rows is gone or tenants' roles lost permissions.
fn refuse_losses(module: &Module, filled: &[String], lost_grants: bool) {
    let after = objects::of(module.name);
    let gone = |table: &&String| !after.contains_key(&("table".to_owned(), (*table).clone()));
    let mut lost: Vec<&str> = filled.iter().filter(gone).map(String::as_str).filter(|t| !SEEDED.contains(t)).collect();
    if lost_grants {
        lost.push("rbac.role_permissions");
    }
    if !lost.is_empty() {
        DeployError::WouldDiscard(lost.join(", ")).raise();
    }
}

/// Takes the books back to `to_version`.
fn forget(module: &Module, to_version: i32, before: &objects::Objects) {
    if module.name == "thorbis" && to_version == 0 {
        return;
    }
    sql::run(
        "DELETE FROM thorbis.migrations WHERE module = $1 AND (version > $2 OR version = 0)",
        &[module.name.into(), to_version.into()],
    );
    objects::record(module, before);
    sql::run(
        "DELETE FROM thorbis.protected_tables p WHERE NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = p.table_id)",
        &[],
    );
    if to_version == 0 && module.name != "thorbis" {
        // Without CASCADE: what users added to the schema keeps it.
        sql::run(&format!("DROP SCHEMA {}", module.name), &[]);
    }
}

/// Permissions that tenants' roles hold: they go with the resources of a module.
fn granted_permissions() -> i64 {
    if crate::access::invalidation::named("rbac", "role_permissions").is_none() {
        return 0;
    }
    query_one("SELECT count(*) FROM rbac.role_permissions", &[], |row| column(row, 1)).unwrap_or(0)
}
