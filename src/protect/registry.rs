//! `thorbis.protected_tables`: which tables are protected, and how.

use crate::access::invalidation;
use crate::pg::error::SqlError;
use crate::pg::identity::ActingAs;
use crate::pg::sql::{column, exists, optional, query, query_one, run};
use crate::protect::error::ProtectError;
use crate::protect::options::Options;
use crate::protect::table::Table;
use pgrx::{JsonB, pg_sys};

/// A registered table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub table: pg_sys::Oid,
    pub resource: String,
    pub options: Options,
}

/// The entry of a table, read as the owner of the registry: the caller may not read it.
pub fn find(table: pg_sys::Oid) -> Option<Entry> {
    as_owner(|| {
        query_one(
            "SELECT table_id::oid, resource, options FROM thorbis.protected_tables WHERE table_id = $1::regclass",
            &[table.into()],
            entry,
        )
    })
}

/// The entry of the table that a name stands for.
pub fn called(name: &str) -> Option<Entry> {
    let table = query_one("SELECT to_regclass($1)::oid", &[name.into()], |row| optional::<pg_sys::Oid>(row, 1));
    find(table??)
}

pub fn all() -> Vec<Entry> {
    as_owner(|| {
        query(
            "SELECT p.table_id::oid, p.resource, p.options FROM thorbis.protected_tables p
              WHERE EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = p.table_id) ORDER BY p.table_id::text",
            &[],
            entry,
        )
    })
}

fn entry(row: &pgrx::spi::SpiHeapTupleData) -> Entry {
    let JsonB(options) = column(row, 3);
    let table: pg_sys::Oid = column(row, 1);
    // Never the default instead: protect() and unprotect() would then do what nobody asked for.
    let options = Options::parse(options).unwrap_or_else(|error| {
        let table = crate::protect::table::qualified_name(table);
        ProtectError::StoredOptions { table, reason: error.to_string() }.raise()
    });
    Entry { table, resource: column(row, 2), options }
}

/// Enters or changes a table, and makes its permissions grantable.
pub fn save(entry: &Entry) {
    as_owner(|| {
        run(
            "INSERT INTO thorbis.protected_tables (table_id, resource, options) VALUES ($1::regclass, $2, $3)
             ON CONFLICT (table_id) DO UPDATE SET resource = excluded.resource, options = excluded.options,
                                                  protected_at = now(), protected_by = excluded.protected_by",
            &[entry.table.into(), entry.resource.as_str().into(), JsonB(entry.options.to_json()).into()],
        );
    });
    // Tables of schema shared are protected before rbac exists; its migration enters their permissions.
    let Some(permissions) = invalidation::named("rbac", "permissions") else { return };
    let _identity = ActingAs::owner(permissions.owner);
    run(
        "INSERT INTO rbac.permissions (resource, action, description)
         SELECT $1, a.action, a.verb || ' ' || replace($1, '_', ' ')
           FROM (VALUES ('read', 'Read'), ('create', 'Create'), ('update', 'Change'), ('delete', 'Delete'),
                        ('admin', 'Do everything with'), ('pii', 'Read encrypted personal data of'))
                AS a(action, verb)
          WHERE a.action <> 'pii' OR $2
         ON CONFLICT (resource, action) DO NOTHING",
        &[entry.resource.as_str().into(), (!entry.options.pii.is_empty()).into()],
    );
}

pub fn remove(table: pg_sys::Oid) {
    as_owner(|| {
        run("DELETE FROM thorbis.protected_tables WHERE table_id = $1::regclass", &[table.into()]);
    });
}

/// Whether the permissions of a resource can be granted already.
pub fn resource_is_known(resource: &str) -> bool {
    match invalidation::named("rbac", "permissions") {
        None => true,
        Some(permissions) => {
            let _identity = ActingAs::owner(permissions.owner);
            exists("SELECT 1 FROM rbac.permissions WHERE resource = $1 AND action = 'admin'", &[resource.into()])
        }
    }
}

/// What the log of changes calls a newly protected table: its name, and a number where another one's history has it.
pub fn new_audit_name(table: &Table) -> String {
    let entries = all();
    unused(table.quoted(), |name| entries.iter().any(|e| e.options.audit.columns.name.as_deref() == Some(name)))
}

/// What the ciphertexts of a newly encrypted column are bound to: its name, and a number where a table that was called so
/// before has the name already.
pub fn new_field(table: &Table, column: &str) -> String {
    let name = format!("{}.{}", table.quoted(), pgrx::spi::quote_identifier(column));
    let entries = all();
    unused(name, |field| entries.iter().any(|e| e.options.pii.iter().any(|p| p.field.as_deref() == Some(field))))
}

/// The name, or the name with the first number that is free.
fn unused(name: String, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|n| format!("{name} {n}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).expect("some number is free")
}

fn as_owner<R>(body: impl FnOnce() -> R) -> R {
    let Some(registry) = invalidation::named("thorbis", "protected_tables") else {
        crate::deploy::error::DeployError::NotInstalled.raise()
    };
    let _identity = ActingAs::owner(registry.owner);
    body()
}

/// The entry, or the error that says how to make one.
pub fn expect(table: pg_sys::Oid) -> Result<Entry, ProtectError> {
    find(table).ok_or_else(|| ProtectError::NotProtected { table: crate::protect::table::qualified_name(table) })
}
