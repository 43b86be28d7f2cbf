use crate::domain::totals::error::{Code, Fault};
use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

impl SqlError for Fault {
    fn code(&self) -> PgSqlErrorCode {
        match self.code {
            Code::Range => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        }
    }

    fn hint(&self) -> String {
        self.code.hint().into()
    }
}
