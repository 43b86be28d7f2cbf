//! Errors as the user sees them: SQLSTATE, message, detail, hint.
//!
//! Each feature has one enum whose `Display` is the message; this trait adds the rest. Nothing here may carry personal
//! data, keys or tokens: messages go to clients and to the server log.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, function_name};

pub trait SqlError: std::fmt::Display {
    fn code(&self) -> PgSqlErrorCode;

    /// What to do about it, as an instruction.
    fn hint(&self) -> String;

    fn detail(&self) -> Option<String> {
        None
    }

    /// Raises the error, and notes a denial in the server log. Not returned as `Err`: pgrx loses the SQLSTATE of an error
    /// that a trigger returns.
    fn raise(&self) -> ! {
        crate::audit::denials::note(self);
        let mut report = ErrorReport::new(self.code(), self.to_string(), function_name!()).set_hint(self.hint());
        if let Some(detail) = self.detail() {
            report = report.set_detail(detail);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR report does not return")
    }
}

/// An argument of an administrative function that cannot be NULL.
#[derive(Debug, thiserror::Error)]
#[error("argument \"{0}\" must not be null")]
pub struct NullArgument(&'static str);

impl SqlError for NullArgument {
    fn code(&self) -> PgSqlErrorCode {
        PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED
    }

    fn hint(&self) -> String {
        format!("Pass a value: {} => ...", self.0)
    }
}

/// The value of a required argument, or 22004.
pub fn required<T>(name: &'static str, argument: Option<T>) -> T {
    argument.unwrap_or_else(|| NullArgument(name).raise())
}

/// Takes the value or raises the error.
pub trait OrRaise<T> {
    fn or_raise(self) -> T;
}

impl<T, E: SqlError> OrRaise<T> for Result<T, E> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| error.raise())
    }
}
