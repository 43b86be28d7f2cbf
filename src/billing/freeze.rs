//! `keep_issued()` and `keep_lines_of_issued()`: what was issued stays as it is, for everybody but the engine.
//!
//! The engine acts as the owner of the tables; nobody logs in as that role. An erasure does so too, and that is how the
//! name of a payer can be emptied on an invoice that is frozen. The hash of the chain does not cover it.

use crate::billing::error::BillingError;
use crate::context::current;
use crate::documents::series;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::{guarded, text_datum};
use crate::pg::trigger::{ColumnType, Firing, Trigger, TriggerRow};
use crate::pg::{identity, raw};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

/// Columns that other triggers maintain.
const MAINTAINED: [&str; 2] = ["updated_at", "updated_by"];

v1_function!(
    /// BEFORE INSERT OR UPDATE OR DELETE FOR EACH ROW. Arguments: the status in which a row may still be changed, empty
    /// when there is none, then the columns that the engine writes.
    thorbis_keep_issued, pg_finfo_thorbis_keep_issued, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        if is_engine(&trigger) {
            return trigger.unchanged();
        }
        let arguments = trigger.arguments();
        let (open, engine) = arguments.split_first().map_or(("", &[][..]), |(open, engine)| (*open, engine));
        if trigger.is_insert() {
            return begin(&trigger, open, engine);
        }
        let is_open = !open.is_empty() && trigger.text(trigger.old(), "status").as_deref() == Some(open);
        if !is_open {
            if !changes_nothing(&trigger) {
                BillingError::Issued { table: trigger.table_name() }.raise();
            }
        } else if trigger.is_update() {
            let written = |name: &String| name == "status" || engine.contains(&name.as_str());
            if let Some(column) = trigger.changed_columns().into_iter().find(written) {
                BillingError::Engine { table: trigger.table_name(), column }.raise();
            }
        }
        trigger.unchanged()
    })
});

/// An UPDATE that leaves everything as it is, but for what other triggers maintain.
fn changes_nothing(trigger: &Trigger) -> bool {
    trigger.is_update() && trigger.changed_columns().iter().all(|changed| MAINTAINED.contains(&changed.as_str()))
}

/// A new row begins open, with nothing in the columns of the engine.
fn begin(trigger: &Trigger, open: &str, engine: &[&str]) -> pg_sys::Datum {
    let row = trigger.new_row();
    if !is_for_caller(trigger, row) {
        return trigger.unchanged();
    }
    if trigger.text(row, "status").as_deref() != Some(open) {
        BillingError::Begins { table: trigger.table_name(), open: open.to_owned() }.raise();
    }
    let cleared: Vec<_> = engine
        .iter()
        .map(|name| {
            let (number, of) = trigger.any_column(name);
            // Amounts are never NULL, everything else is until the engine writes it.
            (number, (of == pg_sys::NUMERICOID).then(zero))
        })
        .collect();
    trigger.with_values(&cleared)
}

/// 0.00
fn zero() -> pg_sys::Datum {
    let [number, places] = [0i64, 2].map(|value| Some(pg_sys::Datum::from(value)));
    // SAFETY: int8 to numeric; numeric and int4 to numeric.
    unsafe {
        let number = pgrx::direct_function_call_as_datum(pg_sys::int8_numeric, &[number]);
        pgrx::direct_function_call_as_datum(pg_sys::numeric_round, &[number, places]).expect("a number is a number")
    }
}

const STATUS: &str = "
SELECT i.status FROM shared.invoices i
 WHERE i.tenant_id OPERATOR(pg_catalog.=) $1 AND i.id OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE";

v1_function!(
    /// BEFORE UPDATE OR DELETE FOR EACH ROW on shared.invoice_lines. Locks the invoice: whoever issues it waits, and whoever
    /// waited sees that it was issued. New lines are for the trigger of the totals to refuse, which locks the invoices of
    /// all of them in one order.
    thorbis_keep_lines_of_issued, pg_finfo_thorbis_keep_lines_of_issued, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        if is_engine(&trigger) || changes_nothing(&trigger) {
            return trigger.unchanged();
        }
        let new = (!trigger.is_delete()).then(|| trigger.new_row());
        let rows = std::iter::once(trigger.old()).chain(new);
        let mut parents: Vec<(Uuid, Uuid)> = rows.filter_map(|row| parent(&trigger, row)).collect();
        parents.sort_unstable();
        parents.dedup();
        for (tenant, invoice) in parents {
            let mut status = None;
            let arguments = [Arg::Uuid(tenant), Arg::Uuid(invoice)];
            fresh::write_returning(trigger.owner(), STATUS, &arguments, |row| status = row.text(1));
            // Of an invoice that is not there the foreign key tells.
            if status.is_some_and(|status| status != "draft") {
                BillingError::IssuedLines.raise();
            }
        }
        trigger.unchanged()
    })
});

fn parent(trigger: &Trigger, row: TriggerRow) -> Option<(Uuid, Uuid)> {
    let tenant = trigger.uuid(row, "tenant_id").filter(|_| is_for_caller(trigger, row))?;
    Some((tenant, trigger.uuid(row, "invoice_id")?))
}

const DEFAULTS: &str = "
SELECT t.currency::pg_catalog.text, t.rounding_mode, t.tax_rounding_level FROM shared.tenants t
 WHERE t.id OPERATOR(pg_catalog.=) $1";

v1_function!(
    /// BEFORE INSERT FOR EACH ROW: currency, and where the table has them rounding_mode and tax_rounding_level, are the
    /// tenant's unless given, and tax_date is the business date. The time zone of the session decides nothing.
    thorbis_set_currency_defaults, pg_finfo_thorbis_set_currency_defaults, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let row = trigger.new_row();
        let Some(tenant) = trigger.uuid(row, "tenant_id").filter(|_| is_for_caller(&trigger, row)) else {
            return trigger.unchanged();
        };
        let tenants = crate::access::invalidation::relation(crate::access::invalidation::Watched::Tenants);
        let Some(tenants) = tenants else { return trigger.unchanged() };
        let mut defaults = [None, None, None];
        fresh::read(tenants.owner, tenants.oid, DEFAULTS, &[Arg::Uuid(tenant)], |found| {
            defaults = [found.text(1), found.text(2), found.text(3)];
        });
        let mut changes = Vec::new();
        if let (true, Some(currency)) = (trigger.is_null(row, "currency"), &defaults[0]) {
            let (number, of) = trigger.any_column("currency");
            if of != pg_sys::BPCHAROID {
                trigger.required_column("currency", ColumnType::Text);
            }
            changes.push((number, Some(text_datum(currency))));
        }
        for (name, value) in [("rounding_mode", &defaults[1]), ("tax_rounding_level", &defaults[2])] {
            if let (Some(number), Some(value)) = (trigger.column(name, ColumnType::Text), value)
                && trigger.is_null(row, name)
            {
                changes.push((number, Some(text_datum(value))));
            }
        }
        if let Some(number) = trigger.column("tax_date", ColumnType::Date)
            && trigger.is_null(row, "tax_date")
        {
            let location = trigger.column("location_id", ColumnType::Uuid).and_then(|_| trigger.uuid(row, "location_id"));
            changes.push((number, Some(pg_sys::Datum::from(series::today(tenant, location)))));
        }
        if changes.is_empty() { trigger.unchanged() } else { trigger.with_values(&changes) }
    })
});

/// Only our own code, and the cascades of foreign keys, act as the owner.
fn is_engine(trigger: &Trigger) -> bool {
    raw::user_ids().1 == trigger.owner()
}

/// These run before the policies: a row of another tenant is theirs to refuse, and nothing is looked up for it.
fn is_for_caller(trigger: &Trigger, row: TriggerRow) -> bool {
    is_engine(trigger)
        || identity::operates_all_tenants()
        || trigger.uuid(row, "tenant_id").is_some_and(|tenant| current::get().tenant == Some(tenant))
}
