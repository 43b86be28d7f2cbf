//! What the application and the operator may do with a protected table and its views.

use crate::pg::identity;
use crate::pg::sql::{column, exists, query};
use crate::protect::options::{Command, Options};
use crate::protect::personal::PiiColumn;
use crate::protect::table::Table;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;

pub const APP: &str = "thorbis_app";
pub const PLATFORM: &str = "thorbis_platform";
pub const AUDITOR: &str = "thorbis_auditor";
/// Columns that triggers and defaults maintain.
const MAINTAINED: [&str; 4] = ["created_at", "created_by", "updated_at", "updated_by"];

/// The grants on a table that are missing, and those that are too many.
pub fn missing(table: &Table, options: &Options) -> Vec<String> {
    let (quoted, present) = (table.quoted(), Some(table.oid));
    let mut statements = schema_usage(table, options);
    // UPDATE goes by column: the tenant, the keys and the maintained columns are nobody's to change. So does SELECT where
    // there are blind indexes: whoever could compare them could try guesses.
    // Those of columns that are indexed no more count too.
    let old = options.present_companions(&table.columns).filter(|c| c.data_type == "bytea").map(|c| c.name.clone());
    let hidden: Vec<String> = options.pii.iter().filter_map(PiiColumn::blind_index).chain(old).collect();
    let by_column = |c: Command| c == Command::Update || c == Command::Select && !hidden.is_empty();
    let allowed: Vec<Command> = Command::ALL.into_iter().filter(|c| !by_column(*c) && options.allows(*c)).collect();
    let app = on_relation(&quoted, present, APP, &allowed);
    let platform = on_relation(&quoted, present, PLATFORM, &options.platform_actions);
    statements.extend(app.statements.into_iter().chain(platform.statements));
    if options.auditor {
        statements.extend(on_relation(&quoted, present, AUDITOR, &[Command::Select]).statements);
    }
    let readable = by_column(Command::Select) && options.allows(Command::Select);
    let readable = if readable { readable_columns(table, options, &hidden) } else { Vec::new() };
    for (command, wanted) in [(Command::Update, updatable_columns(table, options)), (Command::Select, readable)] {
        statements.extend(on_columns(table, command, &wanted, &app.revoked));
    }
    // Rows are reached through the parent, but pg_dump reads each partition by itself.
    for (oid, child) in table.descendants() {
        if !exists("SELECT 1 WHERE has_table_privilege($1, $2, 'SELECT')", &[PLATFORM.into(), oid.into()]) {
            statements.push(format!("GRANT SELECT ON {child} TO {PLATFORM}"));
        }
    }
    for (oid, sequence) in owned_sequences(table.oid) {
        for role in [APP, PLATFORM] {
            if !exists("SELECT 1 WHERE has_sequence_privilege($1, $2, 'USAGE')", &[role.into(), oid.into()]) {
                statements.push(format!("GRANT USAGE ON SEQUENCE {sequence} TO {role}"));
            }
        }
    }
    statements
}

/// The owner too: foreign-key checks run as the owner of the referencing table.
fn schema_usage(table: &Table, options: &Options) -> Vec<String> {
    let owner = crate::access::invalidation::owner_of(table.oid).and_then(identity::role_name).unwrap_or_default();
    let lacks = |role: &&&str| {
        let usage = "SELECT 1 FROM pg_namespace WHERE nspname = $1 AND has_schema_privilege($2, oid, 'USAGE')";
        !exists(usage, &[table.schema.as_str().into(), (**role).into()])
    };
    let grant = |role: &&str| format!("GRANT USAGE ON SCHEMA {} TO {}", table.quoted_schema(), quote_identifier(role));
    let auditor = options.auditor.then_some(AUDITOR);
    let roles: Vec<&str> = [APP, PLATFORM, &owner].into_iter().chain(auditor).collect();
    roles.iter().filter(lacks).map(grant).collect()
}

/// What changes on a whole relation for one role.
pub struct Change {
    pub statements: Vec<String>,
    /// Privileges that are taken.
    revoked: Vec<String>,
}

/// Brings what `role` holds on the whole relation to `wanted`. A relation that is still to be made has no grants.
pub fn on_relation(quoted: &str, present: Option<pg_sys::Oid>, role: &str, wanted: &[Command]) -> Change {
    let held = present.map(|oid| {
        query(
            "SELECT acl.privilege_type FROM pg_class c, aclexplode(c.relacl) acl
              WHERE c.oid = $1 AND acl.grantee = to_regrole($2)",
            &[oid.into(), role.into()],
            |row| column::<String>(row, 1),
        )
    });
    let held = held.unwrap_or_default();
    let wanted: Vec<&str> = wanted.iter().map(|command| command.sql()).collect();
    let missing: Vec<&str> = wanted.iter().copied().filter(|w| !held.iter().any(|h| h == w)).collect();
    let revoked: Vec<String> = held.into_iter().filter(|h| !wanted.contains(&h.as_str())).collect();
    let mut statements = Vec::new();
    if !revoked.is_empty() {
        statements.push(format!("REVOKE {} ON {quoted} FROM {role}", revoked.join(", ")));
    }
    if !missing.is_empty() {
        statements.push(format!("GRANT {} ON {quoted} TO {role}", missing.join(", ")));
    }
    Change { statements, revoked }
}

/// As `on_relation`, column by column. `revoked` are privileges on the whole table that are being taken: those on its
/// columns go with them.
fn on_columns(table: &Table, command: Command, wanted: &[String], revoked: &[String]) -> Vec<String> {
    let command = command.sql();
    let mut held: Vec<String> = query(
        "SELECT a.attname::text FROM pg_attribute a, aclexplode(a.attacl) acl
          WHERE a.attrelid = $1 AND NOT a.attisdropped AND acl.privilege_type = $3
            AND acl.grantee = to_regrole($2)",
        &[table.oid.into(), APP.into(), command.into()],
        |row| column(row, 1),
    );
    if revoked.iter().any(|privilege| privilege == command) {
        held.clear();
    }
    let list = |columns: Vec<&String>| columns.iter().map(quote_identifier).collect::<Vec<_>>().join(", ");
    let missing: Vec<_> = wanted.iter().filter(|w| !held.contains(w)).collect();
    let extra: Vec<_> = held.iter().filter(|h| !wanted.contains(h)).collect();
    let mut statements = Vec::new();
    if !extra.is_empty() {
        statements.push(format!("REVOKE {command} ({}) ON {} FROM {APP}", list(extra), table.quoted()));
    }
    if !missing.is_empty() {
        statements.push(format!("GRANT {command} ({}) ON {} TO {APP}", list(missing), table.quoted()));
    }
    statements
}

/// The columns `thorbis_app` may update.
pub fn updatable_columns(table: &Table, options: &Options) -> Vec<String> {
    if !options.allows(Command::Update) {
        return Vec::new();
    }
    let companions: Vec<String> = options.sealed_columns().collect();
    let fixed = |name: &String| {
        *name == options.tenant_column
            || table.primary_key.contains(name)
            || MAINTAINED.contains(&name.as_str())
            || companions.contains(name)
    };
    match &options.update_columns {
        Some(_) => {
            let mut columns: Vec<String> = options.updatable().cloned().collect();
            columns.sort();
            columns.dedup();
            columns
        }
        None => table.columns.iter().filter(|c| !c.generated).map(|c| &c.name).filter(|n| !fixed(n)).cloned().collect(),
    }
}

/// The columns `thorbis_app` may read one by one, those included that protection adds.
fn readable_columns(table: &Table, options: &Options, hidden: &[String]) -> Vec<String> {
    let mut columns: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let added = options.pii.iter().flat_map(PiiColumn::companions).chain([options.tenant_column.clone()]);
    columns.extend(added.filter(|name| table.column(name).is_none()));
    columns.retain(|name| !hidden.contains(name));
    columns
}

fn owned_sequences(oid: pg_sys::Oid) -> Vec<(pg_sys::Oid, String)> {
    query(
        "SELECT d.objid, d.objid::regclass::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid
          WHERE d.refobjid = $1 AND d.refobjsubid > 0 AND d.deptype = 'a' AND s.relkind = 'S'",
        &[oid.into()],
        |row| (column(row, 1), column(row, 2)),
    )
}
