//! `thorbis.protect` and `thorbis.unprotect`.

use crate::access::invalidation;
use crate::domain::names;
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::{raw, sql};
use crate::protect::error::ProtectError;
use crate::protect::options::Options;
use crate::protect::table::Table;
use crate::protect::{plan, policies, registry};
use pgrx::JsonB;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

/// Protects a table, or returns what that would take. Rows: the statements, in order.
#[pg_extern(sql = false)]
fn protect(
    table: pg_sys::Oid,
    resource: Option<&str>,
    options: JsonB,
    dry_run: bool,
) -> SetOfIterator<'static, String> {
    crate::deploy::require_installed();
    let table = Table::read(table).or_raise();
    require_owner(&table);
    let options = Options::parse(options.0).or_raise();
    let before = registry::find(table.oid);
    let resource = match (resource, &before) {
        (Some(resource), _) => resource.to_owned(),
        (None, Some(entry)) => entry.resource.clone(),
        (None, None) => names::resource_for(&table.name),
    };
    let previous = before.as_ref().map(|entry| (entry.resource.clone(), entry.options.clone()));
    let statements = plan::missing(&table, &resource, &options, previous.as_ref()).or_raise();
    if dry_run {
        return SetOfIterator::new(statements);
    }
    for statement in &statements {
        sql::run(statement, &[]);
    }
    let unchanged = previous.as_ref().is_some_and(|(r, o)| *r == resource && *o == options);
    if !unchanged || !registry::resource_is_known(&resource) {
        registry::save(&registry::Entry { table: table.oid, resource, options });
    } else if statements.is_empty() {
        notice!("{} is protected already, nothing to do", table.quoted());
    }
    SetOfIterator::new(statements)
}

/// Takes protection back: policies, triggers and grants. The table is closed to tenants first, then opened to its
/// owner; columns, indexes and rows stay.
#[pg_extern(sql = false)]
fn unprotect(table: pg_sys::Oid, dry_run: bool) -> SetOfIterator<'static, String> {
    crate::deploy::require_installed();
    let entry = registry::expect(table).or_raise();
    let table = Table::read(table).or_raise();
    require_owner(&table);
    let mut statements = vec![format!("REVOKE ALL ON {} FROM thorbis_app, thorbis_platform", table.quoted())];
    let tables = std::iter::once((table.oid, table.quoted())).chain(table.descendants());
    for (oid, name) in tables {
        for policy in policies::desired(&table.name, &entry.resource, &entry.options) {
            if sql::exists(
                "SELECT 1 FROM pg_policy WHERE polrelid = $1 AND polname = $2",
                &[oid.into(), policy.name.as_str().into()],
            ) {
                statements.push(format!("DROP POLICY {} ON {name}", quote_identifier(&policy.name)));
            }
        }
        statements.push(format!("ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"));
        statements.push(format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"));
    }
    let ours = [
        names::derived("set_updated_at_", &table.name, ""),
        names::derived("update_", &table.name, "_own_columns"),
        names::derived("update_", &table.name, "_tenant_guard"),
    ];
    for trigger in ours {
        if sql::exists(
            "SELECT 1 FROM pg_trigger WHERE tgrelid = $1 AND tgname = $2 AND NOT tgisinternal",
            &[table.oid.into(), trigger.as_str().into()],
        ) {
            statements.push(format!("DROP TRIGGER {} ON {}", quote_identifier(trigger), table.quoted()));
        }
    }
    if !dry_run {
        for statement in &statements {
            sql::run(statement, &[]);
        }
        registry::remove(table.oid);
    }
    SetOfIterator::new(statements)
}

fn require_owner(table: &Table) {
    let (_, user) = raw::user_ids();
    let owner = invalidation::owner_of(table.oid).unwrap_or(pg_sys::InvalidOid);
    // SAFETY: look-ups in the role cache; a superuser has the rights of every role.
    if !unsafe { pg_sys::has_privs_of_role(user, owner) } {
        ProtectError::NotOwner { table: table.quoted() }.raise();
    }
}
