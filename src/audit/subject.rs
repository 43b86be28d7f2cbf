//! Whose data a row is: under whose key its personal values are logged.

use crate::access::invalidation;
use crate::domain::audit_spec::{AuditStep, AuditSubject};
use crate::pg::cell::BackendCell;
use crate::pg::fresh::{self, Arg};
use crate::pg::index_lookup;
use crate::pg::slot::Slot;
use crate::pg::trigger::{ColumnType, Trigger};
use crate::pg::uuid::from_datum;
use crate::pii::data_keys::{self, DataKey};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CString;
use std::rc::Rc;
use uuid::Uuid;

/// The way from a row to the person it is about.
pub struct SubjectPath {
    kind: String,
    column: i32,
    steps: Vec<Step>,
}

/// A table on the way, by its primary key of tenant and id.
struct Step {
    table: pg_sys::Oid,
    primary_key: pg_sys::Oid,
    tenant: i16,
    id: i16,
    /// What leads on.
    column: i32,
}

impl SubjectPath {
    /// None where the way leads nowhere: then the tenant's key takes the place of the person's.
    pub fn of(trigger: &Trigger, subject: AuditSubject) -> Option<SubjectPath> {
        let column = trigger.column_if(&subject.column, ColumnType::Uuid)?;
        let steps = subject.through.iter().map(Step::of).collect::<Option<Vec<_>>>()?;
        Some(SubjectPath { kind: subject.kind, column, steps })
    }

    /// The tables on the way.
    pub fn relations(&self) -> impl Iterator<Item = pg_sys::Oid> {
        self.steps.iter().map(|step| step.table)
    }

    /// Kind and id of the person that a row is about, None when it is about nobody.
    pub fn person(&self, tenant: Uuid, row: Slot) -> Option<(&str, Uuid)> {
        // SAFETY: `of` checked that the column is a uuid.
        let first = row.value(self.column).map(|datum| unsafe { from_datum(datum) })?;
        let person = self.steps.iter().try_fold(first, |id, step| step.follow(tenant, id))?;
        Some((&self.kind, person))
    }
}

const GONE: &str = "
SELECT 1 FROM gdpr.erasures e WHERE e.tenant_id = $1 AND e.subject_id = $2 AND e.subject_kind = $3
UNION ALL SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM shared.tenants t WHERE t.id = $1)";

/// The key for values that a row about the person had. None when the person was erased, or the tenant is: what was left in
/// the row must not come to stand in the log under a new key.
pub fn key_of_past(tenant: Uuid, kind: &str, person: Uuid) -> Option<Rc<DataKey>> {
    data_keys::existing(tenant, kind, person).or_else(|| {
        let mut gone = false;
        if let Some(erasures) = invalidation::named("gdpr", "erasures") {
            let arguments = [Arg::Uuid(tenant), Arg::Uuid(person), Arg::Text(kind)];
            fresh::read(erasures.owner, erasures.oid, GONE, &arguments, |_| gone = true);
        }
        (!gone).then(|| data_keys::of_subject(tenant, kind, person))
    })
}

impl Step {
    fn of(step: &AuditStep) -> Option<Step> {
        let table = invalidation::named(&step.schema, &step.table)?.oid;
        let attribute = |name: &str| {
            let name = CString::new(name).ok()?;
            // SAFETY: catalog look-ups; an unknown name gives 0.
            let number = unsafe { pg_sys::get_attnum(table, name.as_ptr()) };
            // SAFETY: as above.
            let is_uuid = number > 0 && unsafe { pg_sys::get_atttype(table, number) } == pg_sys::UUIDOID;
            is_uuid.then_some(number)
        };
        let (primary_key, columns) = primary_key(table)?;
        let [tenant, id] = columns.try_into().ok()?;
        let is_uuid = |number: i16| {
            // SAFETY: a catalog look-up.
            unsafe { pg_sys::get_atttype(table, number) == pg_sys::UUIDOID }
        };
        let column = attribute(&step.column)?.into();
        let is_key = attribute(&step.tenant) == Some(tenant) && is_uuid(id);
        is_key.then_some(Step { table, primary_key, tenant, id, column })
    }

    fn follow(&self, tenant: Uuid, id: Uuid) -> Option<Uuid> {
        let keys = [(self.tenant, tenant), (self.id, id)];
        // The outer option: whether there is the row. A cascade deletes it before what hangs on it.
        let read = |row: &index_lookup::FoundRow| Some(row.optional_uuid(self.column));
        index_lookup::find(self.table, self.primary_key, &keys, read)
            .or_else(|| index_lookup::find_deleted(self.table, self.primary_key, &keys, read))
            .flatten()
    }
}

/// The primary key's index and its columns, of an ordinary table: a partitioned index cannot be scanned.
fn primary_key(table: pg_sys::Oid) -> Option<(pg_sys::Oid, Vec<i16>)> {
    // SAFETY: opened and closed here.
    unsafe {
        if pg_sys::get_rel_relkind(table) as u8 != pg_sys::RELKIND_RELATION {
            return None;
        }
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as _);
        let found = index_lookup::primary_key(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as _);
        found
    }
}

static ERASING: BackendCell<Cell<bool>> = BackendCell::new(Cell::new(false));

/// While it lives, personal values are logged as "erased": what an erasure empties must not come to stand in the log under a
/// new key.
pub struct Erasing(());

impl Erasing {
    pub fn begin() -> Erasing {
        ERASING.set(true);
        Erasing(())
    }

    pub fn is_on() -> bool {
        ERASING.get()
    }
}

impl Drop for Erasing {
    fn drop(&mut self) {
        ERASING.set(false);
    }
}
