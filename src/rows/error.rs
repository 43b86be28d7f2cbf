use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("a row of \"{table}\" cannot move to another tenant")]
    TenantIsFixed { table: String },
    #[error("rows of \"{table}\" cannot be changed or deleted")]
    AppendOnly { table: String },
}

impl SqlError for RowError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::TenantIsFixed { .. } | Self::AppendOnly { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::AppendOnly { .. } => "Insert a row that says what is so from now on.",
            Self::TenantIsFixed { .. } => "Insert a new row for the other tenant instead.",
        }
        .into()
    }
}
