//! `check_status_transition(document [, status_column])` and `record_status_change(document [, status_column])`: one engine
//! for the status of every document, with its rules in `shared.state_transitions`.
//!
//! The columns that transitions set tell when something happened, and nobody but the transition writes them: what else a
//! statement gives them is put back. Imports (superusers and the platform acting for no user) and our own code, which acts as
//! the owner of the table, may write them, and need no permission.

use crate::access::functions::require;
use crate::access::invalidation::{self, Relation};
use crate::context::current;
use crate::documents::error::StatusError;
use crate::documents::guard::{self, Image};
use crate::documents::reason;
use crate::documents::transitions::{NOTHING, Transition, Transitions};
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::trigger::{ColumnType, Firing, Trigger, TriggerRow};
use crate::pg::{identity, raw};
use crate::v1_function;
use pgrx::pg_sys;

const RECORD: &str = "
INSERT INTO shared.status_history (tenant_id, document, document_id, from_status, to_status, actor_id, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Maintained by another trigger in every UPDATE.
const UPDATED_AT: &str = "updated_at";

v1_function!(
    /// BEFORE INSERT OR UPDATE FOR EACH ROW on a table with `tenant_id` and a text column of the status.
    thorbis_check_status_transition, pg_finfo_thorbis_check_status_transition, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let change = Change::of(&trigger);
        // This runs before the policies: a row for another tenant is theirs to refuse, and nothing is said about it.
        if trigger.is_delete() || is_foreign(&trigger) {
            return if trigger.is_delete() { pg_sys::Datum::from(trigger.old().as_ptr()) } else { trigger.unchanged() };
        }
        let Some(change) = change else { return keep_times(&trigger) };
        change.check(&trigger)
    })
});

v1_function!(
    /// AFTER INSERT OR UPDATE FOR EACH ROW on a table with `tenant_id` and `id`.
    thorbis_record_status_change, pg_finfo_thorbis_record_status_change, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        if let Some(change) = Change::of(&trigger).filter(|_| !trigger.is_delete()) {
            change.record(&trigger);
        }
        pg_sys::Datum::from(0)
    })
});

/// A status that differs from the one before.
struct Change {
    document: String,
    from: String,
    to: String,
}

impl Change {
    /// None when the status stays as it is.
    fn of(trigger: &Trigger) -> Option<Change> {
        let arguments = trigger.arguments();
        let Some(document) = arguments.first() else {
            StatusError::NoArgument { table: trigger.table_name() }.raise();
        };
        let column = trigger.required_column(arguments.get(1).unwrap_or(&"status"), ColumnType::Text);
        let status = |row: TriggerRow| {
            let value = trigger.value(row, column);
            // SAFETY: the column is of type text.
            value.map_or_else(String::new, |value| unsafe { crate::pg::function::with_text(value, str::to_owned) })
        };
        let from = if trigger.is_update() { status(trigger.old()) } else { NOTHING.into() };
        let to = status(trigger.new_row());
        (from != to).then(|| Change { document: (*document).to_owned(), from, to })
    }

    /// The new row, or an error.
    fn check(self, trigger: &Trigger) -> pg_sys::Datum {
        let transitions = Transitions::open();
        let trusted = is_trusted(trigger);
        let Some(transition) = transitions.find(&self.document, &self.from, &self.to) else {
            // An import brings documents as they are.
            if trusted && self.from == NOTHING && transitions.of(&self.document).iter().any(|t| t.to == self.to) {
                return trigger.unchanged();
            }
            self.refuse(transitions);
        };
        if !trusted {
            match &transition.permission {
                Some((resource, action)) => require(resource, action),
                None => {
                    let Change { document, from, to } = self;
                    StatusError::NotByHand { document, from, to }.raise()
                }
            }
        }
        let others = if trusted { Vec::new() } else { transitions.of(&self.document) };
        let row = self.stamped(trigger, &transition, &others, trusted);
        if let Some(guard) = &transition.guard {
            self.ask(trigger, guard, row);
        }
        row
    }

    fn refuse(self, transitions: Transitions) -> ! {
        let Change { document, from, to } = self;
        let allowed: Vec<String> = transitions.from(&document, &from).into_iter().map(|t| t.to).collect();
        if allowed.is_empty() && transitions.of(&document).is_empty() {
            StatusError::UnknownDocument { document }.raise();
        }
        if from == NOTHING {
            StatusError::NoBeginning { document, to, allowed }.raise();
        }
        StatusError::NoTransition { document, from, to, allowed }.raise()
    }

    /// The new row with the time of the transition, and the other times as they were.
    fn stamped(
        &self,
        trigger: &Trigger,
        transition: &Transition,
        others: &[Transition],
        trusted: bool,
    ) -> pg_sys::Datum {
        let mut changes = times_kept(trigger, others);
        if let Some(name) = &transition.sets_column {
            let column = trigger.required_column(name, ColumnType::Timestamptz);
            changes.retain(|(kept, _)| *kept != column);
            let given = trigger.value(trigger.new_row(), column);
            let before = trigger.is_update().then(|| trigger.value(trigger.old(), column)).flatten();
            let imported = trusted && given.is_some() && given.map(|d| d.value()) != before.map(|d| d.value());
            if !imported {
                // SAFETY: reads the state of the transaction.
                changes.push((
                    column,
                    Some(pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })),
                ));
            }
        }
        if changes.is_empty() { trigger.unchanged() } else { trigger.with_values(&changes) }
    }

    fn ask(&self, trigger: &Trigger, guard: &str, new: pg_sys::Datum) {
        // SAFETY: both rows have the relation's descriptor; the copies live as long as the trigger's memory.
        let image = |row: pg_sys::HeapTuple| unsafe {
            Image::Row { of: trigger.row_type(), value: pg_sys::heap_copy_tuple_as_datum(row, trigger.descriptor()) }
        };
        let old = if trigger.is_update() { image(trigger.old().as_ptr()) } else { Image::Nothing };
        if let Some(reason) = guard::objection(trigger.relation(), guard, old, image(new.cast_mut_ptr())) {
            let (document, from, to) = (self.document.clone(), self.from.clone(), self.to.clone());
            StatusError::Guarded { document, from, to, reason }.raise();
        }
    }

    fn record(self, trigger: &Trigger) {
        let row = trigger.new_row();
        trigger.required_column("id", ColumnType::Uuid);
        let (Some(tenant), Some(id)) = (trigger.tenant(row), trigger.uuid(row, "id")) else { return };
        let found = invalidation::named("shared", "status_history");
        let Some(Relation { owner, .. }) = found else { StatusError::NotInstalled.raise() };
        let context = current::get();
        let actor = context.user.filter(|_| context.tenant == Some(tenant));
        let reason = reason::current();
        let reason = reason.as_deref().map_or(Arg::Value(pg_sys::TEXTOID, None), Arg::Text);
        fresh::write(
            owner,
            RECORD,
            &[
                Arg::Uuid(tenant),
                Arg::Text(&self.document),
                Arg::Uuid(id),
                Arg::Text(&self.from),
                Arg::Text(&self.to),
                Arg::optional_uuid(actor),
                reason,
            ],
        );
    }
}

/// Jobs and imports act for no user; as the owner of the table only our own code acts.
pub fn is_trusted(trigger: &Trigger) -> bool {
    is_engine(trigger) || identity::operates_all_tenants() && current::get().user.is_none()
}

/// Our own code, and the cascades of foreign keys, act as the owner of the table.
pub fn is_engine(trigger: &Trigger) -> bool {
    let owner = trigger.owner();
    // SAFETY: a look-up in the role cache.
    raw::user_ids().1 == owner && !unsafe { pg_sys::superuser_arg(owner) }
}

/// A row that the caller tries to write for another tenant.
pub fn is_foreign(trigger: &Trigger) -> bool {
    let tenant = trigger.tenant(trigger.new_row());
    tenant.is_some() && current::get().tenant != tenant && !is_trusted(trigger) && !identity::operates_all_tenants()
}

/// The row of an UPDATE that leaves the status alone: only a transition writes the times of transitions.
fn keep_times(trigger: &Trigger) -> pg_sys::Datum {
    if !changes_a_time(trigger) || is_trusted(trigger) {
        return trigger.unchanged();
    }
    let document = trigger.arguments().first().copied().unwrap_or_default();
    let changes = times_kept(trigger, &Transitions::open().of(document));
    if changes.is_empty() { trigger.unchanged() } else { trigger.with_values(&changes) }
}

/// The columns that transitions set, as they were; NULL in a new row, where they may be.
fn times_kept(trigger: &Trigger, transitions: &[Transition]) -> Vec<(i32, Option<pg_sys::Datum>)> {
    let mut names: Vec<&String> = transitions.iter().filter_map(|t| t.sets_column.as_ref()).collect();
    names.sort();
    names.dedup();
    let columns = names.into_iter().filter_map(|name| trigger.column(name, ColumnType::Timestamptz));
    let before = |column| if trigger.is_update() { trigger.value(trigger.old(), column) } else { None };
    let raw_value = |value: Option<pg_sys::Datum>| value.map(|datum| datum.value());
    columns
        .map(|column| (column, before(column)))
        .filter(|(column, before)| raw_value(trigger.value(trigger.new_row(), *column)) != raw_value(*before))
        .filter(|(column, before)| before.is_some() || !is_not_null(trigger, *column))
        .collect()
}

fn is_not_null(trigger: &Trigger, column: i32) -> bool {
    attributes(trigger).iter().any(|a| i32::from(a.attnum) == column && a.attnotnull)
}

/// Whether some column of a time differs, but for the one that another trigger maintains.
fn changes_a_time(trigger: &Trigger) -> bool {
    let value = |row, number: i16| trigger.value(row, number.into()).map(|datum| datum.value());
    attributes(trigger)
        .iter()
        .filter(|a| !a.attisdropped && a.atttypid == pg_sys::TIMESTAMPTZOID && a.name() != UPDATED_AT)
        .any(|a| value(trigger.old(), a.attnum) != value(trigger.new_row(), a.attnum))
}

fn attributes<'a>(trigger: &Trigger<'a>) -> pgrx::PgTupleDesc<'a> {
    // SAFETY: the relation is open while its trigger runs.
    unsafe { pgrx::PgTupleDesc::from_pg_unchecked(trigger.descriptor()) }
}
