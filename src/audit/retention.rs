//! How long the log is kept: `thorbis.audit_retention`, and `audit.apply_retention()`, which drops what is older.
//!
//! A month goes as a whole or not at all, never while a tenant with rows in it is under a legal hold, and only when all of
//! it is sealed. What stays of it is a tombstone among the seals: how many rows there were, and the root over their seals.

use crate::access::invalidation::{self, Relation};
use crate::audit::maintain::{Step, begin, unless_busy};
use crate::audit::partitions::{self, Partition};
use crate::audit::seal::{self, Chain};
use crate::audit::verify;
use crate::pg::cursor::FreshSnapshot;
use crate::pg::error::required;
use crate::pg::function::guarded;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{self, column, query, query_one};
use pgrx::datum::DatumWithOid;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use std::ffi::{CString, c_char, c_void};

/// For how long at most everybody who writes waits: dropping a partition locks the whole log.
const LONGEST_WAIT: &str = "1s";

static RETENTION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

pub fn init() {
    // SAFETY: called once per backend from _PG_init; the hook is guarded.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"thorbis.audit_retention",
            c"How long changes are kept in audit.change_log, such as '10 years'. Empty: for ever.",
            c"Whole months that are older are dropped by audit.apply_retention() and thorbis.maintain().",
            &RETENTION,
            GucContext::Suset,
            GucFlags::default(),
            Some(check),
            None,
            None,
        );
    }
}

/// Accepts an interval of a day or more, or an empty text.
unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a valid pointer to a terminated text or null.
    guarded(|| unsafe {
        let text = *value;
        if text.is_null() || *text == 0 {
            return true;
        }
        let parse = || {
            let (none, any) = (pg_sys::Datum::from(pg_sys::InvalidOid), pg_sys::Datum::from(-1));
            let arguments = [Some(pg_sys::Datum::from(text)), Some(none), Some(any)];
            pgrx::direct_function_call_as_datum(pg_sys::interval_in, &arguments)
        };
        // Parsing reads no table: there is nothing to clean up after an error.
        let parsed = PgTryBuilder::new(std::panic::AssertUnwindSafe(parse)).catch_others(|_| None).execute();
        let is_good = parsed.is_some_and(|datum| {
            let pg_sys::Interval { time, day, month } = *datum.cast_mut_ptr::<pg_sys::Interval>();
            time >= 0 && day >= 0 && month >= 0 && (day > 0 || month > 0)
        });
        if !is_good {
            let hint = c"An interval of a day or more, such as '10 years', or '' to keep the log for ever.";
            pg_sys::GUC_check_errhint_string = pg_sys::pstrdup(hint.as_ptr());
        }
        is_good
    })
}

/// Nothing is dropped when there is none.
fn period() -> Option<String> {
    RETENTION.get().map(|text| text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

/// Rows (task, object, action, count) of `audit.apply_retention()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn apply_audit_retention(
    dry_run: Option<bool>,
) -> TableIterator<'static, (name!(task, String), name!(object, String), name!(action, String), name!(count, i64))> {
    let dry_run = required("dry_run", dry_run);
    let _settings = begin("audit.apply_retention()", dry_run);
    if period().is_none() {
        notice!("thorbis.audit_retention is not set: the log is kept for ever");
    }
    TableIterator::new(apply(dry_run).into_iter().map(|s| ("retention".to_owned(), s.object, s.action, s.count)))
}

/// The first task of `thorbis.maintain()`: rows that are not sealed cannot be dropped.
pub fn seal_first(dry_run: bool) -> Vec<Step> {
    let step = |rows| (rows > 0).then(|| Step::new("audit.change_log", "seal rows", rows)).into_iter().collect();
    if dry_run {
        let _identity = ActingAs::owner(partitions::log().owner);
        let unsealed = seal::unsealed(&seal::sealed(), None);
        return step(count(&format!("SELECT count(*) FROM audit.change_log c WHERE {unsealed}"), &[]));
    }
    unless_busy("audit.seals", 1, || step(seal::seal().iter().map(|seal| seal.row_count).sum()))
}

/// The last task of `thorbis.maintain()`.
pub fn apply(dry_run: bool) -> Vec<Step> {
    let Some(period) = period() else { return Vec::new() };
    let log = partitions::log();
    let due = partitions::older_than(&log, &period);
    if due.is_empty() {
        return Vec::new();
    }
    if dry_run {
        let held = held_tenants(None);
        return due.iter().map(|month| judge(&log, month, &held, true).step(month)).collect();
    }
    unless_busy("audit.change_log", due.len(), || {
        seal::seal();
        drop_months(&log, &period)
    })
}

/// What becomes of a month.
enum Verdict {
    /// The number of its rows.
    Drop(i64),
    /// Why not, and of how much that is true.
    Keep(&'static str, i64),
}

impl Verdict {
    fn step(&self, month: &Partition) -> Step {
        match self {
            Verdict::Drop(rows) => Step::new(&month.name, "drop", *rows),
            Verdict::Keep(why, count) => Step::new(&month.name, format!("keep: {why}"), *count),
        }
    }
}

fn drop_months(log: &Relation, period: &str) -> Vec<Step> {
    identity::lock_relation(log.oid, pg_sys::ShareUpdateExclusiveLock);
    // Until this is done no hold is placed, and no row comes to these months.
    let held = held_tenants(Some(pg_sys::ShareLock));
    let due = {
        // Somebody else may have dropped them.
        let _snapshot = FreshSnapshot::take();
        partitions::older_than(log, period)
    };
    due.iter().for_each(|month| identity::lock_relation(month.oid, pg_sys::ShareLock));
    // Sees what the locks waited for.
    let mut chain = Chain::lock();
    let verdicts: Vec<Verdict> = due.iter().map(|month| judge(log, month, &held, false)).collect();
    let mut dropped = Vec::new();
    for (month, verdict) in due.iter().zip(&verdicts) {
        if let Verdict::Drop(rows) = verdict {
            chain.add_tombstone(month.month, *rows);
            dropped.push(month.name.as_str());
        }
    }
    if !dropped.is_empty() {
        drop_tables(log, &dropped.join(", "));
    }
    due.iter().zip(&verdicts).map(|(month, verdict)| verdict.step(month)).collect()
}

fn drop_tables(log: &Relation, names: &str) {
    let scope = SettingsScope::pinned_path();
    let longer = "SELECT 1 WHERE current_setting('lock_timeout')::interval > $1::interval";
    if sql::exists(longer, &[LONGEST_WAIT.into()]) {
        scope.set("lock_timeout", LONGEST_WAIT);
    }
    let _identity = ActingAs::owner(log.owner);
    sql::run(&format!("DROP TABLE {names}"), &[]);
}

/// `sealing`: what is not sealed yet will be.
fn judge(log: &Relation, month: &Partition, held: &[pgrx::Uuid], sealing: bool) -> Verdict {
    let _identity = ActingAs::owner(log.owner);
    let name = &month.name;
    let tenants =
        format!("SELECT count(*) FROM unnest($1) h(id) WHERE EXISTS (SELECT 1 FROM {name} c WHERE c.tenant_id = h.id)");
    let tenants = count(&tenants, &[held.to_vec().into()]);
    if tenants > 0 {
        return Verdict::Keep("legal hold of tenants", tenants);
    }
    let is_unsealed = seal::unsealed(&seal::sealed(), None);
    let rows = format!("SELECT count(*), count(*) FILTER (WHERE {is_unsealed}) FROM {name} c");
    let rows = query_one(&rows, &[], |row| (column::<i64>(row, 1), column::<i64>(row, 2)));
    let (rows, unsealed) = rows.unwrap_or_default();
    // A month whose rows came back from a backup has a tombstone already.
    let sealed = "SELECT coalesce(sum(s.row_count), 0)::int8 FROM audit.seals s
                   WHERE s.month = $1::date AND s.kind = 'rows'
                     AND s.number > (SELECT coalesce(max(t.number), 0) FROM audit.seals t
                                      WHERE t.month = $1::date AND t.kind = 'tombstone')";
    let sealed = count(sealed, &[month.month.to_string().into()]);
    match (rows - unsealed - sealed).abs() {
        0 if unsealed > 0 && !sealing => Verdict::Keep("rows not sealed yet", unsealed),
        0 => match verify::findings_of(month.month) {
            0 => Verdict::Drop(rows),
            wrong => Verdict::Keep("audit.verify() finds something", wrong as i64),
        },
        // Somebody took rows away or added some: what shows it stays for them to look at.
        different => Verdict::Keep("not the rows that were sealed", different),
    }
}

fn count(sql: &str, arguments: &[DatumWithOid]) -> i64 {
    query_one(sql, arguments, |row| column(row, 1)).unwrap_or_default()
}

/// The tenants with a legal hold of any kind, theirs or one person's. With a lock nobody gets another one until the
/// transaction ends. Modules that are not installed hold nothing.
fn held_tenants(lock: Option<u32>) -> Vec<pgrx::Uuid> {
    const HOLDS: [(&str, &str, &str); 2] = [
        ("shared", "tenants", "SELECT t.id FROM shared.tenants t WHERE t.legal_hold"),
        ("gdpr", "legal_holds", "SELECT h.tenant_id FROM gdpr.legal_holds h WHERE h.released_at IS NULL"),
    ];
    let mut held = Vec::new();
    for (schema, name, tenants) in HOLDS {
        let Some(relation) = invalidation::named(schema, name) else { continue };
        lock.into_iter().for_each(|lock| identity::lock_relation(relation.oid, lock));
        let _snapshot = FreshSnapshot::take();
        let _identity = ActingAs::owner(relation.owner);
        held.extend(query(tenants, &[], |row| column::<pgrx::Uuid>(row, 1)));
    }
    held.sort();
    held.dedup();
    held
}
