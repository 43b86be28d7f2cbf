//! What encrypted columns take beside a table's protection: the columns at rest, checks, trigger, views.
//!
//! | for column `c` of table `t` | what |
//! |---|---|
//! | `c_encrypted`, `c_bidx` | envelope and blind index |
//! | check `t_c_encrypted_check` | `c` is NULL at rest, trigger or not |
//! | trigger `encrypt_t_pii` | moves what is written to `c` into them |
//! | view `t_masked` | the table as readers see it |
//! | view `t_pii` | the table with clear values, for reading and writing |

use crate::deploy::extension_schema;
use crate::domain::names;
use crate::pg::identity;
use crate::pg::sql::{column, exists, query, query_one};
use crate::protect::error::ProtectError;
use crate::protect::options::{Command, Options, Purpose};
use crate::protect::personal::PiiColumn;
use crate::protect::plan::{APP, PLATFORM};
use crate::protect::table::{Column, Table};
use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_literal, quote_qualified_identifier};

/// Types that can be encrypted: '' or JSON's null in them means "remove".
const TYPES: [&str; 6] = ["text", "character varying", "citext", "character", "json", "jsonb"];

/// Refuses what cannot be encrypted.
pub fn check(table: &Table, options: &Options) -> Result<(), ProtectError> {
    let named: Vec<&String> = options.pii.iter().map(|pii| &pii.column).chain(&options.not_personal).collect();
    if let Some(twice) = named.iter().enumerate().find(|(i, name)| named[..*i].contains(name)).map(|(_, name)| name) {
        return Err(ProtectError::Options(format!("column \"{twice}\" is named twice as personal or not personal")));
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

/// `character varying(20)` is one of `character varying`.
fn base_type(data_type: &str) -> &str {
    data_type.split('(').next().unwrap_or(data_type)
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

/// Whatever becomes of the trigger, no clear value is stored. A column that had to have a value still has to.
fn check_constraint(table: &Table, options: &Options, pii: &PiiColumn) -> Vec<String> {
    let name = check_name(table, options, pii);
    if constraint(table, &name).is_some() {
        return vec![];
    }
    let (quoted, plain) = (table.quoted(), quote_identifier(&pii.column));
    let required = table.column(&pii.column).is_some_and(|c| c.not_null);
    let encrypted = quote_identifier(pii.encrypted());
    let also = if required { format!(" AND {encrypted} IS NOT NULL") } else { String::new() };
    // Rows in clear stay until thorbis.encrypt_existing().
    let later = if table.has_rows(&format!("{plain} IS NOT NULL")) { " NOT VALID" } else { "" };
    let name = quote_identifier(name);
    let drop = required.then(|| format!("ALTER TABLE {quoted} ALTER COLUMN {plain} DROP NOT NULL"));
    let add = format!("ALTER TABLE {quoted} ADD CONSTRAINT {name} CHECK ({plain} IS NULL{also}){later}");
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
        let index = if pii.index { "index" } else { "" };
        let field = pii.field.clone().unwrap_or_default();
        arguments.extend([field, pii.column.clone(), pii.kind.name().into(), index.into()]);
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
    if options.encrypted().next().is_none() {
        return vec![];
    }
    let views = View::ALL.map(|view| format!("DROP VIEW IF EXISTS {}", view.quoted(table, options)));
    let trigger = quote_identifier(trigger_name(table, options));
    let trigger = format!("DROP TRIGGER IF EXISTS {trigger} ON {}", table.quoted());
    let names = options.encrypted().map(|pii| quote_identifier(check_name(table, options, pii)));
    let checks = names.map(|name| format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {name}", table.quoted()));
    views.into_iter().chain([trigger]).chain(checks).collect()
}

/// The two views of a table with encrypted columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Masked,
    Clear,
}

impl View {
    const ALL: [View; 2] = [View::Masked, View::Clear];

    fn name(self, table: &Table, options: &Options) -> String {
        names::derived("", options.base(&table.name), if self == View::Masked { "_masked" } else { "_pii" })
    }

    fn quoted(self, table: &Table, options: &Options) -> String {
        quote_qualified_identifier(&table.schema, &self.name(table, options))
    }

    fn about(self, table: &Table, resource: &str) -> String {
        let table = table.quoted();
        match self {
            View::Masked => format!("{table} with its encrypted columns masked, for whoever may read {resource}"),
            View::Clear => format!(
                "{table} with its encrypted columns decrypted, for holders of {resource}:pii. Writing goes through to the table"
            ),
        }
    }
}

/// The views that are missing or show other columns than the table has, with their trigger, defaults and grants.
pub fn views(table: &Table, resource: &str, options: &Options) -> Result<Vec<String>, ProtectError> {
    let mut statements = Vec::new();
    if options.encrypted().next().is_some() {
        for view in View::ALL {
            view_statements(view, table, resource, options, &mut statements)?;
        }
    }
    Ok(statements)
}

/// The table's columns as a view shows them.
fn shown(table: &Table, options: &Options) -> Vec<Column> {
    let companions: Vec<String> = options.companions().collect();
    let mut columns: Vec<Column> = table.columns.iter().filter(|c| !companions.contains(&c.name)).cloned().collect();
    // As the plan makes it, or leaves it: with the current tenant as its default.
    let default = Some(format!("{}.get_current_tenant_id()", extension_schema()));
    match columns.iter_mut().find(|c| c.name == options.tenant_column) {
        Some(tenant) if table.primary_key != [tenant.name.clone()] => tenant.default = default,
        Some(_) => {}
        None => {
            let name = options.tenant_column.clone();
            columns.push(Column { name, data_type: "uuid".into(), not_null: true, default, generated: false });
        }
    }
    columns
}

fn view_statements(
    view: View,
    table: &Table,
    resource: &str,
    options: &Options,
    statements: &mut Vec<String>,
) -> Result<(), ProtectError> {
    let (name, quoted, columns) = (view.name(table, options), view.quoted(table, options), shown(table, options));
    let key = table.row_key(&options.tenant_column)?;
    let present = relation(&table.schema, &name);
    if let Some((_, kind)) = present.as_ref().filter(|(_, kind)| kind != "v") {
        let kind = kind.clone();
        return Err(ProtectError::ViewNameTaken { view: quoted, kind });
    }
    let types = |c: &Column| match (view, encrypted(options, &c.name)) {
        (View::Masked, Some(_)) => "text".to_owned(),
        _ => c.data_type.clone(),
    };
    let wanted: Vec<(String, String)> = columns.iter().map(|c| (c.name.clone(), types(c))).collect();
    let found = present.as_ref().map(|(oid, _)| view_columns(*oid)).unwrap_or_default();
    let same = found.iter().map(|c| (&c.name, &c.data_type)).eq(wanted.iter().map(|(name, of)| (name, of)));
    let existing = present.filter(|_| same);
    if existing.is_none() {
        if !found.is_empty() {
            statements.push(format!("DROP VIEW {quoted}"));
        }
        let list: Vec<String> = columns.iter().map(|c| expression(view, table, options, key, c)).collect();
        statements.push(format!(
            "CREATE VIEW {quoted} WITH (security_invoker = true) AS SELECT {} FROM {} t",
            list.join(", "),
            table.quoted()
        ));
        let owner = crate::access::invalidation::owner_of(table.oid).unwrap_or(pg_sys::InvalidOid);
        if crate::pg::raw::user_ids().1 != owner {
            let owner = quote_identifier(identity::role_name(owner).unwrap_or_default());
            statements.push(format!("ALTER VIEW {quoted} OWNER TO {owner}"));
        }
        statements.push(format!("COMMENT ON VIEW {quoted} IS {}", quote_literal(view.about(table, resource))));
        statements.extend(comments(table, &quoted, &wanted));
    }
    let found = if existing.is_some() { found } else { Vec::new() };
    if view == View::Clear {
        statements.extend(defaults(&quoted, &columns, &found));
        let oid = existing.as_ref().map(|(oid, _)| *oid);
        statements.extend(write_trigger(table, options, key, &quoted, &columns, oid));
    }
    statements.extend(grants(view, &quoted, options, existing.as_ref().map(|(oid, _)| *oid)));
    Ok(())
}

fn encrypted<'a>(options: &'a Options, name: &str) -> Option<&'a PiiColumn> {
    options.encrypted().find(|pii| pii.column == name)
}

fn expression(view: View, table: &Table, options: &Options, key: &str, c: &Column) -> String {
    let name = quote_identifier(&c.name);
    let Some(pii) = encrypted(options, &c.name) else { return format!("t.{name}") };
    let function = if view == View::Masked { "mask_pii" } else { "decrypt_pii" };
    let field = quote_literal(pii.field.as_deref().unwrap_or_default());
    let uuid = table.column(key).is_some_and(|c| c.data_type == "uuid");
    let row = format!("t.{}{}", quote_identifier(key), if uuid { "" } else { "::text" });
    let cast = match (view, c.data_type.as_str()) {
        (View::Masked, _) | (_, "text") => String::new(),
        (_, other) => format!("::{other}"),
    };
    format!(
        "{}.{function}(t.{}, {field}, {row}){cast} AS {name}",
        extension_schema(),
        quote_identifier(pii.encrypted())
    )
}

/// (oid, kind) of a relation.
fn relation(schema: &str, name: &str) -> Option<(pg_sys::Oid, String)> {
    query_one(
        "SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = $1 AND c.relname = $2",
        &[schema.into(), name.into()],
        |row| (column(row, 1), column(row, 2)),
    )
}

fn view_columns(view: pg_sys::Oid) -> Vec<Column> {
    crate::protect::table::columns(view)
}

/// What is said about the table's columns holds for the view's.
fn comments(table: &Table, view: &str, columns: &[(String, String)]) -> Vec<String> {
    let said = query(
        "SELECT a.attname::text, col_description(a.attrelid, a.attnum) FROM pg_attribute a
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
            AND col_description(a.attrelid, a.attnum) IS NOT NULL ORDER BY a.attnum",
        &[table.oid.into()],
        |row| (column::<String>(row, 1), column::<String>(row, 2)),
    );
    let kept = said.into_iter().filter(|(name, _)| columns.iter().any(|(shown, _)| shown == name));
    kept.map(|(name, text)| format!("COMMENT ON COLUMN {view}.{} IS {}", quote_identifier(name), quote_literal(text)))
        .collect()
}

/// An INSERT through the view gets what one into the table would get.
fn defaults(view: &str, columns: &[Column], found: &[Column]) -> Vec<String> {
    let mut statements = Vec::new();
    for c in columns.iter().filter(|c| !c.generated) {
        let now = found.iter().find(|f| f.name == c.name).and_then(|f| f.default.as_ref());
        let change = match (&c.default, now) {
            (Some(wanted), now) if now != Some(wanted) => format!("SET DEFAULT {wanted}"),
            (None, Some(_)) => "DROP DEFAULT".into(),
            _ => continue,
        };
        statements.push(format!("ALTER VIEW {view} ALTER COLUMN {} {change}", quote_identifier(&c.name)));
    }
    statements
}

fn write_trigger(
    table: &Table,
    options: &Options,
    key: &str,
    view: &str,
    columns: &[Column],
    existing: Option<pg_sys::Oid>,
) -> Vec<String> {
    let (sealed, plain): (Vec<&Column>, Vec<&Column>) =
        columns.iter().filter(|c| !c.generated).partition(|c| encrypted(options, &c.name).is_some());
    let mut arguments = vec![table.quoted(), options.tenant_column.clone(), key.to_owned(), sealed.len().to_string()];
    arguments.extend(sealed.into_iter().chain(plain).map(|c| c.name.clone()));
    let arguments: Vec<String> = arguments.iter().map(quote_literal).collect();
    let name = names::derived("write_", options.base(&table.name), "_pii");
    let create = format!(
        "CREATE TRIGGER {} INSTEAD OF INSERT OR DELETE OR UPDATE ON {view} FOR EACH ROW EXECUTE FUNCTION {}.write_pii_view({})",
        quote_identifier(&name),
        extension_schema(),
        arguments.join(", ")
    );
    let found: Option<String> = existing.and_then(|oid| {
        let find = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1 AND tgname = $2";
        query_one(find, &[oid.into(), name.as_str().into()], |row| column(row, 1))
    });
    match found {
        Some(found) if found == create => vec![],
        Some(_) => vec![format!("DROP TRIGGER {} ON {view}", quote_identifier(&name)), create],
        None => vec![create],
    }
}

fn grants(view: View, name: &str, options: &Options, existing: Option<pg_sys::Oid>) -> Vec<String> {
    let mut statements = Vec::new();
    for (role, all) in [(APP, options.actions.as_slice()), (PLATFORM, &Command::ALL[..])] {
        let wanted: Vec<&str> = match view {
            View::Masked => all.iter().filter(|c| **c == Command::Select).map(|c| c.sql()).collect(),
            View::Clear => all.iter().map(|c| c.sql()).collect(),
        };
        let held: Vec<String> = existing
            .map(|oid| {
                let held = "SELECT a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
                             WHERE c.oid = $1 AND a.grantee = to_regrole($2)";
                query(held, &[oid.into(), role.into()], |row| column(row, 1))
            })
            .unwrap_or_default();
        let missing: Vec<&str> = wanted.iter().copied().filter(|w| !held.iter().any(|h| h == w)).collect();
        let extra: Vec<&str> = held.iter().map(String::as_str).filter(|h| !wanted.contains(h)).collect();
        if !extra.is_empty() {
            statements.push(format!("REVOKE {} ON {name} FROM {role}", extra.join(", ")));
        }
        if !missing.is_empty() {
            statements.push(format!("GRANT {} ON {name} TO {role}", missing.join(", ")));
        }
    }
    statements
}
