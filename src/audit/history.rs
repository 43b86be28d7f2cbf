//! The history of one row: `audit.record_history` and `audit.restore_preview`.
//!
//! Everything is read with the rights of the caller: the policies of the log and of the table decide what there is to see.

use crate::access::functions::{may, require};
use crate::access::invalidation;
use crate::audit::error::AuditError;
use crate::audit::image::CHANGED;
use crate::context::current;
use crate::domain::audit_spec::AuditSpec;
use crate::domain::envelope::Envelope;
use crate::domain::lifelines::{Event, Lifelines};
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::fixed_output::FixedOutput;
use crate::pg::function::written;
use crate::pg::identity::ActingAs;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{self, column, query, query_one};
use crate::pg::uuid as pg_uuid;
use crate::pii::error::PiiError;
use crate::pii::functions::{Grant, PII, open};
use crate::protect::audit;
use crate::protect::registry::{self, Entry};
use crate::protect::table::Table;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The changes of all rows that have to do with key `$3` of table `$2` in tenant `$1`, oldest first: each row's in the
/// order in which their transactions began to write. What it takes to undo those after `$4` comes with them.
const RELATED: &str = "
WITH RECURSIVE keys(key) AS (
    SELECT $3 COLLATE \"C\"
    UNION
    SELECT k.key COLLATE \"C\" FROM keys CROSS JOIN LATERAL (
        SELECT c.new_row_key FROM audit.change_log c
         WHERE c.tenant_id = $1 AND c.row_key = keys.key AND c.table_name = $2 AND c.new_row_key IS NOT NULL
        UNION ALL
        SELECT c.row_key FROM audit.change_log c
         WHERE c.tenant_id = $1 AND c.new_row_key = keys.key AND c.table_name = $2) k(key)
), related AS (
    SELECT c.* FROM audit.change_log c
     WHERE c.tenant_id = $1 AND c.row_key = ANY (ARRAY(SELECT key FROM keys)) AND c.table_name = $2
       AND c.operation <> 'TRUNCATE'
    UNION ALL
    SELECT c.* FROM audit.change_log c
     WHERE c.tenant_id = $1 AND c.row_key = '' AND c.table_name = $2 AND c.operation = 'TRUNCATE'
), ordered AS (
    SELECT r.*, r.occurred_at > $4 AS undone, min(r.occurred_at) OVER (PARTITION BY r.system_id) AS era,
           bool_or(r.occurred_at > $4 AND r.operation = 'TRUNCATE') OVER () AS truncated
      FROM related r
)
SELECT coalesce(jsonb_agg(jsonb_build_object(
           'id', o.id, 'occurred_at', (extract(epoch FROM o.occurred_at - timestamptz '2000-01-01 00:00+00') * 1000000)::int8,
           'operation', o.operation, 'row_key', o.row_key, 'new_row_key', o.new_row_key, 'undone', o.undone,
           'old', CASE WHEN o.undone THEN o.old_values END, 'new', CASE WHEN o.truncated THEN o.new_values END)
           ORDER BY o.era, o.transaction_id, o.id), '[]')
  FROM ordered o";

/// As the log has them: numbers keep every digit.
type Values = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Change {
    id: String,
    /// Microseconds since 2000.
    occurred_at: i64,
    operation: Operation,
    row_key: String,
    new_row_key: Option<String>,
    undone: Option<bool>,
    old: Option<Values>,
    new: Option<Values>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Change {
    fn event(&self) -> Event<'_> {
        let key = &self.row_key;
        match self.operation {
            Operation::Insert => Event::Insert { key },
            Operation::Update => Event::Update { key, new_key: self.new_row_key.as_deref() },
            Operation::Delete => Event::Delete { key },
            Operation::Truncate => Event::Truncate,
        }
    }
}

/// A protected table, and the tenant whose rows are asked for.
struct Subject {
    table: Table,
    entry: Entry,
    tenant: Uuid,
}

impl Subject {
    /// Of a partition, its root.
    fn of(table: pg_sys::Oid) -> Subject {
        crate::deploy::require_installed();
        // A statement prepared long ago in an open transaction sees a revocation too.
        invalidation::refresh();
        let tenant = current::get().tenant.unwrap_or_else(|| PiiError::NoTenant.raise());
        let root = "SELECT coalesce(pg_partition_root($1)::oid, $1)";
        let root = query_one(root, &[table.into()], |row| column(row, 1)).unwrap_or(table);
        let entry = registry::expect(root).or_raise();
        Subject { table: Table::read(root).or_raise(), entry, tenant }
    }

    fn changes(&self, row_key: &str, at: Option<TimestampWithTimeZone>) -> Vec<Change> {
        // Where the log is switched off now, it went by the name.
        let name = self.entry.options.audit.columns.name.clone().unwrap_or_else(|| self.table.quoted());
        // PostgreSQL does not know how few keys change, and would rather read the whole log.
        let settings = SettingsScope::pinned_path();
        for (name, value) in [("enable_seqscan", "off"), ("jit", "off")] {
            settings.set(name, value);
        }
        read(RELATED, &[pg_uuid::to_pgrx(self.tenant).into(), name.into(), row_key.into(), at.into()])
    }
}

/// Reads under the snapshot of the statement that is running, so that several queries agree.
fn read<T: DeserializeOwned>(sql: &str, arguments: &[DatumWithOid]) -> T {
    let _output = FixedOutput::begin();
    let value = sql::jsonb(sql, arguments);
    // SAFETY: `sql::jsonb` gives jsonb.
    let text = unsafe { written(value, pg_sys::JSONBOID) };
    serde_json::from_str(&text).unwrap_or_else(|error| pgrx::error!("unexpected JSON: {error}"))
}

/// Rows (tenant_id, occurred_at, id): the changes of the rows that ever had the key, oldest first.
#[pg_extern(sql = false)]
fn list_record_changes(
    table: pg_sys::Oid,
    row_key: &str,
) -> TableIterator<
    'static,
    (name!(tenant_id, pgrx::Uuid), name!(occurred_at, TimestampWithTimeZone), name!(id, pgrx::Uuid)),
> {
    let subject = Subject::of(table);
    let (tenant, changes) = (pg_uuid::to_pgrx(subject.tenant), subject.changes(row_key, None));
    let found = Lifelines::new(changes.iter().map(Change::event).collect()).ever_called(row_key);
    TableIterator::new(found.into_iter().filter_map(move |i| {
        let change = &changes[i];
        let at = TimestampWithTimeZone::try_from(change.occurred_at).ok()?;
        Some((tenant, at, pg_uuid::to_pgrx(Uuid::parse_str(&change.id).ok()?)))
    }))
}

/// The row as it was, as the text of a JSON object; None when there was none.
#[pg_extern(sql = false)]
fn restore_record_preview(table: pg_sys::Oid, row_key: &str, at: TimestampWithTimeZone) -> Option<String> {
    let subject = Subject::of(table);
    require("audit", "read");
    require(&subject.entry.resource, "read");
    let table = &subject.table;
    let spec = audit::spec(table, &subject.entry.options)
        .unwrap_or_else(|| AuditError::NotLogged { table: table.quoted() }.raise());
    refuse_dropped(at);
    let changes = subject.changes(row_key, Some(at));
    let lifelines = Lifelines::new(changes.iter().map(Change::event).collect());
    let (positions, last_key) = lifelines.called(row_key);
    let changes: Vec<&Change> = positions.into_iter().map(|i| &changes[i]).collect();
    let mut row = current_row(&subject, &spec, last_key);
    for (i, change) in changes.iter().enumerate().rev().filter(|(_, change)| change.undone == Some(true)) {
        row = match change.operation {
            Operation::Insert => None,
            Operation::Delete => change.old.as_ref().map(|old| Row::default().with(old, &change.row_key)),
            Operation::Update => row.map(|row| match &change.old {
                Some(old) => row.with(old, &change.row_key),
                None => row,
            }),
            // Rows that were truncated were not logged one by one: what came before makes them again.
            Operation::Truncate => replayed(&changes[..i]),
        };
    }
    row.map(|row| shown(&subject, &spec, row))
}

/// What happened after a time can be undone only as long as all of it is kept.
fn refuse_dropped(at: TimestampWithTimeZone) {
    let Some(seals) = invalidation::named("audit", "seals") else { return };
    let _identity = ActingAs::owner(seals.owner);
    let dropped = "SELECT to_char(max(s.month) + interval '1 month', 'YYYY-MM-DD') FROM audit.seals s
                    WHERE s.kind = 'tombstone' HAVING (max(s.month) + interval '1 month') AT TIME ZONE 'UTC' > $1";
    if let Some(until) = query_one(dropped, &[at.into()], |row| column(row, 1)) {
        AuditError::Dropped { until }.raise();
    }
}

/// A row, each value with the key that its envelope is bound to.
#[derive(Default)]
struct Row(BTreeMap<String, (Box<RawValue>, String)>);

impl Row {
    fn with(mut self, values: &Values, row_key: &str) -> Row {
        self.0.extend(values.iter().map(|(name, value)| (name.clone(), (value.clone(), row_key.to_owned()))));
        self
    }
}

/// What the changes, from the first on, lead to. A row that was there before the log began stays unknown.
fn replayed(changes: &[&Change]) -> Option<Row> {
    changes.iter().fold(None, |row, change| {
        let key = change.new_row_key.as_ref().unwrap_or(&change.row_key);
        match (change.operation, &change.new) {
            (Operation::Insert, Some(new)) => Some(Row::default().with(new, key)),
            (Operation::Update, Some(new)) => row.map(|row: Row| row.with(new, key)),
            _ => None,
        }
    })
}

/// The row as it is, as far as the caller may see it, without what the log leaves out.
fn current_row(subject: &Subject, spec: &AuditSpec, row_key: &str) -> Option<Row> {
    let Subject { table, entry, tenant } = subject;
    let readable = query(
        "SELECT a.attname::text FROM pg_attribute a
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
            AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')",
        &[table.oid.into()],
        |row| column::<String>(row, 1),
    );
    let column = |name: &String| {
        let quoted = quote_identifier(name);
        match spec.secret.contains(name) {
            true => format!("CASE WHEN t.{quoted} IS NOT NULL THEN '{CHANGED}' END AS {quoted}"),
            false => format!("t.{quoted}"),
        }
    };
    let columns: Vec<String> = readable.iter().filter(|name| !spec.exclude.contains(name)).map(column).collect();
    let keys = key_columns(table, &entry.options.tenant_column);
    let texts = match keys.as_slice() {
        [] => AuditError::NoKey { table: table.quoted() }.raise(),
        [_] => vec![Some(row_key.to_owned())],
        _ => serde_json::from_str::<Vec<Option<String>>>(row_key).ok().filter(|texts| texts.len() == keys.len())?,
    };
    let conditions: Vec<String> = keys.iter().enumerate().map(|(i, key)| key.condition(i + 2)).collect();
    let select = format!(
        "SELECT coalesce((SELECT to_jsonb(r) FROM (SELECT {} FROM {} t WHERE t.{} = $1 AND {}) r), 'null')",
        columns.join(", "),
        table.quoted(),
        quote_identifier(&entry.options.tenant_column),
        conditions.join(" AND ")
    );
    let tenant = pg_uuid::to_pgrx(*tenant).into();
    let arguments: Vec<DatumWithOid> = std::iter::once(tenant).chain(texts.into_iter().map(Into::into)).collect();
    let values: Option<Values> = read(&select, &arguments);
    values.map(|values| Row::default().with(&values, row_key))
}

/// A column of the primary key.
struct KeyColumn {
    name: String,
    data_type: String,
    built_in: bool,
}

impl KeyColumn {
    /// On the table as `t`; the value is a text parameter.
    fn condition(&self, parameter: usize) -> String {
        let name = quote_identifier(&self.name);
        match self.built_in {
            true => format!("t.{name} = ${parameter}::{}", self.data_type),
            // Whose operators are not in the path. The log writes keys as text too.
            false => format!("t.{name}::text = ${parameter}"),
        }
    }
}

/// In the order of the key, without the tenant: as the log writes them.
fn key_columns(table: &Table, tenant: &str) -> Vec<KeyColumn> {
    query(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.typnamespace = 'pg_catalog'::regnamespace
           FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(number, position)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number JOIN pg_type t ON t.oid = a.atttypid
          WHERE i.indrelid = $1 AND i.indisprimary AND k.position <= i.indnkeyatts AND a.attname <> $2
          ORDER BY k.position",
        &[table.oid.into(), tenant.into()],
        |row| KeyColumn { name: column(row, 1), data_type: column(row, 2), built_in: column(row, 3) },
    )
}

/// The row for the caller: personal values opened as far as they may be, secrets as such.
fn shown(subject: &Subject, spec: &AuditSpec, mut row: Row) -> String {
    let Subject { table, entry, tenant } = subject;
    let is_text = text_columns(table.oid);
    let opens = may(&entry.resource, PII);
    // Rows that were inserted or deleted are logged without what is NULL.
    for column in &table.columns {
        row.0.entry(column.name.clone()).or_insert_with(|| (RawValue::NULL.to_owned(), String::new()));
    }
    for pii in &entry.options.pii {
        let sealed = row.0.remove(&pii.encrypted()).filter(|(value, _)| value.get() != "null");
        let Some((value, key)) = sealed.or_else(|| row.0.remove(&pii.column)) else { continue };
        let field = pii.field.as_deref().filter(|_| opens && spec.personal.contains_key(&pii.column));
        let opened = field.and_then(|field| opened(*tenant, &value, field, &key));
        let value = opened.map_or(value, |text| json(text, is_text.contains(&pii.column)));
        row.0.insert(pii.column.clone(), (value, key));
    }
    row.0.retain(|name, _| !spec.exclude.contains(name));
    // Those that were logged before they were said to be secret.
    for (name, (value, _)) in &mut row.0 {
        if spec.secret.contains(name) && value.get() != "null" {
            *value = raw(CHANGED);
        }
    }
    let values: BTreeMap<String, Box<RawValue>> = row.0.into_iter().map(|(name, (value, _))| (name, value)).collect();
    serde_json::to_string(&values).expect("names and JSON")
}

/// The clear text of an envelope; None for what is none, or does not open here and now.
fn opened(tenant: Uuid, value: &RawValue, field: &str, row_key: &str) -> Option<String> {
    let text: String = serde_json::from_str(value.get()).ok()?;
    Envelope::parse(&text)?;
    open(Grant::within(tenant), &text, field, row_key)
}

/// What an envelope holds: text as it is, anything else as its JSON text.
fn json(text: String, is_text: bool) -> Box<RawValue> {
    let parsed = (!is_text).then(|| RawValue::from_string(text.clone()).ok()).flatten();
    parsed.unwrap_or_else(|| raw(&text))
}

fn raw(text: &str) -> Box<RawValue> {
    to_raw_value(text).expect("text is JSON")
}

fn text_columns(table: pg_sys::Oid) -> Vec<String> {
    query(
        "SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attnum > 0 AND t.typcategory = 'S'",
        &[table.into()],
        |row| column(row, 1),
    )
}
