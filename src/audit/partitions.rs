//! The partitions of `audit.change_log`: one for each month, made a year ahead, so that the default partition stays empty.
//!
//! | lock | for what | who waits |
//! |---|---|---|
//! | the log, SHARE UPDATE EXCLUSIVE | one session at a time makes partitions | no reader, no writer |
//! | the default partition, ACCESS EXCLUSIVE | rows in it may belong to the new ones | who writes into it, who reads all months |
//!
//! Who waits to write into the default partition chooses again (`change_log`).

use crate::access::invalidation::{self, Relation};
use crate::audit::error::AuditError;
use crate::audit::maintain::{Step, settings, unless_busy};
use crate::domain::seal::Month;
use crate::pg::cursor::FreshSnapshot;
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::identity::{self, ActingAs};
use crate::pg::sql::{self, column, query, query_one};
use crate::protect::table::{Table, qualified_name};
use crate::protect::{commands, registry};
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};

const LOG: &str = "audit.change_log";
const DEFAULT: &str = "audit.change_log_default";
/// Months beside the current one.
const AHEAD: i32 = 12;
const CREATE: &str = "create";

/// What the partitions of `$1` hold: rows (oid, since, until), NULL for no bound.
const BOUNDS: &str = r"
    SELECT p.oid, substring(p.bound FROM 'FROM \(''([^'']+)''\)')::timestamptz AS since,
           substring(p.bound FROM 'TO \(''([^'']+)''\)')::timestamptz AS until
      FROM (SELECT c.oid, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = $1) p(oid, bound)
     WHERE p.bound <> 'DEFAULT'";

/// A partition that holds one month.
pub struct Partition {
    pub oid: pg_sys::Oid,
    /// Qualified and quoted.
    pub name: String,
    pub month: Month,
}

/// A month of which no partition holds any part.
struct Missing {
    month: Month,
    /// What the partition is to be called.
    name: String,
    /// Another table is called so: a partition that somebody detached.
    is_taken: bool,
    /// How many rows of the default partition belong to it.
    rows: i64,
}

pub fn log() -> Relation {
    invalidation::named("audit", "change_log").unwrap_or_else(|| AuditError::NoLog.raise())
}

/// The partitions of whole months that ended at least `period` ago.
pub fn older_than(log: &Relation, period: &str) -> Vec<Partition> {
    let older = format!(
        "SELECT b.oid, to_char(b.since, 'YYYY-MM-DD') FROM ({BOUNDS}) b
          WHERE b.since = date_trunc('month', b.since) AND b.until = b.since + interval '1 month'
            AND b.until <= now() - $2::interval
          ORDER BY b.since"
    );
    query(&older, &[log.oid.into(), period.into()], |row| Partition {
        oid: column(row, 1),
        name: qualified_name(column(row, 1)),
        month: month(row, 2),
    })
}

fn month(row: &pgrx::spi::SpiHeapTupleData, i: usize) -> Month {
    let text: String = column(row, i);
    text.parse().unwrap_or_else(|_| pgrx::error!("{text} is not the first day of a month"))
}

/// The task of `thorbis.maintain()`.
pub fn maintain(dry_run: bool) -> Vec<Step> {
    let log = log();
    // A task before this one may have waited for somebody who does the same.
    let _snapshot = FreshSnapshot::take();
    let default = default_partition(&log);
    let missing = missing(&log, default);
    if dry_run {
        let first = default.is_none().then(|| Step::new(DEFAULT, CREATE, 1));
        return first.into_iter().chain(missing.iter().flat_map(steps)).collect();
    }
    if default.is_some() && missing.iter().all(|missing| missing.is_taken) {
        return missing.iter().flat_map(steps).collect();
    }
    unless_busy(LOG, missing.len(), || create(&log))
}

/// For the migration that makes the log. Returns how many partitions were made.
#[pg_extern(sql = false)]
fn create_audit_partitions() -> i64 {
    let _settings = settings();
    create(&log()).iter().filter(|step| step.action == CREATE).map(|step| step.count).sum()
}

fn steps(missing: &Missing) -> Vec<Step> {
    let step = |action: &str, count| Step::new(&missing.name, action, count);
    if missing.is_taken {
        return vec![step("name is taken by another table", missing.rows)];
    }
    let moved = (missing.rows > 0).then(|| step("move rows", missing.rows));
    std::iter::once(step(CREATE, 1)).chain(moved).collect()
}

/// Makes what is missing, with the protection of the log.
fn create(log: &Relation) -> Vec<Step> {
    identity::lock_relation(log.oid, pg_sys::ShareUpdateExclusiveLock);
    let _identity = ActingAs::owner(log.owner);
    let mut done = Vec::new();
    let default = default_partition(log).unwrap_or_else(|| {
        sql::run(&format!("CREATE TABLE {DEFAULT} PARTITION OF {LOG} DEFAULT"), &[]);
        sql::run(&format!("COMMENT ON TABLE {DEFAULT} IS 'Changes of months without a partition of their own'"), &[]);
        done.push(Step::new(DEFAULT, CREATE, 1));
        default_partition(log).unwrap_or_else(|| AuditError::NoLog.raise())
    });
    identity::lock_relation(default, pg_sys::AccessExclusiveLock);
    // With a transaction id every query takes a snapshot of its own: what follows sees what the locks waited for.
    sql::run("SELECT 1", &[]);
    let table = Table::read(log.oid).or_raise();
    for missing in missing(log, Some(default)) {
        if !missing.is_taken {
            attach(&table, default, &missing);
        }
        done.extend(steps(&missing));
    }
    if let Some(entry) = registry::find(log.oid) {
        commands::apply(&table, &entry, Some(&entry));
    }
    done
}

/// Made beside the log and filled, so that attaching it is all that others could notice.
fn attach(table: &Table, default: pg_sys::Oid, missing: &Missing) {
    let (name, month) = (&missing.name, missing.month.to_string());
    let [since, until] = [missing.month, missing.month.next()].map(|m| quote_literal(format!("{m} 00:00:00+00")));
    let about = quote_literal(format!("Changes of {}, UTC", month.trim_end_matches("-01")));
    sql::run(&format!("CREATE TABLE {name} (LIKE {LOG} INCLUDING ALL)"), &[]);
    sql::run(&format!("COMMENT ON TABLE {name} IS {about}"), &[]);
    if missing.rows > 0 {
        let columns: Vec<String> = table.columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let (columns, default) = (columns.join(", "), qualified_name(default));
        sql::run(
            &format!(
                "WITH moved AS (DELETE FROM ONLY {default} WHERE occurred_at >= {since} AND occurred_at < {until} RETURNING {columns})
                 INSERT INTO {name} ({columns}) SELECT {columns} FROM moved"
            ),
            &[],
        );
    }
    sql::run(&format!("ALTER TABLE {LOG} ATTACH PARTITION {name} FOR VALUES FROM ({since}) TO ({until})"), &[]);
}

fn default_partition(log: &Relation) -> Option<pg_sys::Oid> {
    query_one(
        "SELECT partdefid FROM pg_partitioned_table WHERE partrelid = $1 AND partdefid <> 0",
        &[log.oid.into()],
        |row| column(row, 1),
    )
}

/// The months from the current one on, and those of the rows in the default partition.
fn missing(log: &Relation, default: Option<pg_sys::Oid>) -> Vec<Missing> {
    let strays = default.map_or(String::new(), |default| {
        format!(
            "UNION ALL SELECT date_trunc('month', occurred_at), count(*) FROM ONLY {} WHERE isfinite(occurred_at) GROUP BY 1",
            qualified_name(default)
        )
    });
    let missing = format!(
        "SELECT to_char(w.month, 'YYYY-MM-DD'), n.name, to_regclass(n.name) IS NOT NULL, sum(w.rows)::int8
           FROM (SELECT m, 0::int8 FROM generate_series(date_trunc('month', now()),
                                                        date_trunc('month', now()) + make_interval(months => {AHEAD}),
                                                        interval '1 month') m
                 {strays}) w(month, rows),
                LATERAL (SELECT '{LOG}_' || to_char(w.month, 'YYYY_MM')) n(name)
          WHERE NOT EXISTS (SELECT 1 FROM ({BOUNDS}) b
                             WHERE coalesce(b.since < w.month + interval '1 month', true)
                               AND coalesce(b.until > w.month, true))
          GROUP BY w.month, n.name ORDER BY w.month"
    );
    let _identity = ActingAs::owner(log.owner);
    query(&missing, &[log.oid.into()], |row| Missing {
        month: month(row, 1),
        name: column(row, 2),
        is_taken: column(row, 3),
        rows: column(row, 4),
    })
}
