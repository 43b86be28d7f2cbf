//! What is written must be what it claims to be: numbers that carry a check digit.

use crate::domain::{gtin, vin};
use crate::pg::error::SqlError;
use crate::pg::function::{guarded, text_datum};
use crate::pg::trigger::{ColumnType, Firing, Trigger, TriggerError};
use crate::v1_function;
use pgrx::prelude::*;

/// The number itself is not repeated: that of a vehicle leads to its owner.
#[derive(Debug, thiserror::Error)]
enum ValidationError {
    #[error(
        "column \"{column}\" of \"{table}\" is no vehicle identification number: 17 digits and letters but I, O and Q"
    )]
    Vin { table: String, column: String },
    #[error("column \"{column}\" of \"{table}\" is no vehicle identification number: its check digit is wrong")]
    VinCheckDigit { table: String, column: String },
    #[error(
        "column \"{column}\" of \"{table}\" is no trade item number: 8, 12, 13 or 14 digits, the last a check digit"
    )]
    Gtin { table: String, column: String },
}

impl SqlError for ValidationError {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_CHECK_VIOLATION
    }

    fn hint(&self) -> String {
        match self {
            Self::Vin { .. } | Self::VinCheckDigit { .. } => {
                "Read it once more from the vehicle or its papers. Those of before 1981 had other numbers: give the year."
            }
            Self::Gtin { .. } => "Scan or type it once more.",
        }
        .into()
    }
}

#[pg_extern(sql = false)]
fn is_valid_vin(number: &str) -> bool {
    vin::is_valid(number)
}

#[pg_extern(sql = false)]
fn is_valid_gtin(number: &str) -> bool {
    gtin::is_valid(number)
}

v1_function!(
    /// `validate_vin(column [, year_column [, check_required_column]])`, BEFORE INSERT OR UPDATE FOR EACH ROW.
    thorbis_validate_vin, pg_finfo_thorbis_validate_vin, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let arguments = trigger.arguments();
        let Some(column) = arguments.first().copied().filter(|_| !trigger.is_delete()) else {
            TriggerError::Arguments { table: trigger.table_name() }.raise()
        };
        let attribute = trigger.required_column(column, ColumnType::Text);
        let Some(given) = trigger.text(trigger.new_row(), column) else { return trigger.unchanged() };
        // As it is written on the vehicle, so that equal numbers are equal.
        let number = given.trim().to_uppercase();
        let year = arguments.get(1).and_then(|column| integer(&trigger, column));
        let required = arguments.get(2).and_then(|column| boolean(&trigger, column));
        if year.is_none_or(|year| year >= FIRST_STANDARD_YEAR) {
            let (table, column) = (trigger.table_name(), column.to_owned());
            if !vin::is_well_formed(&number) {
                ValidationError::Vin { table, column }.raise();
            }
            if required.unwrap_or_else(|| vin::is_north_american(&number)) && !vin::is_valid(&number) {
                ValidationError::VinCheckDigit { table, column }.raise();
            }
        }
        if number == given { trigger.unchanged() } else { trigger.with_value(attribute, text_datum(&number)) }
    })
});

/// From this model year on the numbers have seventeen places.
const FIRST_STANDARD_YEAR: i32 = 1981;

/// The new row's value of an integer column, None when it is NULL.
fn integer(trigger: &Trigger, column: &str) -> Option<i32> {
    let number = trigger.required_column(column, ColumnType::Integer);
    trigger.value(trigger.new_row(), number).map(|value| value.value() as i32)
}

/// The new row's value of a boolean column, None when it is NULL.
fn boolean(trigger: &Trigger, column: &str) -> Option<bool> {
    let number = trigger.required_column(column, ColumnType::Boolean);
    trigger.value(trigger.new_row(), number).map(|value| value.value() != 0)
}

v1_function!(
    /// `validate_gtin(column)`, BEFORE INSERT OR UPDATE FOR EACH ROW.
    thorbis_validate_gtin, pg_finfo_thorbis_validate_gtin, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let Some(column) = trigger.arguments().first().copied().filter(|_| !trigger.is_delete()) else {
            TriggerError::Arguments { table: trigger.table_name() }.raise()
        };
        trigger.required_column(column, ColumnType::Text);
        if trigger.text(trigger.new_row(), column).is_some_and(|number| !gtin::is_valid(&number)) {
            ValidationError::Gtin { table: trigger.table_name(), column: column.to_owned() }.raise();
        }
        trigger.unchanged()
    })
});
