//! `thorbis.install` and `thorbis.migrate`.

use crate::deploy::error::DeployError;
use crate::deploy::{contrib, engine, manifest, objects, repair, require_superuser};
use crate::domain::plan::{self, Module};
use crate::domain::server_version;
use crate::pg::error::{SqlError, required};
use crate::pg::sql;
use pgrx::prelude::*;

/// Deploys the base and the given industries, all of them when none are given. Rows: the files applied, or with
/// `dry_run` the statements they hold.
#[pg_extern(sql = false)]
fn install(
    industries: Option<Vec<Option<String>>>,
    preload: Option<bool>,
    dry_run: Option<bool>,
) -> SetOfIterator<'static, String> {
    require_superuser("thorbis.install()");
    check_server();
    let wanted = match industries {
        None => manifest::industries().into_iter().map(str::to_owned).collect(),
        Some(given) => given.into_iter().flatten().collect::<Vec<_>>(),
    };
    let modules = plan::closure(manifest::MODULES, &wanted)
        .unwrap_or_else(|unknown| DeployError::UnknownIndustry(unknown, manifest::industries()).raise());
    let _scope = engine::begin();
    if required("dry_run", dry_run) {
        return SetOfIterator::new(statements(&modules));
    }
    let mut done: Vec<String> = apply(&modules);
    if required("preload", preload) {
        done.extend(repair::enable_preload());
    }
    let repaired = repair::run();
    if done.is_empty() && repaired.is_empty() {
        notice!("thorbis_db is installed already, nothing to do");
    }
    done.extend(repaired);
    SetOfIterator::new(done)
}

/// Brings the installed modules to the library's version.
#[pg_extern(sql = false)]
fn migrate(dry_run: bool) -> SetOfIterator<'static, String> {
    require_superuser("thorbis.migrate()");
    crate::deploy::require_installed();
    check_server();
    let _scope = engine::begin();
    let modules: Vec<&'static Module> =
        manifest::MODULES.iter().filter(|m| !engine::applied(m.name).is_empty()).collect();
    if dry_run {
        return SetOfIterator::new(statements(&modules));
    }
    let done = apply(&modules);
    if done.is_empty() {
        notice!("every installed module is current, nothing to do");
    }
    SetOfIterator::new(done)
}

/// For CREATE EXTENSION: refuses a server whose release leaks one tenant's statistics to another, and a database whose
/// text is not UTF-8.
#[pg_extern(sql = false)]
fn assert_supported_server() {
    check_server();
}

fn check_server() {
    let number: i32 =
        sql::query_one("SELECT current_setting('server_version_num')::int4", &[], |row| sql::column(row, 1))
            .unwrap_or_default();
    assert_version(number as u32);
    let encoding = sql::query_one("SELECT getdatabaseencoding()::text", &[], |row| sql::column::<String>(row, 1));
    if let Some(encoding) = encoding.filter(|encoding| encoding != "UTF8") {
        DeployError::Encoding(encoding).raise();
    }
}

fn assert_version(number: u32) {
    if let Err(minimum) = server_version::check(number) {
        let found = format!("{}.{}", number / 10_000, number % 10_000);
        DeployError::ServerTooOld { found, minimum }.raise();
    }
}

fn statements(modules: &[&'static Module]) -> Vec<String> {
    let pending = modules.iter().flat_map(|module| engine::pending(module));
    let files = pending.flat_map(|(_, file, text)| engine::listing(&file, text));
    let contrib = contrib::missing().into_iter().map(|statement| format!("{statement};"));
    contrib.chain(files).collect()
}

fn apply(modules: &[&'static Module]) -> Vec<String> {
    let mut done = Vec::new();
    for module in modules {
        let pending = engine::pending(module);
        if pending.is_empty() {
            continue;
        }
        if done.is_empty() {
            done.extend(contrib::install());
        }
        create_schema(module);
        let before = objects::of(module.name);
        for (version, file, text) in pending {
            engine::apply(module.name, version, &file, text);
            notice!("applied {file}");
            done.push(file);
        }
        objects::record(module, &before);
    }
    done
}

/// The schema of a module belongs to whoever installs it: a dump names the owners of schemas before CREATE EXTENSION
/// could make `thorbis_owner`, which gets every right on them instead. `thorbis` is a member of the extension.
fn create_schema(module: &Module) {
    if module.name == "thorbis" || !engine::applied(module.name).is_empty() {
        return;
    }
    if sql::exists("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[module.name.into()]) {
        DeployError::SchemaTaken(module.name.into()).raise();
    }
    let (schema, owner, about) = (module.name, engine::OWNER, pgrx::spi::quote_literal(module.about));
    for statement in [
        format!("CREATE SCHEMA {schema}"),
        format!("COMMENT ON SCHEMA {schema} IS {about}"),
        format!("GRANT ALL ON SCHEMA {schema} TO {owner} WITH GRANT OPTION"),
    ] {
        sql::run(&statement, &[]);
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    #[pg_test(error = "PostgreSQL 15.13 is too old")]
    fn an_old_minor_release_is_refused() {
        super::assert_version(150_013);
    }

    #[pg_test(error = "unknown industry \"space\"")]
    fn an_unknown_industry_is_refused() {
        Spi::run("SELECT thorbis.install(ARRAY['space'])").unwrap();
    }

    #[pg_test]
    fn every_module_is_current_after_installing_and_nothing_has_drifted() {
        Spi::run("SELECT thorbis.install()").unwrap();
        let states = "SELECT string_agg(DISTINCT state, ',') FROM thorbis.status()";
        assert_eq!(Spi::get_one::<String>(states).unwrap().as_deref(), Some("current"));
        let again = "SELECT count(*) FROM thorbis.install()";
        assert_eq!(Spi::get_one::<i64>(again).unwrap(), Some(0));
        Spi::run("ALTER TABLE shared.locations DROP COLUMN phone").unwrap();
        Spi::run("ALTER TABLE shared.locations ADD COLUMN nickname text").unwrap();
        let drift = "SELECT detail FROM thorbis.status() WHERE state = 'drifted'";
        assert_eq!(Spi::get_one::<String>(drift).unwrap().as_deref(), Some("column shared.locations.phone is missing"));
    }

    #[pg_test]
    fn a_changed_migration_is_noticed() {
        Spi::run("SELECT thorbis.install()").unwrap();
        Spi::run("UPDATE thorbis.migrations SET checksum = 'x' WHERE module = 'shared' AND version = 1").unwrap();
        let state = "SELECT state FROM thorbis.status() WHERE module = 'shared'";
        assert_eq!(Spi::get_one::<String>(state).unwrap().as_deref(), Some("checksum mismatch"));
    }
}
