//! The statements that follow from a trigger's argument, made once a session. Each names the tenant.

use crate::access::invalidation;
use crate::documents::totals::error::TotalsError;
use crate::documents::totals::spec::Spec;
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::made::Made;
use crate::pg::sql::{column, query};
use crate::pg::trigger::Trigger;
use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_literal, quote_qualified_identifier};
use std::cell::RefCell;
use std::collections::HashMap;

/// Of the calculation: it changes when the same input gives another result.
pub const VERSION: &str = "1";

pub struct Statements {
    pub spec: Spec,
    /// (tenant_id, document) of the lines that a statement changed, in the order in which documents are locked.
    pub inserted: Made,
    pub updated: Made,
    pub deleted: Made,
    /// Whether the lines may change, of the document that it locks: $1 tenant, $2 document.
    pub lock: Made,
    /// (input, digest) of a stored document: $1 tenant, $2 document, $3 settings of the tenant as JSON.
    pub input: Made,
    /// The same of a row that is being written: $1 the row, $2 settings.
    pub input_of_row: Made,
    /// $1 tenant, $2 document, $3 result, $4 digest.
    pub write_document: Made,
    /// $1 tenant, $2 document, $3 result.
    pub write_lines: Option<Made>,
    pub clear_skipped: Option<Made>,
    /// The total as text, then what is to be in the output columns: $1 result, $2 digest.
    pub values: Made,
    /// (line_id, column_name, stored, expected) that disagree: $1 tenant, $2 document, $3 result.
    pub compare: Made,
}

static KNOWN: BackendCell<RefCell<Option<HashMap<pg_sys::Oid, &'static Statements>>>> =
    BackendCell::new(RefCell::new(None));

impl Statements {
    /// Those of the trigger that is running.
    pub fn of(trigger: &Trigger) -> &'static Statements {
        let argument = || trigger.arguments().first().copied().unwrap_or_default().to_owned();
        Self::known(trigger.oid(), argument, || trigger.table_name())
    }

    /// Those of a trigger in the catalog.
    pub fn of_catalog(trigger: pg_sys::Oid, tgargs: &[u8], table: &str) -> &'static Statements {
        let argument = || crate::documents::split_arguments(tgargs).into_iter().next().unwrap_or_default();
        Self::known(trigger, argument, || table.to_owned())
    }

    /// A trigger's argument never changes, and its oid belongs to it alone. They stay until the session ends, as their
    /// plans do.
    fn known(trigger: pg_sys::Oid, argument: impl Fn() -> String, table: impl Fn() -> String) -> &'static Statements {
        let known = KNOWN.borrow().as_ref().and_then(|known| known.get(&trigger).copied());
        known.unwrap_or_else(|| {
            let spec = Spec::parse(&argument());
            let spec = spec.unwrap_or_else(|problem| TotalsError::Spec { table: table(), problem }.raise());
            let made: &'static Statements = Box::leak(Box::new(Statements::make(spec)));
            KNOWN.borrow_mut().get_or_insert_default().insert(trigger, made);
            made
        })
    }

    /// The tables as they are called now.
    pub fn document(&self) -> pg_sys::Oid {
        named(&self.spec.document)
    }

    pub fn lines(&self) -> pg_sys::Oid {
        named(&self.spec.lines)
    }

    fn make(spec: Spec) -> Statements {
        let text = Text { spec: &spec, document: Table::named(&spec.document), lines: Table::named(&spec.lines) };
        let document_name = &text.document.name;
        let line = text.line_row();
        let inserted = text.changed(&format!("SELECT {line} FROM new_rows"));
        let deleted = text.changed(&format!("SELECT {line} FROM old_rows"));
        let updated = text.changed(&format!(
            "(SELECT {line} FROM new_rows EXCEPT ALL SELECT {line} FROM old_rows)
             UNION ALL (SELECT {line} FROM old_rows EXCEPT ALL SELECT {line} FROM new_rows)"
        ));
        let open = text.open();
        let lock =
            format!("SELECT {open} FROM {document_name} d WHERE d.tenant_id = $1 AND d.id = $2 FOR NO KEY UPDATE");
        let input = text.input(document_name, "$3", " WHERE d.tenant_id = $1 AND d.id = $2");
        let input_of_row = text.input("(SELECT ($1).*)", "$2", "");
        let (write_document, write_lines) = (text.write_document(), text.write_lines());
        let (clear_skipped, values, compare) = (text.clear_skipped(), text.values(), text.compare());
        Statements {
            spec,
            inserted: Made::new(inserted),
            updated: Made::new(updated),
            deleted: Made::new(deleted),
            lock: Made::new(lock),
            input: Made::new(input),
            input_of_row: Made::new(input_of_row),
            write_document: Made::new(write_document),
            write_lines: write_lines.map(Made::new),
            clear_skipped: clear_skipped.map(Made::new),
            values: Made::new(values),
            compare: Made::new(compare),
        }
    }
}

fn named(name: &str) -> pg_sys::Oid {
    let (schema, table) = name.split_once('.').unwrap_or_default();
    let found = invalidation::named(schema, table);
    found.unwrap_or_else(|| TotalsError::NoTable { table: name.to_owned() }.raise()).oid
}

/// A table with the types of its columns.
struct Table {
    /// Quoted.
    name: String,
    types: HashMap<String, String>,
}

impl Table {
    fn named(name: &str) -> Table {
        let (schema, table) = name.split_once('.').unwrap_or_default();
        let types = query(
            "SELECT attname::text, pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute
              WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped",
            &[named(name).into()],
            |row| (column::<String>(row, 1), column::<String>(row, 2)),
        );
        let types = types.into_iter().collect();
        Table { name: quote_qualified_identifier(schema, table), types }
    }

    /// What the result has under `key`, as a value of the column. A column that is not there is PostgreSQL's to report.
    fn value_for(&self, result: &str, key: &str, column: &str) -> String {
        match self.types.get(column).map_or("text", String::as_str) {
            "jsonb" => format!("({result} -> {})", quote_literal(key)),
            of => format!("({result} ->> {})::{of}", quote_literal(key)),
        }
    }
}

/// Writes the statements.
struct Text<'a> {
    spec: &'a Spec,
    document: Table,
    lines: Table,
}

impl Text<'_> {
    /// What of a line the totals depend on.
    fn line_row(&self) -> String {
        let mut columns: Vec<String> = self.spec.line_columns().map(quote_identifier).collect();
        columns.sort();
        columns.dedup();
        format!("tenant_id, {} AS document, id, {}", quote_identifier(&self.spec.key), columns.join(", "))
    }

    fn changed(&self, rows: &str) -> String {
        format!("SELECT DISTINCT c.tenant_id, c.document FROM ({rows}) c WHERE c.document IS NOT NULL ORDER BY 1, 2")
    }

    fn open(&self) -> String {
        let one_of = |(name, values): (&String, &Vec<String>)| {
            let values: Vec<String> = values.iter().map(quote_literal).collect();
            format!(
                " AND coalesce(d.{}::text = ANY (ARRAY[{}]::text[]), false)",
                quote_identifier(name),
                values.join(", ")
            )
        };
        std::iter::once("true".to_owned()).chain(self.spec.open_while.iter().map(one_of)).collect()
    }

    /// $settings are those of the tenant. What columns say goes before what the pricing says.
    fn input(&self, document: &str, settings: &str, condition: &str) -> String {
        let mut parts = vec![self.settings(settings)];
        parts.extend(self.spec.pricing.iter().map(|name| format!("coalesce(d.{}, '{{}}')", quote_identifier(name))));
        parts.extend(self.spec.document_inputs.iter().map(|(key, name)| from_column(key, "d", name)));
        parts.push(format!("jsonb_build_object('lines', {})", self.input_lines()));
        let input = parts.join(" || ");
        let digest = "sha256(convert_to(i.input::text, 'UTF8'))";
        format!("SELECT i.input, {digest} FROM (SELECT {input} AS input FROM {document} d{condition}) i")
    }

    /// Those of the tenant; the decimal places of a currency of the document's own are those of the currency.
    fn settings(&self, given: &str) -> String {
        let given = format!("{given}::text::jsonb");
        self.spec.document_inputs.get("currency").map_or_else(
            || given.clone(),
            |column| {
                let own = format!("d.{} IS NOT NULL", quote_identifier(column));
                format!("(CASE WHEN {own} THEN {given} - 'minor_unit' ELSE {given} END)")
            },
        )
    }

    fn input_lines(&self) -> String {
        let mut parts: Vec<String> = self
            .spec
            .line_pricing
            .iter()
            .map(|name| format!("coalesce(l.{}, '{{}}')", quote_identifier(name)))
            .collect();
        parts.push("jsonb_build_object('id', l.id::text)".into());
        parts.extend(self.spec.line_inputs.iter().map(|(key, name)| from_column(key, "l", name)));
        let order: Vec<String> = self.spec.order.iter().map(|name| format!("l.{}", quote_identifier(name))).collect();
        let counted =
            self.spec.skip.as_ref().map_or(String::new(), |name| format!(" AND l.{} IS NULL", quote_identifier(name)));
        format!(
            "coalesce((SELECT jsonb_agg({} ORDER BY {}) FROM {} l WHERE l.tenant_id = d.tenant_id AND l.{} = d.id{counted}), '[]')",
            parts.join(" || "),
            order.join(", "),
            self.lines.name,
            quote_identifier(&self.spec.key)
        )
    }

    /// (column, expression) of everything that is written into the document.
    fn outputs(&self, result: &str, digest: &str) -> Vec<(String, String)> {
        let amounts = self.spec.document_outputs.iter();
        let mut outputs: Vec<(String, String)> =
            amounts.map(|(name, key)| (name.clone(), self.document.value_for(result, key, name))).collect();
        outputs.extend(self.spec.version.iter().map(|name| {
            let of = self.document.types.get(name).map_or("text", String::as_str);
            (name.clone(), format!("{}::{of}", quote_literal(VERSION)))
        }));
        outputs.extend(self.spec.hash.iter().map(|name| (name.clone(), digest.to_owned())));
        outputs
    }

    fn values(&self) -> String {
        let outputs = self.outputs("$1::jsonb", "$2::bytea").into_iter().map(|(_, value)| value);
        let columns: Vec<String> = std::iter::once("$1 ->> 'total'".to_owned()).chain(outputs).collect();
        format!("SELECT {} WHERE $2::bytea IS NOT NULL", columns.join(", "))
    }

    fn write_document(&self) -> String {
        let outputs = self.outputs("$3::jsonb", "$4::bytea");
        let set: Vec<String> =
            outputs.iter().map(|(name, value)| format!("{} = {value}", quote_identifier(name))).collect();
        let name = &self.document.name;
        format!("UPDATE {name} d SET {} WHERE d.tenant_id = $1 AND d.id = $2 AND $4::bytea IS NOT NULL", set.join(", "))
    }

    fn line_outputs(&self) -> Vec<(String, String)> {
        let outputs = self.spec.line_outputs.iter();
        outputs.map(|(name, key)| (quote_identifier(name), self.lines.value_for("o.line", key, name))).collect()
    }

    fn write_lines(&self) -> Option<String> {
        let outputs = self.line_outputs();
        let set: Vec<String> = outputs.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let differ: Vec<String> =
            outputs.iter().map(|(name, value)| format!("l.{name} IS DISTINCT FROM {value}")).collect();
        let (name, key) = (&self.lines.name, quote_identifier(&self.spec.key));
        (!outputs.is_empty()).then(|| {
            format!(
                "UPDATE {name} l SET {} FROM (SELECT e.value AS line FROM jsonb_array_elements($3::jsonb -> 'lines') e) o
                  WHERE l.tenant_id = $1 AND l.{key} = $2 AND l.id = (o.line ->> 'id')::uuid AND ({})",
                set.join(", "),
                differ.join(" OR ")
            )
        })
    }

    /// Lines that do not count have no amounts.
    fn clear_skipped(&self) -> Option<String> {
        let skip = quote_identifier(self.spec.skip.as_ref()?);
        let nothing = |name: &String| match self.lines.types.get(name).map(String::as_str) {
            Some("jsonb") => (quote_identifier(name), "'{}'::jsonb"),
            _ => (quote_identifier(name), "0"),
        };
        let outputs: Vec<(String, &str)> = self.spec.line_outputs.keys().map(nothing).collect();
        let set: Vec<String> = outputs.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let differ: Vec<String> =
            outputs.iter().map(|(name, value)| format!("l.{name} IS DISTINCT FROM {value}")).collect();
        let (name, key) = (&self.lines.name, quote_identifier(&self.spec.key));
        (!outputs.is_empty()).then(|| {
            format!(
                "UPDATE {name} l SET {} WHERE l.tenant_id = $1 AND l.{key} = $2 AND l.{skip} IS NOT NULL AND ({})",
                set.join(", "),
                differ.join(" OR ")
            )
        })
    }

    fn compare(&self) -> String {
        let row = |of: &str, name: &str, value: &str| {
            let stored = format!("{of}.{}", quote_identifier(name));
            format!("({}, ({stored})::text, ({value})::text, {stored} IS DISTINCT FROM {value})", quote_literal(name))
        };
        let amounts = self.spec.document_outputs.iter();
        let of_document: Vec<String> =
            amounts.map(|(name, key)| row("d", name, &self.document.value_for("$3::jsonb", key, name))).collect();
        let mut query = format!(
            "SELECT NULL::uuid, v.name::text, v.stored, v.expected
               FROM {} d, LATERAL (VALUES {}) v(name, stored, expected, differ)
              WHERE d.tenant_id = $1 AND d.id = $2 AND v.differ",
            self.document.name,
            of_document.join(", ")
        );
        let of_lines: Vec<String> = (self.spec.line_outputs.iter())
            .map(|(name, key)| row("l", name, &self.lines.value_for("o.line", key, name)))
            .collect();
        if !of_lines.is_empty() {
            query.push_str(&format!(
                " UNION ALL
                 SELECT l.id, v.name::text, v.stored, v.expected
                   FROM {} l JOIN jsonb_array_elements($3::jsonb -> 'lines') o(line) ON l.id = (o.line ->> 'id')::uuid,
                        LATERAL (VALUES {}) v(name, stored, expected, differ)
                  WHERE l.tenant_id = $1 AND l.{} = $2 AND v.differ",
                self.lines.name,
                of_lines.join(", "),
                quote_identifier(&self.spec.key)
            ));
        }
        query
    }
}

/// The input under a key, which may be a path such as tip.amount; nothing where the column is NULL.
fn from_column(key: &str, table: &str, column: &str) -> String {
    let value = format!("{table}.{}", quote_identifier(column));
    let object = key
        .rsplit('.')
        .fold(value.clone(), |value, name| format!("jsonb_build_object({}, {value})", quote_literal(name)));
    format!("CASE WHEN {value} IS NULL THEN '{{}}' ELSE {object} END")
}
