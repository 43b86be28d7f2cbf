use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("permission denied: {resource}:{action} is required")]
    Required { resource: String, action: String },
    #[error("permission denied to grant {resource}:{action}, which you do not hold")]
    GrantsMoreThanHeld { resource: String, action: String },
    #[error("permission denied to grant an owner role")]
    GrantsOwner,
    #[error("trigger on \"{table}\": this function guards the tables of thorbis_db only")]
    ForeignTable { table: String },
    #[error("role inheritance cannot run in a circle")]
    Cycle,
    #[error("the last owner of a tenant cannot be removed")]
    LastOwner,
    #[error("column \"{column}\" of your own row cannot be changed by yourself")]
    OwnColumn { column: String },
}

impl SqlError for AccessError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Required { .. } | Self::GrantsMoreThanHeld { .. } | Self::GrantsOwner | Self::OwnColumn { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::ForeignTable { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::Cycle => PgSqlErrorCode::ERRCODE_CHECK_VIOLATION,
            Self::LastOwner => PgSqlErrorCode::ERRCODE_RESTRICT_VIOLATION,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Required { resource, action } => {
                format!("Ask an administrator of the tenant for {resource}:{action} or {resource}:admin.")
            }
            Self::GrantsMoreThanHeld { .. } | Self::GrantsOwner => {
                "Nobody grants what they lack. Somebody who holds it, or an owner of the tenant, can grant it.".into()
            }
            Self::ForeignTable { .. } => "DROP TRIGGER it.".into(),
            Self::Cycle => "Remove the inheritance that leads back to this role first.".into(),
            Self::LastOwner => "Give another user an owner role first.".into(),
            Self::OwnColumn { .. } => "Somebody with the update permission on users can change it.".into(),
        }
    }
}
