use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit log is missing")]
    NoLog,
    #[error("the audit log has no partition for today, and no default partition")]
    NoPartition,
    #[error("{what} needs the isolation level READ COMMITTED")]
    Isolation { what: &'static str },
    /// The same for a change of another tenant: nobody learns whether there is one.
    #[error("no such change in the audit log of this tenant")]
    NoChange,
    #[error("the change is not sealed yet")]
    NotSealed,
}

impl SqlError for AuditError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoLog | Self::NoPartition | Self::NotSealed => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Isolation { .. } => PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
            Self::NoChange => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoLog => "SELECT thorbis.install(); as superuser deploys it.".into(),
            Self::NoPartition => {
                "CREATE TABLE audit.change_log_default PARTITION OF audit.change_log DEFAULT; SELECT * FROM thorbis.maintain();"
                    .into()
            }
            Self::Isolation { .. } => "BEGIN ISOLATION LEVEL READ COMMITTED; then call it again.".into(),
            Self::NoChange => "Take the id from audit.change_log, in the context of its tenant.".into(),
            Self::NotSealed => "SELECT audit.seal(); then ask again.".into(),
        }
    }
}
