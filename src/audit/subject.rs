//! Whose data a row is: under whose key its personal values are logged.

use crate::access::invalidation;
use crate::domain::audit_spec::{AuditStep, AuditSubject};
use crate::pg::cell::BackendCell;
use crate::pg::fresh::{self, Arg};
use crate::pg::index_lookup::{self, PrimaryKey};
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

/// Whose a row is.
pub enum Person<'a> {
    /// Kind and id.
    Known(&'a str, Uuid),
    /// The way ends at a NULL.
    Nobody,
    /// A row on the way is not there.
    Unknown,
}

/// A table on the way, by its primary key of tenant and id.
struct Step {
    table: pg_sys::Oid,
    primary_key: pg_sys::Oid,
    /// Its columns in the index's order, and which of the two is the tenant.
    keys: [i16; 2],
    tenant: i16,
    /// What leads on.
    column: i32,
}

impl SubjectPath {
    /// None where the way leads nowhere: a table was renamed, or is partitioned.
    pub fn of(trigger: &Trigger, subject: AuditSubject) -> Option<SubjectPath> {
        let column = trigger.column_if(&subject.column, ColumnType::Uuid)?;
        let steps = subject.through.iter().map(Step::of).collect::<Option<Vec<_>>>()?;
        Some(SubjectPath { kind: subject.kind, column, steps })
    }

    /// The tables on the way.
    pub fn relations(&self) -> impl Iterator<Item = pg_sys::Oid> {
        self.steps.iter().map(|step| step.table)
    }

    /// Whom a row is about.
    pub fn person(&self, tenant: Uuid, row: Slot) -> Person<'_> {
        // SAFETY: `of` checked that the column is a uuid.
        let Some(mut id) = row.value(self.column).map(|datum| unsafe { from_datum(datum) }) else {
            return Person::Nobody;
        };
        for step in &self.steps {
            id = match step.follow(tenant, id) {
                Some(Some(next)) => next,
                Some(None) => return Person::Nobody,
                None => return Person::Unknown,
            };
        }
        Person::Known(&self.kind, id)
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
        let key = primary_key(table).filter(|key| !key.is_deferrable)?;
        let keys: [i16; 2] = key.columns.try_into().ok()?;
        let tenant = attribute(&step.tenant)?;
        let id = keys.into_iter().find(|number| *number != tenant).filter(|_| keys.contains(&tenant))?;
        let is_uuid = |number: i16| {
            // SAFETY: a catalog look-up.
            unsafe { pg_sys::get_atttype(table, number) == pg_sys::UUIDOID }
        };
        let column = attribute(&step.column)?.into();
        is_uuid(id).then_some(Step { table, primary_key: key.index, keys, tenant, column })
    }

    /// What the row there says. Whether there is one, and whether that leads on.
    fn follow(&self, tenant: Uuid, id: Uuid) -> Option<Option<Uuid>> {
        let keys = self.keys.map(|number| (number, if number == self.tenant { tenant } else { id }));
        let read = |row: &index_lookup::FoundRow| Some(row.optional_uuid(self.column));
        // A cascade deletes it before what hangs on it.
        index_lookup::find(self.table, self.primary_key, &keys, read)
            .or_else(|| index_lookup::find_deleted(self.table, self.primary_key, &keys, read))
    }
}

/// The primary key's index and its columns, of an ordinary table: a partitioned index cannot be scanned.
fn primary_key(table: pg_sys::Oid) -> Option<PrimaryKey> {
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
pub struct Erasing {
    before: bool,
}

impl Erasing {
    pub fn begin() -> Erasing {
        Erasing { before: ERASING.replace(true) }
    }

    pub fn is_on() -> bool {
        ERASING.get()
    }
}

impl Drop for Erasing {
    fn drop(&mut self) {
        ERASING.set(self.before);
    }
}
