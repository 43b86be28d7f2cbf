use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("a row of \"{table}\" cannot move to another tenant")]
    TenantIsFixed { table: String },
    #[error("rows of \"{table}\" cannot be changed or deleted")]
    AppendOnly { table: String },
    #[error("the numbers of \"{table}\" are exhausted in this tenant")]
    NumbersExhausted { table: String },
}

impl SqlError for RowError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::TenantIsFixed { .. } | Self::AppendOnly { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NumbersExhausted { .. } => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NumbersExhausted { .. } => "Somebody gave a very high number: correct that row first.",
            Self::AppendOnly { .. } => "Insert a row that says what is so from now on.",
            Self::TenantIsFixed { .. } => "Insert a new row for the other tenant instead.",
        }
        .into()
    }
}
