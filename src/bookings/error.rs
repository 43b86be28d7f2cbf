use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

/// Nothing here says anything about the other row: it may be somebody's appointment.
#[derive(Debug, thiserror::Error)]
pub enum BookingError {
    #[error("rows of \"{table}\" overlap in \"{range}\"")]
    Overlap { table: String, range: String },
    #[error("rows that are in \"{table}\" already overlap in \"{range}\"")]
    OverlapFound { table: String, range: String },
    #[error("\"{table}\" has no column \"{column}\"")]
    NoColumn { table: String, column: String },
    #[error("the resource is booked at that time already")]
    Booked,
    #[error("the resource has time off then")]
    TimeOff,
    #[error("the resource has bookings in that time")]
    BookingsInTimeOff,
    #[error("the resource cannot be booked any more")]
    Inactive,
}

impl SqlError for BookingError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Overlap { .. }
            | Self::OverlapFound { .. }
            | Self::Booked
            | Self::TimeOff
            | Self::BookingsInTimeOff => PgSqlErrorCode::ERRCODE_EXCLUSION_VIOLATION,
            Self::NoColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Self::Inactive => PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Overlap { .. } => "Choose a range that is free. One may begin where the other ends.",
            Self::OverlapFound { .. } => "Mend these rows first.",
            Self::NoColumn { .. } => "Name columns of the table.",
            Self::Booked => "Choose a time that is free, the way there included, or another resource. One booking may begin where the other ends.",
            Self::TimeOff => "Choose another time or another resource, or change the time off first.",
            Self::BookingsInTimeOff => "Cancel these bookings, or give them to another resource, first.",
            Self::Inactive => "Choose another resource, or make this one active again.",
        }
        .into()
    }
}
