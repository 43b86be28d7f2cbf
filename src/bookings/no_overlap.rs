//! `check_no_overlap(range, condition, column, ...)`: what an exclusion constraint promises, kept by a trigger.
//!
//! Two transactions must not both look and find nothing: each first takes a lock that stands for the values of the
//! columns, and then looks at what is committed by now, whatever its isolation level. A row that another transaction is
//! deleting still counts, where a constraint would wait for that transaction.

use crate::bookings::error::BookingError;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::private_lock::{self, Key, Space};
use crate::pg::trigger::{Firing, Trigger, TriggerError, TriggerRow};
use crate::pg::uuid::from_datum;
use crate::protect::table::qualified_name;
use crate::v1_function;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;

v1_function!(
    /// AFTER INSERT OR UPDATE FOR EACH ROW: generated columns have their values by then.
    thorbis_check_no_overlap, pg_finfo_thorbis_check_no_overlap, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        let arguments = trigger.arguments();
        let [range, condition, keys @ ..] = arguments.as_slice() else {
            TriggerError::Arguments { table: trigger.table_name() }.raise()
        };
        if trigger.is_delete() || keys.is_empty() {
            TriggerError::Arguments { table: trigger.table_name() }.raise();
        }
        check(&trigger, range, condition, keys);
        trigger.unchanged()
    })
});

fn check(trigger: &Trigger, range: &str, condition: &str, keys: &[&str]) {
    let columns: Vec<&str> = keys.iter().chain([&range]).copied().collect();
    let Some(values) = values(trigger, trigger.new_row(), &columns) else { return };
    let condition = if condition.is_empty() { "true" } else { condition };
    // SAFETY: the tuple is one of the table, with the place where it was stored.
    let place = unsafe { &raw mut (*trigger.new_row().as_ptr()).t_self };
    let place = Arg::Value(pg_sys::TIDOID, Some(pg_sys::Datum::from(place)));
    let table = qualified_name(trigger.relation());
    let exists = |query: &str, args: &[Arg]| {
        let mut found = false;
        fresh::read_once(trigger.owner(), trigger.relation(), query, args, |_| found = true);
        found
    };
    let bound = format!("SELECT 1 FROM ONLY {table} WHERE ctid OPERATOR(pg_catalog.=) $1 AND ({condition})");
    if !exists(&bound, &[place]) {
        return;
    }
    lock(trigger, keys);
    let mut query = format!("SELECT 1 FROM ONLY {table} WHERE ctid OPERATOR(pg_catalog.<>) $1 AND ({condition})");
    for (i, column) in columns.iter().enumerate() {
        let operator = if i + 1 < columns.len() { "=" } else { "&&" };
        query.push_str(&format!(" AND {} OPERATOR(pg_catalog.{operator}) ${}", quote_identifier(column), i + 2));
    }
    query.push_str(" LIMIT 1");
    let args: Vec<Arg> = std::iter::once(place).chain(values).collect();
    if exists(&query, &args) {
        BookingError::Overlap { table: trigger.table_name(), range: range.to_owned() }.raise();
    }
}

/// The row's values of the columns; None where one is NULL, since NULL equals and overlaps nothing.
fn values<'a>(trigger: &Trigger, row: TriggerRow, columns: &[&str]) -> Option<Vec<Arg<'a>>> {
    let value = |column: &&str| {
        let (number, of) = trigger.any_column(column);
        trigger.value(row, number).map(|value| Arg::Value(of, Some(value)))
    };
    columns.iter().map(value).collect()
}

/// Locks what the new row has in the columns, and what the old one had: whoever takes the place it leaves waits.
fn lock(trigger: &Trigger, keys: &[&str]) {
    let mut tags: Vec<u64> = vec![tag(trigger, trigger.new_row(), keys)];
    if trigger.is_update() {
        tags.push(tag(trigger, trigger.old(), keys));
    }
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        private_lock::hold(Space::Ranges, tag);
    }
}

/// Stands for the values in this table. Two that have the same by chance only wait for each other, and so do rows that
/// differ in columns of other types: what is equal there need not be stored alike.
fn tag(trigger: &Trigger, row: TriggerRow, keys: &[&str]) -> u64 {
    let key = keys.iter().fold(Key::default().integer(u32::from(trigger.relation()).into()), |tag, key| {
        let (number, of) = trigger.any_column(key);
        match (trigger.value(row, number), of) {
            // SAFETY: the value is of the column's type.
            (Some(value), pg_sys::UUIDOID) => tag.uuid(unsafe { from_datum(value) }),
            (Some(value), pg_sys::INT4OID | pg_sys::INT8OID) => tag.integer(value.value() as u64),
            _ => tag,
        }
    });
    key.hash()
}
