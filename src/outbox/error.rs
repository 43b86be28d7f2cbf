use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("\"{table}\" is not protected: what is personal in it is not known")]
    NotProtected { table: String },
    #[error("column \"{column}\" of \"{table}\" holds personal data, which goes into no event")]
    Personal { table: String, column: String },
    #[error("no tenant: nothing can be consumed or begun on nobody's behalf")]
    NoTenant,
    #[error("{what} must be from {least} to {most}")]
    OutOfRange { what: &'static str, least: i32, most: i32 },
    #[error("the key was used for another request")]
    OtherRequest,
    #[error("the request with this key has begun and has no response")]
    Unfinished,
    #[error("no request with this key has begun")]
    NotBegun,
    #[error("the request with this key has another response already")]
    OtherResponse,
    #[error("the event is too large")]
    TooLarge,
}

impl SqlError for OutboxError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NotProtected { .. } | Self::Unfinished | Self::OtherResponse => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Personal { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoTenant => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::OutOfRange { .. } | Self::OtherRequest => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotBegun => PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            Self::TooLarge => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotProtected { .. } => "SELECT thorbis.protect(...) first, or drop the trigger.",
            Self::Personal { .. } => "Leave it out: whoever gets the event can read the row, with a permission.",
            Self::NoTenant => "SELECT thorbis.set_context(...) first, or SET ROLE thorbis_platform.",
            Self::OutOfRange { .. } => "Pass a number in that range.",
            Self::OtherRequest => "Take a new key for each request, and the same again only for its repetition.",
            Self::Unfinished => "It is being done, or ended without shared.complete_idempotent_request(). Look whether it took effect before you repeat it with a new key.",
            Self::NotBegun => "Call shared.begin_idempotent_request() first, as the same user.",
            Self::OtherResponse => "A response stays as it is.",
            Self::TooLarge => "List fewer columns.",
        }
        .to_owned()
    }
}
