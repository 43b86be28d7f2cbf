//! `thorbis.repair`: what neither pg_dump nor DISABLE TRIGGER leaves in place.

use crate::deploy::{engine, require_superuser};
use crate::pg::sql::{self, column, query, query_one};
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};

const LIBRARY: &str = "thorbis_db";
/// Settings that decide who is asking, without which a database would trust other sources, and for how long the log of
/// changes is kept.
const OWN_SETTINGS: [&str; 3] = ["thorbis.context_mode", "thorbis.tenant_claim", "thorbis.audit_retention"];

/// Trigger functions that must fire for replicated rows too.
const ALWAYS: [&str; 7] = [
    "invalidate_permissions",
    "encrypt_pii_columns",
    "encrypt_customer_pii",
    "audit_row_changes",
    "audit_truncate",
    "record_security_event",
    "check_no_overlap",
];

/// Rows: the statements that were run, none when nothing was missing.
#[pg_extern(sql = false)]
fn repair() -> SetOfIterator<'static, String> {
    require_superuser("thorbis.repair()");
    crate::deploy::require_installed();
    let _scope = engine::begin();
    let done = run();
    if done.is_empty() {
        notice!("nothing to repair");
    }
    SetOfIterator::new(done)
}

/// What repair would run, for the doctor.
pub fn missing() -> Vec<String> {
    let mut statements = parameter_grants();
    statements.extend(preload());
    statements.extend(settings());
    statements.extend(triggers());
    statements
}

pub fn run() -> Vec<String> {
    let statements = missing();
    for statement in &statements {
        sql::run(statement, &[]);
    }
    statements
}

/// Has the library loaded at login, here and in databases restored from this one. Returns the statements run.
pub fn enable_preload() -> Vec<String> {
    let statements: Vec<String> = preload_statement().into_iter().collect();
    for statement in statements.iter().chain([&note("preload", "true")]) {
        sql::run(statement, &[]);
    }
    statements
}

/// Which database this is: a restored or copied one is another.
const THIS_DATABASE: &str = "(SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() s, pg_database d
                              WHERE d.datname = current_database())";

fn note(name: &str, value: &str) -> String {
    let (name, value) = (quote_literal(name), quote_literal(value));
    format!(
        "INSERT INTO thorbis.settings (name, value, noted_in) VALUES ({name}, {value}, {THIS_DATABASE})
         ON CONFLICT (name) DO UPDATE SET value = excluded.value, noted_in = excluded.noted_in"
    )
}

/// Grants on settings live in a shared catalog that pg_dump of one database does not see.
fn parameter_grants() -> Vec<String> {
    query(
        "SELECT p, r FROM unnest(ARRAY['app.current_tenant_id', 'app.current_user_id']) p,
                          unnest(ARRAY['thorbis_gateway', 'thorbis_platform']) r
          WHERE NOT has_parameter_privilege(r, p, 'SET') ORDER BY 1, 2",
        &[],
        |row| format!("GRANT SET ON PARAMETER {} TO {}", column::<String>(row, 1), column::<String>(row, 2)),
    )
}

/// The preload setting: given again to a database restored without it, forgotten where it was taken back.
fn preload() -> Vec<String> {
    match (preload_statement(), noted("preload")) {
        (_, None) | (None, Some((_, true))) => vec![],
        (Some(_), Some((_, true))) => vec![forget("preload")],
        (missing, Some((value, false))) => missing.into_iter().chain([note("preload", &value)]).collect(),
    }
}

/// What adds the library to `session_preload_libraries` of this database, if it is missing. Entries that are there stay.
fn preload_statement() -> Option<String> {
    let current = database_setting("session_preload_libraries").unwrap_or_default();
    let mut libraries: Vec<&str> =
        current.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty()).collect();
    if libraries.contains(&LIBRARY) {
        return None;
    }
    libraries.push(LIBRARY);
    // One literal per library: a single literal with a comma would be stored as one name, and nobody could log in.
    let list = libraries.iter().map(quote_literal).collect::<Vec<_>>().join(", ");
    Some(format!("ALTER DATABASE {} SET session_preload_libraries = {list}", database()))
}

fn forget(name: &str) -> String {
    format!("DELETE FROM thorbis.settings WHERE name = {}", quote_literal(name))
}

/// Our own settings of this database: noted while they are there, set again in a database that was restored or copied
/// without them, forgotten when they were reset here.
fn settings() -> Vec<String> {
    let mend = |name: &str| match (database_setting(name), noted(name)) {
        (Some(live), Some((value, true))) if live == value => vec![],
        (Some(live), _) => vec![note(name, &live)],
        (None, Some((value, false))) => {
            vec![format!("ALTER DATABASE {} SET {name} = {}", database(), quote_literal(&value)), note(name, &value)]
        }
        (None, Some((_, true))) => vec![forget(name)],
        (None, None) => vec![],
    };
    OWN_SETTINGS.into_iter().flat_map(mend).collect()
}

/// The noted value of a setting, and whether it was noted in this very database.
fn noted(name: &str) -> Option<(String, bool)> {
    let sql = format!("SELECT value, noted_in = {THIS_DATABASE} FROM thorbis.settings WHERE name = $1");
    query_one(&sql, &[name.into()], |row| (column(row, 1), column(row, 2)))
}

/// A setting made with ALTER DATABASE for this database.
fn database_setting(name: &str) -> Option<String> {
    query_one(
        "SELECT substr(c, length($1) + 2) FROM pg_db_role_setting s, unnest(s.setconfig) c
          WHERE s.setrole = 0 AND starts_with(c, $1 || '=')
            AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[name.into()],
        |row| column(row, 1),
    )
}

fn database() -> String {
    query_one("SELECT quote_ident(current_database())", &[], |row| column(row, 1)).unwrap_or_default()
}

/// Our triggers that are disabled, and those that must fire for replicated rows too but would not.
fn triggers() -> Vec<String> {
    let always: Vec<String> = ALWAYS.iter().map(|name| (*name).to_owned()).collect();
    query(
        "SELECT CASE WHEN p.proname = ANY ($1) THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END,
                format('%I.%I', n.nspname, c.relname), t.tgname::text
           FROM pg_trigger t
           JOIN pg_proc p ON p.oid = t.tgfoid
           JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
           JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'thorbis_db'
           JOIN pg_class c ON c.oid = t.tgrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT t.tgisinternal
            AND (t.tgenabled IN ('D', 'R') OR p.proname = ANY ($1) AND t.tgenabled <> 'A')
          ORDER BY 2, 3",
        &[always.into()],
        |row| {
            let (action, table, trigger): (String, String, String) = (column(row, 1), column(row, 2), column(row, 3));
            format!("ALTER TABLE {table} {action} TRIGGER {}", quote_identifier(trigger))
        },
    )
}
