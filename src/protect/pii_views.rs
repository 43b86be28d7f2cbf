//! The views of a table with encrypted columns: `t_masked`, the table as readers see it, and `t_pii`, the table with clear
//! values, for reading and writing.

use crate::deploy::extension_schema;
use crate::domain::names;
use crate::pg::identity;
use crate::pg::sql::{column, exists, query, query_one};
use crate::protect::error::ProtectError;
use crate::protect::grants::{APP, PLATFORM, on_relation};
use crate::protect::options::{Command, Options};
use crate::protect::personal::PiiColumn;
use crate::protect::pii;
use crate::protect::table::{Column, Table};
use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_literal, quote_qualified_identifier};

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

/// Both, for SQL text.
pub fn quoted_names(table: &Table, options: &Options) -> [String; 2] {
    View::ALL.map(|view| view.quoted(table, options))
}

/// The views that are missing or show other columns than the table has, with their trigger, defaults and grants.
pub fn missing(table: &Table, resource: &str, options: &Options) -> Result<Vec<String>, ProtectError> {
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
    let companions: Vec<String> = options.sealed_columns().collect();
    let mut columns: Vec<Column> = table.columns.iter().filter(|c| !companions.contains(&c.name)).cloned().collect();
    // As the plan makes it, or leaves it: with the current tenant as its default.
    let default = Some(format!("{}.get_current_tenant_id()", extension_schema()));
    match columns.iter_mut().find(|c| c.name == options.tenant_column) {
        Some(tenant) if table.primary_key != [tenant.name.clone()] => tenant.default = default,
        Some(_) => {}
        None => {
            let name = options.tenant_column.clone();
            columns.push(Column {
                name,
                data_type: "uuid".into(),
                not_null: true,
                default,
                generated: false,
                identity: false,
            });
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
    if present.as_ref().is_some_and(|(oid, kind)| kind != "v" || !shows(*oid, table.oid)) {
        return Err(ProtectError::ViewNameTaken { view: quoted, table: table.quoted() });
    }
    let types = |c: &Column| match (view, encrypted(options, &c.name)) {
        (View::Masked, Some(_)) => "text".to_owned(),
        _ => c.data_type.clone(),
    };
    let wanted: Vec<(String, String)> = columns.iter().map(|c| (c.name.clone(), types(c))).collect();
    let found = present.as_ref().map(|(oid, _)| view_columns(*oid)).unwrap_or_default();
    let same = found.iter().map(|c| (&c.name, &c.data_type)).eq(wanted.iter().map(|(name, of)| (name, of)));
    let existing = present.filter(|(oid, _)| same && reads_only(*oid, table, options));
    if existing.is_none() {
        if !found.is_empty() {
            statements.push(format!("DROP VIEW {quoted}"));
        }
        let list: Result<Vec<String>, _> = columns.iter().map(|c| expression(view, table, options, c)).collect();
        statements.push(format!(
            "CREATE VIEW {quoted} WITH (security_invoker = true) AS SELECT {} FROM {} t",
            list?.join(", "),
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

fn expression(view: View, table: &Table, options: &Options, c: &Column) -> Result<String, ProtectError> {
    let name = quote_identifier(&c.name);
    let Some(pii) = encrypted(options, &c.name) else { return Ok(format!("t.{name}")) };
    let (function, cast) = match (view, c.data_type.as_str()) {
        (View::Masked, _) => ("mask_pii", String::new()),
        (View::Clear, "text") => ("decrypt_pii", String::new()),
        (View::Clear, other) => ("decrypt_pii", format!("::{other}")),
    };
    Ok(format!("{}{cast} AS {name}", pii::opened_by(function, table, options, pii)?))
}

/// Whether a view reads the table: one of that name may be that of another table, which was called so before.
fn shows(view: pg_sys::Oid, table: pg_sys::Oid) -> bool {
    exists(
        "SELECT 1 FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
          WHERE r.ev_class = $1 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $2",
        &[view.into(), table.into()],
    )
}

/// Whether the view reads the encrypted columns where they hold the values, and the plain ones nowhere.
fn reads_only(view: pg_sys::Oid, table: &Table, options: &Options) -> bool {
    let read: Vec<String> = query(
        "SELECT DISTINCT a.attname::text FROM pg_rewrite r
           JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
           JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
          WHERE r.ev_class = $1 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $2",
        &[view.into(), table.oid.into()],
        |row| column(row, 1),
    );
    let sealed: Vec<String> = options.encrypted().map(PiiColumn::encrypted).collect();
    let of_others =
        options.present_companions(&table.columns).any(|c| read.contains(&c.name) && !sealed.contains(&c.name));
    !of_others
        && sealed.iter().all(|name| read.contains(name))
        && !options.encrypted().any(|pii| read.contains(&pii.column))
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
        columns.iter().filter(|c| !c.generated && !c.identity).partition(|c| encrypted(options, &c.name).is_some());
    let mut arguments = vec![options.tenant_column.clone(), key.to_owned(), sealed.len().to_string()];
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
    let shown = |commands: &[Command]| match view {
        View::Masked => commands.iter().copied().filter(|c| *c == Command::Select).collect::<Vec<_>>(),
        View::Clear => commands.to_vec(),
    };
    let app = on_relation(name, existing, APP, &shown(&options.actions));
    let platform = on_relation(name, existing, PLATFORM, &shown(&Command::ALL));
    app.statements.into_iter().chain(platform.statements).collect()
}
