//! `audit_row_changes()` and `audit_truncate()`: what `thorbis.protect()` attaches, ENABLE ALWAYS, to every table.

use crate::audit::change_log::{self, Change};
use crate::audit::image::{self, Image};
use crate::audit::layout::{self, Column, Layout};
use crate::domain::jsonb::{self, Value};
use crate::pg::function::{bytes_datum, guarded, written};
use crate::pg::sql;
use crate::pg::stored;
use crate::pg::trigger::{Firing, Trigger};
use crate::pg::uuid::from_datum;
use crate::protect::table::{as_owner, qualified_name};
use crate::v1_function;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use std::collections::BTreeMap;
use uuid::Uuid;

v1_function!(
    /// AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW. Argument: an `AuditSpec`.
    thorbis_audit_row_changes, pg_finfo_thorbis_audit_row_changes, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        log(&trigger, &layout::of(&trigger));
        pg_sys::Datum::from(0)
    })
});

v1_function!(
    /// BEFORE TRUNCATE: how many rows each tenant loses. Argument: an `AuditSpec`.
    thorbis_audit_truncate, pg_finfo_thorbis_audit_truncate, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::Any) };
        log_truncation(&trigger);
        pg_sys::Datum::from(0)
    })
});

fn log(trigger: &Trigger, layout: &Layout) {
    if trigger.is_update() {
        return log_update(trigger, layout);
    }
    let row = if trigger.is_insert() { trigger.new_slot() } else { trigger.old_slot() };
    // NOT NULL, by thorbis.protect(); whoever took that away has rows that are nobody's.
    let tenant = tenant(row.value(layout.tenant));
    let row_key = image::row_key(layout, row);
    let (operation, old, new) = if trigger.is_insert() {
        ("INSERT", None, Some(Image::after(layout, row, tenant, &row_key).whole()))
    } else {
        ("DELETE", Some(Image::before(layout, row, tenant, &row_key).whole()), None)
    };
    change_log::write(&Change {
        tenant,
        table: &layout.table,
        operation,
        row_key: &row_key,
        new_row_key: None,
        old,
        new,
    });
}

/// The columns that differ, as they were and as they are. A row that got another tenant leaves the one and comes to the other.
fn log_update(trigger: &Trigger, layout: &Layout) {
    let (old, new) = (trigger.old_slot(), trigger.new_slot());
    let changed: Vec<&Column> =
        // SAFETY: both rows are of the layout's table.
        layout.columns.iter().filter(|c| unsafe { stored::differ(c.by_value, c.length, old.value(c.number), new.value(c.number)) }).collect();
    let (from, to) = (tenant(old.value(layout.tenant)), tenant(new.value(layout.tenant)));
    let moved = from != to;
    if changed.is_empty() && !moved {
        return;
    }
    let key = image::row_key(layout, old);
    let is_key = |c: &&Column| layout.key.iter().any(|(number, _)| *number == c.number);
    let new_key = changed.iter().any(is_key).then(|| image::row_key(layout, new));
    let key_now = new_key.as_deref().unwrap_or(&key);
    let (before, after) = (Image::before(layout, old, from, &key), Image::after(layout, new, to, key_now));
    let table = &layout.table;
    if moved {
        let (operation, old) = ("DELETE", Some(before.whole()));
        change_log::write(&Change { tenant: from, table, operation, row_key: &key, new_row_key: None, old, new: None });
        let (operation, new) = ("INSERT", Some(after.whole()));
        change_log::write(&Change {
            tenant: to,
            table,
            operation,
            row_key: key_now,
            new_row_key: None,
            old: None,
            new,
        });
        return;
    }
    change_log::write(&Change {
        tenant: from,
        table,
        operation: "UPDATE",
        row_key: &key,
        new_row_key: new_key.as_deref(),
        old: Some(before.some(changed.iter().copied())),
        new: Some(after.some(changed.iter().copied())),
    });
}

fn tenant(datum: Option<pg_sys::Datum>) -> Uuid {
    // SAFETY: the layout checked that the column is a uuid.
    datum.map_or(Uuid::nil(), |datum| unsafe { from_datum(datum) })
}

/// Each relation tells of its own rows: the partitions of a table have triggers of their own.
fn log_truncation(trigger: &Trigger) {
    let spec = layout::spec(trigger);
    let count = format!(
        "SELECT coalesce(jsonb_object_agg(tenant, rows), '{{}}')
           FROM (SELECT {0}, count(*) FROM ONLY {1} WHERE {0} IS NOT NULL GROUP BY {0}) lost(tenant, rows)",
        quote_identifier(&spec.tenant),
        qualified_name(trigger.relation())
    );
    // TRUNCATE takes rows that the transaction's snapshot does not see too; no more can come, since it holds its lock.
    // SAFETY: popped below, or by the abort of the transaction; `sql::jsonb` reads under it and gives jsonb.
    let lost = unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let lost = written(as_owner(trigger.relation(), || sql::jsonb(&count, &[])), pg_sys::JSONBOID);
        pg_sys::PopActiveSnapshot();
        lost
    };
    let lost: BTreeMap<String, i64> = serde_json::from_str(&lost).expect("numbers by tenant");
    // The log takes the number of the transaction, which TRUNCATE may not have yet.
    // SAFETY: assigns one.
    unsafe { pg_sys::GetTopFullTransactionId() };
    for (tenant, rows) in lost {
        let tenant = tenant.parse().expect("a uuid");
        let counted = jsonb::object(&[(b"rows", Value::Integer(rows))]).expect("a small object");
        // As bytea it has the same header.
        let old = Some(bytes_datum(&counted[4..]));
        let (table, operation) = (&spec.table, "TRUNCATE");
        change_log::write(&Change { tenant, table, operation, row_key: "", new_row_key: None, old, new: None });
    }
}
