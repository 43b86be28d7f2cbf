use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit log is missing")]
    NoLog,
    #[error("the audit log has no partition for today, and no default partition")]
    NoPartition,
    #[error("{name}, a partition of the audit log, is no ordinary table")]
    PartitionKind { name: String },
    #[error("the audit log is being restored: audit.seals has no primary key yet")]
    Restoring,
    #[error("{what} needs the isolation level READ COMMITTED")]
    Isolation { what: &'static str },
    /// The same for a change of another tenant: nobody learns whether there is one.
    #[error("no such change in the audit log of this tenant")]
    NoChange,
    #[error("the change is not sealed yet")]
    NotSealed,
    #[error("{table} has no primary key: its rows cannot be told apart")]
    NoKey { table: String },
    #[error("changes of {table} are not logged")]
    NotLogged { table: String },
    #[error("changes until {until} are not kept any more")]
    Dropped { until: String },
}

impl SqlError for AuditError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NoLog
            | Self::Restoring
            | Self::NoPartition
            | Self::PartitionKind { .. }
            | Self::NotSealed
            | Self::NoKey { .. }
            | Self::NotLogged { .. }
            | Self::Dropped { .. } => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Isolation { .. } => PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
            Self::NoChange => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoLog => "SELECT thorbis.install(); as superuser deploys it.".into(),
            Self::NoPartition => "SELECT * FROM thorbis.maintain(); makes them.".into(),
            Self::PartitionKind { name } => {
                format!("ALTER TABLE audit.change_log DETACH PARTITION {name}; SELECT * FROM thorbis.maintain();")
            }
            Self::Restoring => "Seal when pg_restore is done.".into(),
            Self::Isolation { .. } => "BEGIN ISOLATION LEVEL READ COMMITTED; then call it again.".into(),
            Self::NoChange => "Take the id from audit.change_log, in the context of its tenant.".into(),
            Self::NotSealed => "SELECT audit.seal(); then ask again.".into(),
            Self::NoKey { table } => format!("ALTER TABLE {table} ADD PRIMARY KEY ..."),
            Self::NotLogged { table } => {
                format!("The option audit of {table} is false: SELECT thorbis.protect(...) changes options.")
            }
            Self::Dropped { .. } => "The setting thorbis.audit_retention says how long they are kept.".into(),
        }
    }
}
