//! Which rows of which tables are about a person.

use crate::access::functions::require;
use crate::context::current;
use crate::gdpr::error::GdprError;
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::{sql, uuid as pg_uuid};
use crate::pii::data_keys;
use crate::pii::error::PiiError;
use crate::protect::emptied::emptied;
use crate::protect::registry::{self, Entry};
use crate::protect::table::{Table, as_owner};
use pgrx::datum::DatumWithOid;
use pgrx::spi::quote_identifier;
use uuid::Uuid;

/// Tables that lead to a person through one another, at most.
const LONGEST_PATH: usize = 10;

/// A person of the current tenant, and somebody who may do what is asked.
pub struct Person {
    pub tenant: Uuid,
    pub kind: String,
    pub id: Uuid,
    /// The person's, and those of the duplicates that were merged into it.
    pub ids: Vec<Uuid>,
}

impl Person {
    /// Raises 42501 without the permission `gdpr:<action>`, and for a person whom this tenant does not have.
    pub fn required(action: &str, kind: &str, id: pgrx::Uuid) -> (Person, Vec<PersonTable>) {
        crate::deploy::require_installed();
        require("gdpr", action);
        let tenant = current::get().tenant.unwrap_or_else(|| PiiError::NoTenant.raise());
        let id = pg_uuid::from_pgrx(id);
        let mut person = Person { tenant, kind: kind.into(), id, ids: vec![id] };
        let tables = tables_of(kind);
        if tables.is_empty() {
            GdprError::NoTables { kind: kind.into() }.raise();
        }
        let duplicates: Vec<Uuid> = tables.iter().flat_map(|table| duplicates(table, &person)).collect();
        person.ids.extend(duplicates);
        let known = data_keys::id_of_subject(tenant, kind, person.id).is_some()
            || tables.iter().any(|table| table.count(&person, "true") > 0);
        if !known {
            GdprError::NoSubject { kind: kind.into() }.raise();
        }
        (person, tables)
    }

    /// `$1` and `$2` of every condition: the tenant, and all ids of the person.
    pub fn arguments(&self) -> [DatumWithOid<'static>; 2] {
        let ids: Vec<pgrx::Uuid> = self.ids.iter().copied().map(pg_uuid::to_pgrx).collect();
        [pg_uuid::to_pgrx(self.tenant).into(), ids.into()]
    }
}

/// Rows of people that say they were merged into this one, at any depth.
fn duplicates(table: &PersonTable, person: &Person) -> Vec<Uuid> {
    if !table.is_person || table.table.column("merged_into_id").is_none() {
        return Vec::new();
    }
    let Ok(key) = table.table.row_key(&table.entry.options.tenant_column).map(quote_identifier) else {
        return Vec::new();
    };
    let (name, tenant) = (table.table.quoted(), quote_identifier(&table.entry.options.tenant_column));
    let merged = format!(
        "WITH RECURSIVE merged(id) AS (
             SELECT t.{key} FROM {name} t WHERE t.{tenant} = $1 AND t.merged_into_id = ANY ($2)
             UNION
             SELECT t.{key} FROM merged JOIN {name} t ON t.{tenant} = $1 AND t.merged_into_id = merged.id)
         SELECT id FROM merged WHERE id <> ALL ($2)"
    );
    table.as_owner(|| sql::query(&merged, &person.arguments(), |row| pg_uuid::from_pgrx(sql::column(row, 1))))
}

/// A protected table with rows about people of one kind.
pub struct PersonTable {
    pub table: Table,
    pub entry: Entry,
    /// On the table as `t`, with the tenant as `$1` and the person's ids as `$2`.
    pub condition: String,
    /// The rows are the people themselves, not something about them.
    pub is_person: bool,
}

impl PersonTable {
    /// Runs `body` as the table's owner, with nothing more than the owner's rights.
    pub fn as_owner<R>(&self, body: impl FnOnce() -> R) -> R {
        as_owner(self.table.oid, body)
    }

    /// What an erasure writes: (column, quoted; expression over the table as `t`).
    pub fn emptied(&self) -> Vec<(String, String)> {
        let options = &self.entry.options;
        let clear = options.pii.iter().filter(|pii| !pii.is_encrypted());
        let clear = clear.filter_map(|pii| self.table.column(&pii.column)).filter(|column| !column.generated);
        let clear = clear.map(|column| (quote_identifier(&column.name), emptied(&self.table, column)));
        let sealed = options.present_companions(&self.table.columns);
        clear.chain(sealed.map(|column| (quote_identifier(&column.name), "NULL".to_owned()))).collect()
    }

    pub fn count(&self, person: &Person, condition: &str) -> i64 {
        let count =
            format!("SELECT count(*) FROM {} t WHERE {} AND ({condition})", self.table.quoted(), self.condition);
        self.as_owner(|| sql::query_one(&count, &person.arguments(), |row| sql::column(row, 1)).unwrap_or(0))
    }
}

/// The tables whose rows are about people of a kind.
fn tables_of(kind: &str) -> Vec<PersonTable> {
    let entries = registry::all();
    let of_kind = |entry: &&Entry| entry.options.subject.as_ref().is_some_and(|subject| subject.kind == kind);
    entries
        .iter()
        .filter(of_kind)
        .map(|entry| {
            let table = Table::read(entry.table).or_raise();
            let condition = condition(entry, &entries, "t", LONGEST_PATH)
                .unwrap_or_else(|| GdprError::Path { table: table.quoted(), kind: kind.into() }.raise());
            let subject = entry.options.subject.as_ref();
            let key = table.row_key(&entry.options.tenant_column).ok();
            let is_person = subject.is_some_and(|s| s.through.is_none() && Some(s.column.as_str()) == key);
            PersonTable { table, entry: entry.clone(), condition, is_person }
        })
        .collect()
}

/// Rows of the entry's table, called `alias`, that are about the person; None when the path leads nowhere.
fn condition(entry: &Entry, entries: &[Entry], alias: &str, steps: usize) -> Option<String> {
    let subject = entry.options.subject.as_ref()?;
    let (tenant, column) = (quote_identifier(&entry.options.tenant_column), quote_identifier(&subject.column));
    let Some(through) = &subject.through else {
        return Some(format!("{alias}.{tenant} = $1 AND {alias}.{column} = ANY ($2)"));
    };
    let next = entries.iter().find(|entry| is_called(entry, through)).filter(|_| steps > 0)?;
    let table = Table::read(next.table).or_raise();
    let key = quote_identifier(table.row_key(&next.options.tenant_column).ok()?);
    let inner = format!("{alias}_");
    let condition = condition(next, entries, &inner, steps - 1)?;
    let name = table.quoted();
    Some(format!(
        "{alias}.{tenant} = $1 AND {alias}.{column} IN (SELECT {inner}.{key} FROM {name} {inner} WHERE {condition})"
    ))
}

fn is_called(entry: &Entry, name: &str) -> bool {
    sql::exists("SELECT 1 WHERE to_regclass($1)::oid = $2", &[name.into(), entry.table.into()])
}
