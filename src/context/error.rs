use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("tenant context is ambiguous: {first} and {second} name different {what}s")]
    Conflict { what: &'static str, first: &'static str, second: &'static str },
    #[error("tenant context cannot change within a transaction")]
    Latched,
    #[error("thorbis.set_context() needs a transaction block")]
    NoTransaction,
    #[error("thorbis.set_context() cannot be called inside a savepoint")]
    InSavepoint,
    #[error("thorbis.set_context() needs a tenant id")]
    NoTenant,
    #[error("permission denied to set the tenant context")]
    NotGateway,
}

impl SqlError for ContextError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Conflict { .. } | Self::Latched => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::NoTransaction => PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
            Self::InSavepoint => PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::NoTenant => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NotGateway => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Conflict { .. } => "Set one of them only, or make them agree.",
            Self::Latched => "The first read fixed the tenant. COMMIT or ROLLBACK, then begin with the other tenant.",
            Self::NoTransaction => {
                "The context lasts for one transaction: BEGIN; SELECT thorbis.set_context(tenant_id, user_id); ...; COMMIT."
            }
            Self::InSavepoint => "Set the context right after BEGIN, before the first SAVEPOINT or exception block.",
            Self::NoTenant => "Pass the tenant's uuid. Without a context no row is visible.",
            Self::NotGateway => {
                "Connect as a role granted with thorbis.grant_app(), or fix the tenant of this role with thorbis.bind_role()."
            }
        }
        .into()
    }
}
