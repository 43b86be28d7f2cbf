//! Running SQL files: statement by statement, as the owner of the schemas, naming the place of a failure.

use crate::access::invalidation;
use crate::deploy::error::DeployError;
use crate::deploy::extension_schema;
use crate::domain::plan::{Module, checksum};
use crate::pg::error::SqlError;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{self, column, query};
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use std::ffi::CString;

/// Objects of the deployed schemas belong to this role.
pub const OWNER: &str = "thorbis_owner";
/// How long DDL waits for locks before it gives up, when the session says nothing: a migration that queues behind a
/// long transaction makes everybody else queue behind it.
pub const LOCK_TIMEOUT: &str = "5s";

/// Settings for the time of DDL.
pub fn settings() -> SettingsScope {
    let scope = SettingsScope::pinned_path();
    let unlimited = sql::exists("SELECT 1 WHERE current_setting('lock_timeout') = '0'", &[]);
    if unlimited {
        scope.set("lock_timeout", LOCK_TIMEOUT);
    }
    scope
}

/// Settings for the time of a deployment, and the lock that serialises deployments of one database.
pub fn begin() -> SettingsScope {
    let scope = settings();
    // Not an advisory lock: everybody may hold those, and so could keep deployments waiting.
    if let Some(epoch) = invalidation::relation(invalidation::Watched::Epoch) {
        identity::lock_relation(epoch.oid, pg_sys::ExclusiveLock);
    }
    // Assigns a transaction id, from which on every query takes a snapshot of its own: what follows sees what the lock
    // waited for.
    sql::run("SELECT 1", &[]);
    scope
}

/// A file with the extension's schema filled in.
pub fn render(text: &str) -> String {
    text.replace("@extschema@", &extension_schema())
}

/// The single statements of a file, as PostgreSQL's own parser splits them.
pub fn statements(text: &str) -> Vec<String> {
    let source = CString::new(text).expect("SQL files hold no NUL");
    // SAFETY: the parse tree lives in the current memory context; only positions are taken from it.
    let spans: Vec<(usize, usize)> = unsafe {
        let list = pg_sys::pg_parse_query(source.as_ptr());
        pgrx::PgList::<pg_sys::RawStmt>::from_pg(list)
            .iter_ptr()
            .map(|statement| ((*statement).stmt_location.max(0) as usize, (*statement).stmt_len as usize))
            .collect()
    };
    spans
        .into_iter()
        .map(|(start, length)| if length == 0 { &text[start..] } else { &text[start..start + length] })
        .map(|statement| without_leading_comments(statement).to_owned())
        .collect()
}

/// What a dry run shows of a file: its name as a comment, then its statements.
pub fn listing(file: &str, text: &str) -> Vec<String> {
    let statements = statements(&render(text)).into_iter().map(|statement| format!("{statement};"));
    std::iter::once(format!("-- {file}")).chain(statements).collect()
}

/// Runs every statement as the owner. A failure names the file, the statement and the cause, and is raised with the
/// SQLSTATE of the cause: the transaction, and so the database, is as it was.
pub fn run_file(file: &str, text: &str) {
    let owner = identity::role_oid(OWNER).unwrap_or_else(|| DeployError::NoRole(OWNER.into()).raise());
    for (i, statement) in statements(text).into_iter().enumerate() {
        PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
            let _identity = ActingAs::role(owner);
            sql::run(&statement, &[]);
        }))
        .catch_others(|cause| raise_with_place(cause, file, i + 1, &statement))
        .execute();
    }
}

fn raise_with_place(cause: CaughtError, file: &str, number: usize, statement: &str) -> ! {
    let report = match &cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    };
    let message = format!("{file}, statement {number}: {}", report.message());
    let cause_detail = report.detail().map(|d| format!("{d}\n")).unwrap_or_default();
    let hint = report.hint().unwrap_or("Nothing was changed. Mend the cause and run it again.");
    ErrorReport::new(report.sql_error_code(), message, function_name!())
        .set_detail(format!("{cause_detail}Statement: {statement}"))
        .set_hint(hint.to_owned())
        .report(PgLogLevel::ERROR);
    unreachable!("an ERROR report does not return")
}

fn without_leading_comments(statement: &str) -> &str {
    let mut rest = statement.trim();
    while let Some(comment) = rest.strip_prefix("--") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    rest
}

/// Versions applied so far: (version, checksum) per module; version 0 is the module's views.
pub fn applied(module: &str) -> Vec<(i32, String)> {
    if crate::access::invalidation::named("thorbis", "migrations").is_none() {
        return Vec::new();
    }
    query(
        "SELECT version, checksum FROM thorbis.migrations WHERE module = $1 ORDER BY version",
        &[module.into()],
        |row| (column(row, 1), column(row, 2)),
    )
}

/// What a module still lacks: (version, file, text), the views last. Raises when the database and the library disagree
/// about what was applied.
pub fn pending(module: &'static Module) -> Vec<(i32, String, &'static str)> {
    let applied = applied(module.name);
    for (version, sum) in applied.iter().filter(|(version, _)| *version > 0) {
        match module.migrations.iter().find(|m| m.version == *version) {
            Some(known) if checksum(known.up) == *sum => {}
            Some(_) => DeployError::Checksum { module: module.name.into(), version: *version }.raise(),
            None => {
                let (module, known) = (module.name.into(), module.latest());
                DeployError::Ahead { module, installed: *version, known }.raise()
            }
        }
    }
    let new = module.migrations.iter().filter(|m| !applied.iter().any(|(version, _)| *version == m.version));
    let mut pending: Vec<_> = new.map(|m| (m.version, format!("{}/{}.sql", module.name, m.name), m.up)).collect();
    if let Some(views) = module.views {
        let current = applied.iter().any(|(version, sum)| *version == 0 && checksum(views) == *sum);
        if !current || !pending.is_empty() {
            pending.push((0, format!("{}/views.sql", module.name), views));
        }
    }
    pending
}

/// Applies and records one file.
pub fn apply(module: &str, version: i32, file: &str, text: &str) {
    let started = std::time::Instant::now();
    run_file(file, &render(text));
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".sql");
    sql::run(
        "INSERT INTO thorbis.migrations (module, version, name, checksum, execution_ms, library_version)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (module, version) DO UPDATE SET checksum = excluded.checksum, applied_at = now(),
             applied_by = excluded.applied_by, execution_ms = excluded.execution_ms,
             library_version = excluded.library_version",
        &[
            module.into(),
            version.into(),
            name.into(),
            checksum(text).as_str().into(),
            (started.elapsed().as_millis() as i32).into(),
            env!("CARGO_PKG_VERSION").into(),
        ],
    );
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn files_are_split_where_postgresql_splits_them() {
        let text = "-- first; comment\nCREATE TABLE a (t text DEFAULT ';');\n\n-- second\n\
                    CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $x$ SELECT 1; SELECT 2; $x$;\nSELECT 'é;'";
        let split = statements(text);
        assert_eq!(split.len(), 3);
        assert_eq!(split[0], "CREATE TABLE a (t text DEFAULT ';')");
        assert!(split[1].starts_with("CREATE FUNCTION") && split[1].ends_with("$x$"));
        assert_eq!(split[2], "SELECT 'é;'");
    }

    #[pg_test(error = "m/0001_x.sql, statement 2: division by zero")]
    fn a_failing_statement_is_named() {
        run_file("m/0001_x.sql", "SELECT 1; SELECT 1 / 0");
    }

    #[pg_test]
    fn files_run_as_the_owner_and_the_caller_is_restored() {
        run_file("m/0001_x.sql", "CREATE TABLE thorbis.probe AS SELECT current_user::text AS who");
        let who = Spi::get_one::<String>("SELECT who FROM thorbis.probe").unwrap();
        assert_eq!(who.as_deref(), Some(OWNER));
        let now = Spi::get_one::<bool>("SELECT current_user = session_user").unwrap();
        assert_eq!(now, Some(true));
    }
}
