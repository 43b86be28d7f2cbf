use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("a row of \"{table}\" cannot move to another tenant")]
    TenantIsFixed { table: String },
    #[error("trigger on \"{table}\": column \"{column}\" does not exist")]
    NoColumn { table: String, column: String },
}

impl SqlError for RowError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::TenantIsFixed { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::TenantIsFixed { .. } => "Insert a new row for the other tenant instead.",
            Self::NoColumn { .. } => "Name a column of the table in CREATE TRIGGER ... EXECUTE FUNCTION f('column').",
        }
        .into()
    }
}
