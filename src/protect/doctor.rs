//! `thorbis.doctor`: the live database against the rules.

use crate::deploy::{manifest, objects, repair};
use crate::pg::error::SqlError;
use crate::pg::sql::{column, query, query_one};
use crate::protect::error::ProtectError;
use crate::protect::table::{Table, qualified_name};
use crate::protect::{pii, plan, policies, registry, risks};
use pgrx::prelude::*;
use pgrx::spi::quote_literal;

struct Finding {
    severity: &'static str,
    code: String,
    object: String,
    detail: String,
    remedy: String,
}

/// Rows (severity, code, object, detail, remedy), the gravest first. No rows: everything holds.
#[pg_extern(sql = false)]
fn doctor() -> TableIterator<
    'static,
    (name!(severity, String), name!(code, String), name!(object, String), name!(detail, String), name!(remedy, String)),
> {
    crate::deploy::require_installed();
    let mut findings = Vec::new();
    library(&mut findings);
    let entries = registry::all();
    for entry in &entries {
        table(entry, &mut findings);
    }
    if entries.iter().any(|entry| entry.options.encrypted().next().is_some()) {
        keyring(&mut findings);
    }
    deployment(&mut findings);
    findings.extend(database());
    findings.sort_by_key(|f| ["error", "warning", "notice"].iter().position(|s| *s == f.severity));
    TableIterator::new(findings.into_iter().map(|f| (f.severity.to_owned(), f.code, f.object, f.detail, f.remedy)))
}

fn finding(
    severity: &'static str,
    code: &str,
    object: impl Into<String>,
    detail: impl Into<String>,
    remedy: &str,
) -> Finding {
    Finding { severity, code: code.into(), object: object.into(), detail: detail.into(), remedy: remedy.into() }
}

fn library(findings: &mut Vec<Finding>) {
    let installed = query_one("SELECT extversion FROM pg_extension WHERE extname = 'thorbis_db'", &[], |row| {
        column::<String>(row, 1)
    })
    .unwrap_or_default();
    let loaded = env!("CARGO_PKG_VERSION");
    if installed != loaded {
        let detail = format!("the extension is {installed}, the loaded library {loaded}");
        findings.push(finding(
            "error",
            "version_mismatch",
            "thorbis_db",
            detail,
            "ALTER EXTENSION thorbis_db UPDATE; then reconnect.",
        ));
    }
    if !preloaded() {
        let detail = "the library is loaded at first use; settings made before are checked only then";
        let remedy = "SELECT thorbis.install(preload => true); then reconnect.";
        findings.push(finding("notice", "not_preloaded", "database", detail, remedy));
    }
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0") {
        let detail = "RUST_BACKTRACE is set for the server: errors carry backtraces to clients";
        findings.push(finding(
            "warning",
            "backtraces",
            "server environment",
            detail,
            "Unset it and restart the server.",
        ));
    }
}

/// Whether this session was given the library at login. Read from the server's own variables: the settings are hidden
/// from `thorbis_platform`.
fn preloaded() -> bool {
    // SAFETY: both are null or terminated strings for the life of the process.
    let lists = unsafe { [pg_sys::session_preload_libraries_string, pg_sys::shared_preload_libraries_string] };
    lists.into_iter().filter(|list| !list.is_null()).any(|list| {
        // SAFETY: as above.
        let list = unsafe { std::ffi::CStr::from_ptr(list) }.to_string_lossy();
        list.split(',').any(|name| name.trim().trim_matches('"') == "thorbis_db")
    })
}

/// One table: what protection would still have to do, and the risks it has. Accepted risks are reported for ever, as
/// warnings.
fn table(entry: &registry::Entry, findings: &mut Vec<Finding>) {
    let name = qualified_name(entry.table);
    let options = quote_literal(entry.options.to_json().to_string());
    let remedy = format!("SELECT thorbis.protect({}, options => {options});", quote_literal(&name));
    let table = match Table::read(entry.table) {
        Ok(table) => table,
        Err(error) => {
            return findings.push(finding(
                "error",
                "unprotectable",
                name,
                error.to_string(),
                "SELECT thorbis.unprotect(...);",
            ));
        }
    };
    let mut options = entry.options.clone();
    let own: Vec<String> =
        policies::desired(options.base(&table.name), &entry.resource, &options).into_iter().map(|p| p.name).collect();
    for risk in risks::of(&table, &entry.options, own) {
        let severity = if options.accept_risks.contains(&risk.code) { "warning" } else { "error" };
        findings.push(Finding {
            severity,
            code: risk.code.clone(),
            object: format!("{name} {}", risk.object),
            detail: risk.detail,
            remedy: risk.remedy,
        });
        options.accept_risks.push(risk.code);
    }
    for column in pii::in_clear(&table, &options) {
        let detail = format!("column \"{column}\" is to be encrypted and holds values in clear");
        let remedy = format!("SELECT thorbis.encrypt_existing({});", quote_literal(&name));
        findings.push(finding("error", "plaintext_rows", name.clone(), detail, &remedy));
    }
    match plan::missing(&table, &entry.resource, &options, None) {
        Ok(missing) => findings.extend(missing.into_iter().map(|statement| {
            // Without a grant something does not work; nothing is open.
            let severity = if statement.starts_with("GRANT") { "warning" } else { "error" };
            finding(severity, "protection_incomplete", name.clone(), format!("missing: {statement}"), &remedy)
        })),
        Err(ProtectError::Risks { .. }) => {}
        Err(error) => findings.push(finding("error", "unprotectable", name, error.to_string(), &remedy)),
    }
}

/// Encrypted columns without a keyring can be neither read nor written.
fn keyring(findings: &mut Vec<Finding>) {
    if let Some(problem) = crate::pii::keyring::problem() {
        return findings.push(finding("error", "keyring", "database", problem.to_string(), &problem.hint()));
    }
    let remedy = "Put back the keyring that this database was used with. SELECT * FROM thorbis.keyring_status();";
    let unusable = crate::pii::rotation::unusable_keys().into_iter();
    findings.extend(unusable.map(|what| finding("error", "keyring", "database", what, remedy)));
}

fn deployment(findings: &mut Vec<Finding>) {
    for statement in repair::missing() {
        // What is only not noted yet would be lost by the next restore; the rest is lost already.
        let severity =
            if statement.starts_with("INSERT") || statement.starts_with("DELETE") { "warning" } else { "error" };
        let detail = format!("missing: {statement}");
        findings.push(finding(severity, "repair_needed", "database", detail, "SELECT thorbis.repair();"));
    }
    for module in manifest::MODULES {
        for detail in objects::drift(module.name) {
            findings.push(finding(
                "error",
                "drift",
                module.name,
                detail,
                "Undo the change, or restore the object as deployed.",
            ));
        }
    }
}

fn database() -> Vec<Finding> {
    query(include_str!("checks.sql"), &[], |row| {
        let severity: String = column(row, 1);
        Finding {
            severity: ["error", "warning"].into_iter().find(|s| *s == severity).unwrap_or("notice"),
            code: column(row, 2),
            object: column(row, 3),
            detail: column(row, 4),
            remedy: column(row, 5),
        }
    })
}
