//! `assign_document_number(column [, series [, gap_free [, when [, value ...]]]])`: the number of a document, when none is given.
//!
//! A trigger with a WHEN clause sees only the rows that it is for, and a number may be there before. One that fires for every
//! INSERT and UPDATE, and is told by `when` which of them have a number, sees each that is given by hand.
//!
//! A sequence would be one for all tenants: it shows how much business the others do, and every rollback leaves a gap.
//! How the number looks and what is counted together is in `shared.number_series`; without a row there, each tenant counts
//! from 1. An integer column gets the number alone, a text column what stands before it as well.

use crate::context::current;
use crate::documents::counter::Counter;
use crate::documents::error::NumberError;
use crate::documents::series::Definition;
use crate::documents::status::is_trusted;
use crate::domain::numbering;
use crate::pg::error::SqlError;
use crate::pg::function::{guarded, text_datum, with_text};
use crate::pg::index_lookup::{Key, is_taken};
use crate::pg::sql;
use crate::pg::trigger::{ColumnType, Firing, Trigger};
use crate::pg::{identity, settings_scope::SettingsScope};
use crate::protect::table::qualified_name;
use crate::v1_function;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use std::ffi::CStr;
use uuid::Uuid;

/// So many numbers in a row may have been given by hand.
const MOST_TAKEN: usize = 100_000;
/// Numbers given by hand that are stepped over at once.
const STRETCH: i64 = 9_999;

v1_function!(
    /// BEFORE INSERT OR UPDATE FOR EACH ROW on a table with `tenant_id` and an integer or text column.
    thorbis_assign_document_number, pg_finfo_thorbis_assign_document_number, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        if trigger.is_delete() {
            return pg_sys::Datum::from(trigger.old().as_ptr());
        }
        let arguments = trigger.arguments();
        let column = arguments.first().copied().unwrap_or("number");
        let (attribute, of) = trigger.any_column(column);
        if of != pg_sys::INT4OID && of != pg_sys::TEXTOID {
            trigger.refuse_type(column, "integer or text");
        }
        // Without a tenant the NOT NULL constraint reports it.
        let Some(tenant) = trigger.uuid(trigger.new_row(), "tenant_id") else { return trigger.unchanged() };
        // This runs before the policies: a row for another tenant is theirs to refuse, and must not count there.
        let trusted = is_trusted(&trigger);
        if current::get().tenant != Some(tenant) && !trusted && !identity::operates_all_tenants() {
            return trigger.unchanged();
        }
        let of_table = || format!("{}.{column}", qualified_name(trigger.relation()));
        let location = trigger.column_if("location_id", ColumnType::Uuid);
        let place = Place {
            tenant,
            series: arguments.get(1).map_or_else(of_table, |series| (*series).to_owned()),
            location: location.and_then(|_| trigger.uuid(trigger.new_row(), "location_id")),
        };
        let column = Column { trigger: &trigger, name: column, attribute, tenant };
        let given = column.given();
        let is_due = arguments.get(3).is_none_or(|when| is_any_of(&trigger, when, &arguments[4..]));
        if matches!(given, Given::AsBefore) || matches!(given, Given::Nothing) && !is_due {
            return trigger.unchanged();
        }
        let numbers = Numbers::of(&place, of == pg_sys::TEXTOID, arguments.get(2) == Some(&"true"), None);
        if numbers.gap_free && !trusted && !matches!(given, Given::Nothing) {
            let (table, column) = (trigger.table_name(), column.name.to_owned());
            NumberError::Given { table, column }.raise();
        }
        match given {
            Given::Nothing | Given::Null if is_due => {
                trigger.with_value(attribute, column.assign(&numbers, &place.series))
            }
            Given::Number(Some(number)) if !numbers.gap_free && !trusted => {
                numbers.counter.follow(number, || column.first(&numbers));
                trigger.unchanged()
            }
            _ => trigger.unchanged(),
        }
    })
});

/// The next number of a series without gaps, for our own code, as its last step: others of the tenant who need one wait until
/// this transaction ends. `on` is the date it counts for, in days since 2000-01-01; None is the business date of now.
pub fn next(tenant: Uuid, series: &str, location: Option<Uuid>, on: Option<i32>) -> String {
    let place = Place { tenant, series: series.to_owned(), location };
    let numbers = Numbers::of(&place, true, true, on);
    numbers.written(numbers.counter.next_without_gaps(|| 1))
}

/// Whether the column has one of these values, as they are written; without values, whether it has any.
fn is_any_of(trigger: &Trigger, column: &str, values: &[&str]) -> bool {
    let (attribute, of) = trigger.any_column(column);
    let Some(value) = trigger.value(trigger.new_row(), attribute) else { return false };
    let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
    // SAFETY: the column's type and its value; the text is palloc'd and terminated.
    let written = unsafe {
        pg_sys::getTypeOutputInfo(of, &mut output, &mut varlena);
        CStr::from_ptr(pg_sys::OidOutputFunctionCall(output, value)).to_string_lossy()
    };
    values.is_empty() || values.iter().any(|value| *value == written)
}

/// Where a document is numbered.
struct Place {
    tenant: Uuid,
    series: String,
    location: Option<Uuid>,
}

/// How it is numbered there.
struct Numbers {
    counter: Counter,
    before: String,
    digits: usize,
    gap_free: bool,
    /// The tenant counts as a whole and for ever.
    is_plain: bool,
}

impl Numbers {
    /// In a text column what stands before the number tells what is counted together, whatever the location; in an integer
    /// column, where it is not to be seen, location and period do.
    fn of(place: &Place, is_text: bool, gap_free: bool, on: Option<i32>) -> Numbers {
        let Place { tenant, series, location } = place;
        let definition = Definition::of(*tenant, series, *location);
        let period = definition.period(*tenant, *location, on);
        let of_location = location.filter(|_| definition.of_location);
        let is_plain = of_location.is_none() && period.is_empty();
        let before = numbering::before_number(&definition.prefix, &period);
        let (location, scope) =
            if is_text { (Uuid::nil(), before.clone()) } else { (of_location.unwrap_or_default(), period) };
        let counter = Counter { tenant: *tenant, series: series.clone(), location, scope };
        Numbers { counter, before, digits: definition.digits, gap_free: gap_free || definition.gap_free, is_plain }
    }

    fn written(&self, number: i64) -> String {
        numbering::written(&self.before, number, self.digits)
    }
}

/// What the statement gives the column.
enum Given {
    Nothing,
    /// Nothing, where a number was.
    Null,
    /// An UPDATE that leaves the number as it is.
    AsBefore,
    /// Something of its own; None where the column is text.
    Number(Option<i64>),
}

struct Column<'a> {
    trigger: &'a Trigger<'a>,
    name: &'a str,
    attribute: i32,
    tenant: Uuid,
}

impl Column<'_> {
    fn is_text(&self) -> bool {
        self.trigger.any_column(self.name).1 == pg_sys::TEXTOID
    }

    fn given(&self) -> Given {
        let value = |row| self.trigger.value(row, self.attribute);
        let before = if self.trigger.is_update() { value(self.trigger.old()) } else { None };
        let Some(given) = value(self.trigger.new_row()) else {
            return if before.is_some() { Given::Null } else { Given::Nothing };
        };
        if !self.is_text() {
            let same = before.is_some_and(|before| before.value() as i32 == given.value() as i32);
            return if same { Given::AsBefore } else { Given::Number(Some(i64::from(given.value() as i32))) };
        }
        // SAFETY: the column is of type text.
        let same = before.is_some_and(|before| unsafe { with_text(before, |a| with_text(given, |b| a == b)) });
        if same { Given::AsBefore } else { Given::Number(None) }
    }

    /// The next number that no row has.
    fn assign(&self, numbers: &Numbers, series: &str) -> pg_sys::Datum {
        let tenant_column = self.trigger.required_column("tenant_id", ColumnType::Uuid);
        let index = self.trigger.unique_index(&[tenant_column, self.attribute]);
        let exhausted = || NumberError::Exhausted { series: series.to_owned() }.raise();
        for _ in 0..MOST_TAKEN {
            let number = match numbers.gap_free {
                true => numbers.counter.next_without_gaps(|| self.first(numbers)),
                false => numbers.counter.next(|| self.first(numbers)),
            };
            let text = self.is_text().then(|| numbers.written(number));
            let (key, value) = match &text {
                Some(text) => (Key::Text(text), text_datum(text)),
                None => {
                    let number = i32::try_from(number).unwrap_or_else(|_| exhausted());
                    (Key::Integer(number), pg_sys::Datum::from(number))
                }
            };
            let keys = [(tenant_column as i16, Key::Uuid(self.tenant)), (self.attribute as i16, key)];
            if !index.is_some_and(|index| is_taken(self.trigger.relation(), index, &keys)) {
                return value;
            }
            if !self.is_text() {
                self.step_over(numbers, number);
            }
        }
        NumberError::Busy { series: series.to_owned() }.raise()
    }

    /// The rest of a stretch that was given by hand, such as by an import.
    fn step_over(&self, numbers: &Numbers, taken: i64) {
        let last = self.highest(taken, taken + STRETCH);
        match last {
            Some(last) if numbers.gap_free => numbers.counter.follow_without_gaps(last),
            Some(last) => numbers.counter.follow(last, || taken),
            None => {}
        }
    }

    /// Where nothing was counted yet: after what is there, as when a table got its trigger later. A number far beyond how many
    /// rows there are was given by somebody and says nothing.
    fn first(&self, numbers: &Numbers) -> i64 {
        if self.is_text() || !numbers.is_plain {
            return 1;
        }
        let count =
            self.query("SELECT count(*) FROM {table} WHERE tenant_id = $1 AND {column} BETWEEN $2 AND $3", 1, i64::MAX);
        self.highest(1, count.unwrap_or(0) + STRETCH).map_or(1, |highest| highest + 1)
    }

    fn highest(&self, from: i64, to: i64) -> Option<i64> {
        let query = "SELECT {column}::bigint FROM {table} WHERE tenant_id = $1 AND {column} BETWEEN $2 AND $3
                      ORDER BY {column} DESC LIMIT 1";
        self.query(query, from, to)
    }

    /// As the owner of the table.
    fn query(&self, sql: &str, from: i64, to: i64) -> Option<i64> {
        let _path = SettingsScope::pinned_path();
        let _identity = identity::ActingAs::owner(self.trigger.owner());
        let sql = sql.replace("{table}", &qualified_name(self.trigger.relation()));
        let sql = sql.replace("{column}", &quote_identifier(self.name));
        let tenant = crate::pg::uuid::to_pgrx(self.tenant);
        sql::query_one(&sql, &[tenant.into(), from.into(), to.into()], |row| sql::column::<i64>(row, 1))
    }
}
