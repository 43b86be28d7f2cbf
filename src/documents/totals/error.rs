use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum TotalsError {
    #[error("trigger on \"{table}\": its argument does not say how totals are stored: {problem}")]
    Spec { table: String, problem: String },
    #[error("amounts with {places} decimal places do not fit into column \"{column}\" of \"{table}\"")]
    Places { table: String, column: String, places: usize },
    /// `rule` is that of the argument, as column (values).
    #[error("the lines of this row of \"{document}\" cannot be changed any more: they can while it has {rule}")]
    Closed { document: String, rule: String },
    #[error("table {table} does not exist")]
    NoTable { table: String },
}

impl SqlError for TotalsError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Spec { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Places { .. } => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            Self::Closed { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoTable { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Spec { .. } => "DROP TRIGGER it and make it again; \\df+ keep_document_totals says what it takes.",
            Self::Places { .. } => "Choose a currency with fewer decimal places, or columns that hold more.",
            Self::Closed { .. } => {
                "Correct it by a document of its own, such as a credit note: SELECT shared.credit_invoice(...) for invoices."
            }
            Self::NoTable { .. } => "Name tables as schema.table in the argument of the trigger.",
        }
        .into()
    }
}
