//! Triggers that were created otherwise than their functions can work with.

use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

/// A trigger that was created in a way its function cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    #[error("this function can only be called as a trigger")]
    NotATrigger,
    #[error("trigger \"{trigger}\" must be fired {expected} FOR EACH ROW")]
    Firing { trigger: String, expected: &'static str },
    #[error("trigger \"{trigger}\" must be fired AFTER a statement, with transition tables")]
    Transition { trigger: String },
    #[error("trigger on \"{table}\": column \"{column}\" does not exist")]
    NoColumn { table: String, column: String },
    #[error("trigger on \"{table}\": its arguments are not those that thorbis.protect() writes")]
    Arguments { table: String },
    #[error("trigger on \"{table}\": column \"{column}\" is not of type {expected}")]
    ColumnType { table: String, column: String, expected: &'static str },
}

impl SqlError for TriggerError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NotATrigger | Self::Firing { .. } | Self::Transition { .. } | Self::Arguments { .. } => {
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED
            }
            Self::NoColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Self::ColumnType { .. } => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotATrigger => "Use it in CREATE TRIGGER ... EXECUTE FUNCTION.".into(),
            Self::Firing { expected, .. } => {
                format!("DROP TRIGGER it, and CREATE TRIGGER ... {expected} ... FOR EACH ROW.")
            }
            Self::Transition { .. } => {
                "CREATE TRIGGER ... AFTER ... REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT."
                    .into()
            }
            Self::NoColumn { .. } => {
                "Name a column of the table in CREATE TRIGGER ... EXECUTE FUNCTION f('column').".into()
            }
            Self::Arguments { .. } => "DROP TRIGGER it; SELECT thorbis.protect(...) makes it again.".into(),
            Self::ColumnType { .. } => "Change the type of the column, or drop the trigger.".into(),
        }
    }
}
