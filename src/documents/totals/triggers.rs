//! `keep_document_totals(json)` on the document and `refresh_document_totals(json)` on its lines.
//!
//! The document is locked before its lines are read, and documents in the order of their keys; then it is known whether it
//! is still in the state in which lines may change, whoever waited. Amounts are written as the
//! owner of the tables; whatever anybody else writes into their columns is replaced.

use crate::access::invalidation::{self, Relation, Watched};
use crate::documents::status::{is_engine, is_foreign};
use crate::documents::totals::error::TotalsError;
use crate::documents::totals::statements::Statements;
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::stored;
use crate::pg::trigger::{ColumnType, Firing, Trigger};
use crate::protect::table::as_owner;
use crate::totals::calculate_datum;
use crate::v1_function;
use pgrx::{PgMemoryContexts, pg_sys};
use std::cell::Cell;
use uuid::Uuid;

/// $1 is the tenant.
const SETTINGS: &str = "
SELECT jsonb_build_object('currency', t.currency, 'minor_unit', t.minor_unit, 'rounding', t.rounding_mode,
                          'tax_rounding_level', t.tax_rounding_level)::text
  FROM shared.tenants t WHERE t.id = $1";

/// How many triggers were running, one in another, when the engine began to write amounts. Those that its own statements
/// fire run one deeper. What somebody else's trigger writes then fires deeper still, and is looked at as anything else.
static WRITING: BackendCell<Cell<Option<i32>>> = BackendCell::new(Cell::new(None));

struct Writing(Option<i32>);

impl Writing {
    fn begin() -> Writing {
        Writing(WRITING.replace(Some(trigger_depth())))
    }

    /// Whether a statement of the engine fired the trigger that is running.
    fn fired_this() -> bool {
        WRITING.get().is_some_and(|depth| trigger_depth() == depth + 1)
    }
}

fn trigger_depth() -> i32 {
    // SAFETY: a function without arguments that reads a static variable.
    unsafe { pgrx::direct_function_call(pg_sys::pg_trigger_depth, &[]) }.unwrap_or_default()
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(self.0);
    }
}

/// What `calculate_order_total` made of a document.
pub struct Outcome {
    pub result: pg_sys::Datum,
    digest: pg_sys::Datum,
}

v1_function!(
    /// BEFORE INSERT OR UPDATE FOR EACH ROW on the document.
    thorbis_keep_document_totals, pg_finfo_thorbis_keep_document_totals, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        if trigger.is_delete() {
            return pg_sys::Datum::from(trigger.old().as_ptr());
        }
        let row = trigger.new_row();
        let (Some(tenant), Some(id)) = (trigger.uuid(row, "tenant_id"), trigger.uuid(row, "id")) else {
            trigger.required_column("tenant_id", ColumnType::Uuid);
            trigger.required_column("id", ColumnType::Uuid);
            return trigger.unchanged();
        };
        // This runs before the policies: a row for another tenant is theirs to refuse.
        if Writing::fired_this() || is_foreign(&trigger) {
            return trigger.unchanged();
        }
        let statements = Statements::of(&trigger);
        if trigger.is_update() && !differ(&trigger, statements.spec.document_input_columns()) {
            return as_before(&trigger, statements);
        }
        let row = Arg::Value(trigger.row_type(), Some(trigger.row_datum(row)));
        let settings = settings(tenant);
        let outcome = calculate(statements, &statements.input_of_row, &[row, Arg::Text(&settings)]);
        if let Some(outcome) = outcome.as_ref().filter(|_| trigger.is_update()) {
            write_lines(statements, tenant, id, outcome);
        }
        outcome.map_or_else(|| trigger.unchanged(), |outcome| with_amounts(&trigger, statements, &outcome))
    })
});

v1_function!(
    /// AFTER INSERT, UPDATE or DELETE FOR EACH STATEMENT on the lines, with transition tables.
    thorbis_refresh_document_totals, pg_finfo_thorbis_refresh_document_totals, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::Any) };
        let transition = trigger.transition_data();
        if !Writing::fired_this() {
            let statements = Statements::of(&trigger);
            let changed = match () {
                () if trigger.is_insert() => &statements.inserted,
                () if trigger.is_delete() => &statements.deleted,
                () => &statements.updated,
            };
            let mut documents = Vec::new();
            as_owner(statements.lines(), || {
                changed.run(&[], Some(transition), |row| documents.extend(row.uuid(1).zip(row.uuid(2))));
            });
            let bound = !is_engine(&trigger);
            for (tenant, document) in documents {
                with_own_memory(|| refresh(statements, tenant, document, bound));
            }
        }
        pg_sys::Datum::from(0)
    })
});

/// Inputs and results of one document are gone before the next: a statement may change the lines of thousands.
pub fn with_own_memory<R>(body: impl FnOnce() -> R) -> R {
    let mut memory = PgMemoryContexts::new("thorbis_db totals of a document");
    // SAFETY: what `body` returns is Rust's own; the memory before is the current one again, and this one deleted.
    unsafe { memory.switch_to(|_| body()) }
}

/// Makes the amounts of a stored document anew; one that is gone has none. `bound` by the state in which lines may change.
fn refresh(statements: &Statements, tenant: Uuid, document: Uuid, bound: bool) {
    let key = [Arg::Uuid(tenant), Arg::Uuid(document)];
    let mut open = None;
    as_owner(statements.document(), || statements.lock.run(&key, None, |row| open = row.boolean(1)));
    let Some(open) = open else { return };
    if bound && !open {
        let (document, rule) = (statements.spec.document.clone(), statements.spec.rule());
        TotalsError::Closed { document, rule }.raise();
    }
    if let Some(outcome) = outcome(statements, tenant, document) {
        write_document(statements, tenant, document, &outcome);
        // Last: what somebody else's trigger on the lines changes then is made right after this, not overwritten by it.
        write_lines(statements, tenant, document, &outcome);
    }
}

/// What the amounts of a stored document should be.
pub fn outcome(statements: &Statements, tenant: Uuid, document: Uuid) -> Option<Outcome> {
    let settings = settings(tenant);
    let arguments = [Arg::Uuid(tenant), Arg::Uuid(document), Arg::Text(&settings)];
    calculate(statements, &statements.input, &arguments)
}

fn calculate(statements: &Statements, input: &crate::pg::made::Made, arguments: &[Arg]) -> Option<Outcome> {
    let mut made = None;
    as_owner(statements.document(), || {
        input.run(arguments, None, |row| made = row.transfer(1).zip(row.transfer(2)));
    });
    // SAFETY: the query's first column is a jsonb.
    made.map(|(input, digest)| Outcome { result: unsafe { calculate_datum(input) }, digest })
}

fn settings(tenant: Uuid) -> String {
    let mut settings = None;
    if let Some(Relation { oid, owner }) = invalidation::relation(Watched::Tenants) {
        fresh::read(owner, oid, SETTINGS, &[Arg::Uuid(tenant)], |row| settings = row.text(1));
    }
    settings.unwrap_or_else(|| "{}".into())
}

fn write_document(statements: &Statements, tenant: Uuid, document: Uuid, outcome: &Outcome) {
    let _writing = Writing::begin();
    let result = Arg::Value(pg_sys::JSONBOID, Some(outcome.result));
    let digest = Arg::Value(pg_sys::BYTEAOID, Some(outcome.digest));
    as_owner(statements.document(), || {
        statements.write_document.run(&[Arg::Uuid(tenant), Arg::Uuid(document), result, digest], None, |_| ());
    });
}

fn write_lines(statements: &Statements, tenant: Uuid, document: Uuid, outcome: &Outcome) {
    let _writing = Writing::begin();
    let key = [Arg::Uuid(tenant), Arg::Uuid(document)];
    let result = Arg::Value(pg_sys::JSONBOID, Some(outcome.result));
    as_owner(statements.lines(), || {
        if let Some(write) = &statements.write_lines {
            write.run(&[key[0], key[1], result], None, |_| ());
        }
        if let Some(clear) = &statements.clear_skipped {
            clear.run(&key, None, |_| ());
        }
    });
}

/// The new row with its amounts.
fn with_amounts(trigger: &Trigger, statements: &Statements, outcome: &Outcome) -> pg_sys::Datum {
    let columns: Vec<i32> = statements.spec.document_output_columns().map(|name| trigger.any_column(name).0).collect();
    let result = Arg::Value(pg_sys::JSONBOID, Some(outcome.result));
    let digest = Arg::Value(pg_sys::BYTEAOID, Some(outcome.digest));
    let mut changes = Vec::new();
    as_owner(statements.document(), || {
        statements.values.run(&[result, digest], None, |row| {
            check_places(trigger, &columns, &row.text(1).unwrap_or_default());
            changes.extend(columns.iter().enumerate().map(|(i, column)| (*column, row.transfer(i as i32 + 2))));
        });
    });
    trigger.with_values(&changes)
}

/// A value set here is not rounded to what its column holds.
fn check_places(trigger: &Trigger, columns: &[i32], total: &str) {
    let places = total.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    // SAFETY: the relation is open while its trigger runs.
    let attributes = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(trigger.descriptor()) };
    let narrow = attributes.iter().find(|a| {
        let scale = (a.atttypmod - pg_sys::VARHDRSZ as i32) & 0x7ff;
        let is_amount = columns.contains(&a.attnum.into()) && a.atttypid == pg_sys::NUMERICOID;
        is_amount && a.atttypmod >= 0 && (scale as usize) < places
    });
    if let Some(narrow) = narrow {
        let (table, column) = (trigger.table_name(), narrow.name().to_owned());
        TotalsError::Places { table, column, places }.raise();
    }
}

/// The row of an UPDATE that changes no input: its amounts stay.
fn as_before(trigger: &Trigger, statements: &Statements) -> pg_sys::Datum {
    if !differ(trigger, statements.spec.document_output_columns()) {
        return trigger.unchanged();
    }
    let columns = statements.spec.document_output_columns().map(|name| trigger.any_column(name).0);
    let changes: Vec<_> = columns.map(|column| (column, trigger.value(trigger.old(), column))).collect();
    trigger.with_values(&changes)
}

/// Whether the old and the new row differ in one of the columns.
fn differ<'a>(trigger: &Trigger, mut columns: impl Iterator<Item = &'a String>) -> bool {
    columns.any(|name| {
        let (column, of) = trigger.any_column(name);
        let (mut length, mut by_value) = (0, false);
        // SAFETY: both values are of the column's type.
        unsafe {
            pg_sys::get_typlenbyval(of, &mut length, &mut by_value);
            let (old, new) = (trigger.value(trigger.old(), column), trigger.value(trigger.new_row(), column));
            stored::differ(by_value, length, old, new)
        }
    })
}
