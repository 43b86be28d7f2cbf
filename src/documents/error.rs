use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

/// A change of status that does not happen.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("\"{document}\" cannot begin with the status \"{to}\"")]
    NoBeginning { document: String, to: String, allowed: Vec<String> },
    #[error("\"{document}\" cannot go from \"{from}\" to \"{to}\"")]
    NoTransition { document: String, from: String, to: String, allowed: Vec<String> },
    #[error("\"{document}\" goes from \"{from}\" to \"{to}\" by itself only")]
    NotByHand { document: String, from: String, to: String },
    #[error("\"{document}\" cannot go from \"{from}\" to \"{to}\": {reason}")]
    Guarded { document: String, from: String, to: String, reason: String },
    #[error("shared.state_transitions has no rows for the document \"{document}\"")]
    UnknownDocument { document: String },
    #[error("trigger on \"{table}\": its first argument must name the document")]
    NoArgument { table: String },
    #[error("shared.state_transitions names the guard \"{guard}\", which is no function (jsonb, jsonb) returning text")]
    NoGuard { guard: String },
    #[error("schema shared with its tables of documents is not installed")]
    NotInstalled,
    #[error("there is no \"{document}\" with this id")]
    NoDocument { document: String },
    #[error("no table has the trigger check_status_transition('{document}')")]
    NoTrigger { document: String },
}

impl SqlError for StatusError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoBeginning { .. } | Self::NoTransition { .. } | Self::Guarded { .. } => {
                PgSqlErrorCode::ERRCODE_CHECK_VIOLATION
            }
            Self::NotByHand { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::UnknownDocument { .. } | Self::NoTrigger { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NoArgument { .. } => PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            Self::NoGuard { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            Self::NotInstalled => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::NoDocument { .. } => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
        }
    }

    fn detail(&self) -> Option<String> {
        let allowed = |allowed: &[String]| match allowed {
            [] => "Nothing follows it.".to_owned(),
            some => format!("Possible: {}.", some.join(", ")),
        };
        match self {
            Self::NoBeginning { allowed: known, .. } | Self::NoTransition { allowed: known, .. } => {
                Some(allowed(known))
            }
            _ => None,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoBeginning { .. } | Self::NoTransition { .. } => {
                "shared.state_transitions has every change of status there is.".into()
            }
            Self::NotByHand { .. } => "Do what it follows from, such as recording the payment.".into(),
            Self::Guarded { .. } => "See to that first.".into(),
            Self::UnknownDocument { .. } => {
                "INSERT its transitions first; those from '' to its first status included.".into()
            }
            Self::NoArgument { .. } => "Name it in CREATE TRIGGER ... EXECUTE FUNCTION f('invoice').".into(),
            Self::NoGuard { .. } => "Write it as schema.function, as shared.state_transitions is to have it.".into(),
            Self::NotInstalled => "SELECT thorbis.install();".into(),
            Self::NoDocument { .. } => "It belongs to the current tenant and the caller may read it.".into(),
            Self::NoTrigger { .. } => {
                "Give the name that the trigger has, such as invoice: not that of the table.".into()
            }
        }
    }
}

/// A number that is not given.
#[derive(Debug, thiserror::Error)]
pub enum NumberError {
    #[error("numbers in \"{column}\" of \"{table}\" have no gaps: they are given by the series alone")]
    Given { table: String, column: String },
    #[error("the numbers of the series \"{series}\" are exhausted")]
    Exhausted { series: String },
    #[error("no number of the series \"{series}\" was free")]
    Busy { series: String },
    #[error("schema shared with its number series is not installed")]
    NotInstalled,
}

impl SqlError for NumberError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Given { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Exhausted { .. } => PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            Self::Busy { .. } => PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::NotInstalled => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Given { .. } => "Leave the number out.",
            Self::Exhausted { .. } => "Let the series begin anew each year: reset_period in shared.number_series.",
            Self::Busy { .. } => "Try the transaction again.",
            Self::NotInstalled => "SELECT thorbis.install();",
        }
        .into()
    }
}
