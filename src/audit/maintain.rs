//! `thorbis.maintain()`: what a database needs done now and then. One function a task.

use crate::audit::error::AuditError;
use crate::audit::{partitions, retention};
use crate::billing::upkeep;
use crate::deploy::engine;
use crate::deploy::error::DeployError;
use crate::ledgers::expire;
use crate::outbox::cleanup;
use crate::pg::error::{SqlError, required};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::subtransaction::attempt;
use crate::pg::{identity, raw};
use pgrx::prelude::*;

/// One thing done, or to be done.
pub struct Step {
    pub object: String,
    pub action: String,
    pub count: i64,
}

impl Step {
    pub fn new(object: impl Into<String>, action: impl Into<String>, count: i64) -> Step {
        Step { object: object.into(), action: action.into(), count }
    }
}

type Task = fn(bool) -> Vec<Step>;

/// Each returns what it did, or with `dry_run` what it would do. In this order, because locks are held until the
/// transaction ends: what keeps more people waiting comes later.
const TASKS: &[(&str, Task)] = &[
    ("seals", retention::seal_first),
    ("outbox", cleanup::outbox),
    ("requests", cleanup::requests),
    ("reservations", expire::reservations),
    ("points", expire::lots),
    ("invoices", upkeep::mark_overdue),
    ("partitions", partitions::maintain),
    ("retention", retention::apply),
];

/// Rows (task, object, action, count).
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn maintain(
    dry_run: Option<bool>,
) -> TableIterator<'static, (name!(task, String), name!(object, String), name!(action, String), name!(count, i64))> {
    let dry_run = required("dry_run", dry_run);
    let _settings = begin("thorbis.maintain()", dry_run);
    let mut done = Vec::new();
    for (task, run) in TASKS {
        done.extend(run(dry_run).into_iter().map(|step| ((*task).to_owned(), step.object, step.action, step.count)));
    }
    TableIterator::new(done)
}

/// Raises unless the caller operates all tenants and the transaction can see what it waits for. Months begin and end in
/// UTC for as long as the scope lives.
pub fn begin(function: &'static str, dry_run: bool) -> SettingsScope {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function }.raise();
    }
    crate::deploy::require_installed();
    if !dry_run && raw::one_snapshot_per_transaction() {
        AuditError::Isolation { what: function }.raise();
    }
    settings()
}

pub fn settings() -> SettingsScope {
    let scope = engine::settings();
    for (name, value) in [("timezone", "UTC"), ("datestyle", "ISO"), ("intervalstyle", "postgres")] {
        scope.set(name, value);
    }
    scope
}

/// Runs `body`, or says that somebody else holds a lock for too long: then nothing of it was done.
pub fn unless_busy(object: &str, things: usize, body: impl FnOnce() -> Vec<Step>) -> Vec<Step> {
    let busy = [PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED];
    attempt(&busy, body).unwrap_or_else(|| vec![Step::new(object, "busy, next time", things as i64)])
}
