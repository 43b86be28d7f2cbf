use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum GdprError {
    /// The same for a person of another tenant: nobody learns whether there is one.
    #[error("no such {kind} in this tenant")]
    NoSubject { kind: String },
    #[error("no table holds data of subjects of kind \"{kind}\"")]
    NoTables { kind: String },
    #[error("erasure is refused: legal hold since {since}: {reason}")]
    Held { since: String, reason: String },
    #[error("thorbis.erase_subject() needs the isolation level READ COMMITTED")]
    Isolation,
    #[error("table {table} leads to no {kind}: \"through\" does not end at a subject")]
    Path { table: String, kind: String },
}

impl SqlError for GdprError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoSubject { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Isolation => PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
            Self::NoTables { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Held { .. } | Self::Path { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoSubject { .. } => "Call it in the context of the person's tenant, with the person's id.".into(),
            Self::NoTables { .. } => "The option subject of thorbis.protect() says whose rows a table holds.".into(),
            Self::Isolation => "BEGIN ISOLATION LEVEL READ COMMITTED; then call it again.".into(),
            Self::Held { .. } => "The hold has to be released in gdpr.legal_holds, or shared.tenants, first.".into(),
            Self::Path { table, .. } => format!("Correct the option subject of {table}."),
        }
    }
}
