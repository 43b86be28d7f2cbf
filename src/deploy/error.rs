use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("thorbis_db is not installed in this database")]
    NotInstalled,
    #[error("{function} needs superuser")]
    NotSuperuser { function: &'static str },
    #[error("{function} needs superuser or thorbis_platform")]
    NotOperator { function: &'static str },
    #[error("unknown industry \"{0}\"")]
    UnknownIndustry(String, Vec<&'static str>),
    #[error("unknown module \"{0}\"")]
    UnknownModule(String, Vec<&'static str>),
    #[error("PostgreSQL {found} is too old")]
    ServerTooOld { found: String, minimum: String },
    #[error("the encoding of this database is {0}, not UTF8")]
    Encoding(String),
    #[error("migration {module} {version} was changed after it was applied")]
    Checksum { module: String, version: i32 },
    #[error("the database is newer than this library: {module} is at {installed}, the library knows {known}")]
    Ahead { module: String, installed: i32, known: i32 },
    #[error("schema \"{0}\" exists already and was not made by thorbis_db")]
    SchemaTaken(String),
    #[error("module \"{module}\" is needed by \"{needed_by}\"")]
    Needed { module: String, needed_by: String },
    #[error("module \"{module}\" is at version {installed}: it cannot be rolled back to {wanted}")]
    NothingToRollBack { module: String, installed: i32, wanted: i32 },
    #[error("rolling back would discard the rows of {0}")]
    WouldDiscard(String),
    #[error("role \"{0}\" does not exist")]
    NoRole(String),
    #[error("role \"{role}\" cannot {purpose}: it {why}")]
    UnfitRole { role: String, purpose: &'static str, why: &'static str },
    #[error("tenant {0} does not exist")]
    NoTenant(String),
    #[error("industry \"{0}\" is not installed")]
    IndustryNotInstalled(String),
    #[error("time zone \"{0}\" is not known to this server")]
    TimeZone(String),
    #[error("tenants cannot have the currency \"{0}\"")]
    Currency(String),
}

impl SqlError for DeployError {
    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NotInstalled
            | Self::WouldDiscard(_)
            | Self::NothingToRollBack { .. }
            | Self::IndustryNotInstalled(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NotSuperuser { .. } | Self::NotOperator { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::UnknownIndustry(..)
            | Self::UnknownModule(..)
            | Self::TimeZone(_)
            | Self::Currency(_)
            | Self::NoTenant(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::ServerTooOld { .. } | Self::Encoding(_) => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::Checksum { .. } | Self::Ahead { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::SchemaTaken(_) => ERRCODE_DUPLICATE_SCHEMA,
            Self::Needed { .. } => ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            Self::NoRole(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::UnfitRole { .. } => ERRCODE_INVALID_ROLE_SPECIFICATION,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotInstalled => "SELECT thorbis.install();".into(),
            Self::NotSuperuser { .. } => "Connect as a superuser (Supabase: supabase_admin).".into(),
            Self::NotOperator { .. } => "SET ROLE thorbis_platform, or connect as a superuser.".into(),
            Self::UnknownIndustry(_, known) => format!("Industries of this version: {}.", known.join(", ")),
            Self::UnknownModule(_, known) => format!("Modules of this version: {}.", known.join(", ")),
            Self::ServerTooOld { minimum, .. } => format!(
                "Upgrade to PostgreSQL {minimum} or later: earlier releases show one tenant the column statistics of \
                 another (CVE-2025-8713)."
            ),
            Self::Encoding(_) => "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0.".into(),
            Self::Checksum { .. } => {
                "Released migrations never change. Install the library version that applied it; SELECT * FROM \
                 thorbis.status() shows both."
                    .into()
            }
            Self::Ahead { .. } => "Install the newer library on this server.".into(),
            Self::SchemaTaken(schema) => format!("ALTER SCHEMA {schema} RENAME TO ...; then install again."),
            Self::Needed { needed_by, .. } => format!("SELECT thorbis.rollback('{needed_by}', 0); comes first."),
            Self::NothingToRollBack { .. } => "SELECT * FROM thorbis.status() shows the versions.".into(),
            Self::WouldDiscard(_) => {
                "Take a backup, then pass discard_data => true. dry_run => true shows the statements.".into()
            }
            Self::NoRole(_) => "CREATE ROLE it first.".into(),
            Self::NoTenant(_) => "SELECT id, name FROM shared.tenants lists them.".into(),
            Self::IndustryNotInstalled(industry) => format!("SELECT thorbis.install('{{{industry}}}'); as superuser."),
            Self::UnfitRole { .. } => "Create a role of its own for the application: CREATE ROLE app LOGIN ...".into(),
            Self::Currency(_) => {
                "Use a code of shared.currencies whose minor_unit is at most 2, which is what money columns hold."
                    .into()
            }
            Self::TimeZone(_) => "Use a name of pg_timezone_names such as Europe/Berlin.".into(),
        }
    }
}
