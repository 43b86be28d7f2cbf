//! `thorbis.add_exclusion`: rows of a tenant that are equal in some columns must not overlap in a range.
//!
//! An exclusion constraint where `btree_gist` is there, else the trigger `check_no_overlap`, which makes the same promise.

use crate::bookings::error::BookingError;
use crate::deploy::{contrib, extension_schema};
use crate::pg::error::{SqlError, required};
use crate::pg::{identity, sql};
use crate::protect::table;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};

pub const TENANT: &str = "tenant_id";

/// Adds the rule under this name: `<table>_<columns>_excl`. Runs as the caller, who owns the table.
#[pg_extern(sql = false)]
fn add_exclusion(
    table: Option<pg_sys::Oid>,
    name: Option<&str>,
    equal: Option<Vec<Option<String>>>,
    range_column: Option<&str>,
    condition: Option<&str>,
) {
    let oid = required("table", table);
    let equal = required("equal", equal).into_iter().map(|column| required("equal", column)).collect();
    let rule = Rule {
        table: table::qualified_name(oid),
        bare: bare_name(oid),
        name: required("name", name),
        equal,
        range: required("range_column", range_column),
        condition,
    };
    rule.check_columns(&table::columns(oid));
    if contrib::is_installed() {
        sql::run(&rule.constraint(), &[]);
        return;
    }
    // Nobody writes between the look at what is there and the trigger.
    identity::lock_relation(oid, pg_sys::ShareRowExclusiveLock);
    for statement in rule.trigger() {
        sql::run(&statement, &[]);
    }
    if sql::exists(&rule.overlapping(), &[]) {
        BookingError::OverlapFound { table: rule.bare, range: rule.range.into() }.raise();
    }
    notice!("without btree_gist a trigger keeps {} from overlapping, not an exclusion constraint", rule.name);
}

fn bare_name(oid: pg_sys::Oid) -> String {
    sql::query_one("SELECT relname::text FROM pg_class WHERE oid = $1", &[oid.into()], |row| sql::column(row, 1))
        .unwrap_or_default()
}

struct Rule<'a> {
    /// Qualified and quoted.
    table: String,
    bare: String,
    name: &'a str,
    equal: Vec<String>,
    range: &'a str,
    condition: Option<&'a str>,
}

impl Rule<'_> {
    /// The columns that two rows must have in common to be compared.
    fn keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(TENANT).chain(self.equal.iter().map(String::as_str).filter(|column| *column != TENANT))
    }

    fn check_columns(&self, columns: &[table::Column]) {
        for column in self.keys().chain([self.range]) {
            if !columns.iter().any(|known| known.name == column) {
                BookingError::NoColumn { table: self.bare.clone(), column: column.to_owned() }.raise();
            }
        }
    }

    /// The name without the table: what the names of the trigger and its index end with.
    fn purpose(&self) -> &str {
        self.name.strip_prefix(&self.bare).map_or(self.name, |rest| rest.trim_start_matches('_'))
    }

    fn constraint(&self) -> String {
        let equal: Vec<String> = self.keys().map(|column| format!("{} WITH =", quote_identifier(column))).collect();
        let condition = self.condition.map_or_else(String::new, |condition| format!(" WHERE ({condition})"));
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {} EXCLUDE USING gist ({}, {} WITH &&){condition}",
            self.table,
            quote_identifier(self.name),
            equal.join(", "),
            quote_identifier(self.range)
        )
    }

    /// The trigger, which fires for replicated rows too as a constraint would, and an index for its look.
    fn trigger(&self) -> [String; 3] {
        let quoted: Vec<String> = self.keys().map(quote_identifier).collect();
        let arguments: Vec<String> = [self.range, self.condition.unwrap_or_default()]
            .into_iter()
            .chain(self.keys())
            .map(quote_literal)
            .collect();
        let trigger = quote_identifier(format!("write_{}_{}", self.bare, self.purpose()));
        let index = quote_identifier(format!("idx_{}_{}", self.bare, self.purpose()));
        let table = &self.table;
        [
            format!("CREATE INDEX {index} ON {table} ({})", quoted.join(", ")),
            format!(
                "CREATE TRIGGER {trigger} AFTER INSERT OR UPDATE ON {table}
                 FOR EACH ROW EXECUTE FUNCTION {}.check_no_overlap({})",
                extension_schema(),
                arguments.join(", ")
            ),
            format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"),
        ]
    }

    /// Rows that overlap already.
    fn overlapping(&self) -> String {
        let condition = self.condition.map_or_else(String::new, |condition| format!(" WHERE ({condition})"));
        let rows = format!("(SELECT *, ctid AS place FROM {}{condition})", self.table);
        let equal: Vec<String> = self.keys().map(|column| format!("a.{0} = b.{0}", quote_identifier(column))).collect();
        let range = quote_identifier(self.range);
        format!(
            "SELECT 1 FROM {rows} a JOIN {rows} b ON {} AND a.{range} && b.{range} AND a.place <> b.place LIMIT 1",
            equal.join(" AND ")
        )
    }
}
