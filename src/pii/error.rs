use crate::domain::keyring::KeyringProblem;
use crate::pg::error::SqlError;
use pgrx::PgSqlErrorCode;

/// Personal data that cannot be read or written. No message holds a value or key material.
#[derive(Debug, thiserror::Error)]
pub enum PiiError {
    /// For every failure: which one it was would help whoever tries.
    #[error("value cannot be decrypted")]
    NotDecrypted,
    #[error("no tenant context")]
    NoTenant,
    #[error("personal values are limited to 16 megabytes")]
    TooLong,
    #[error("column \"{column}\" of \"{table}\" holds ciphertext: it is written by a trigger only")]
    CiphertextGiven { table: String, column: String },
    #[error("a masked value was written to \"{field}\"")]
    Masked { field: String, row: String },
    #[error("value of \"{field}\" is not of kind {kind}")]
    NotOfKind { field: String, kind: &'static str, row: String },
    #[error("thorbis_db keeps no data keys in this database")]
    NoDataKeys,
    #[error("{table} has no encrypted columns")]
    NothingEncrypted { table: String },
    #[error("column \"{column}\" of {table} is not encrypted with a blind index")]
    NotSearchable { table: String, column: String },
    #[error("rows of {table} are not identified by a uuid")]
    NoUuidKey { table: String },
    #[error("thorbis.rotate_keys() needs the isolation level READ COMMITTED")]
    RotationIsolation,
    #[error("could not serialize access: the key of the person was made or destroyed meanwhile")]
    Serialization,
    #[error("could not serialize access: the row was changed meanwhile")]
    ChangedMeanwhile,
    #[error("column \"{column}\" of \"{table}\" must have a value")]
    Required { table: String, column: String },
    #[error("argument batch_size must be between 1 and 100000")]
    BatchSize,
}

impl SqlError for PiiError {
    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NotDecrypted => ERRCODE_DATA_EXCEPTION,
            Self::TooLong => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::NoTenant => ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::CiphertextGiven { .. } => ERRCODE_GENERATED_ALWAYS,
            Self::Masked { .. } | Self::BatchSize => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotOfKind { .. } => ERRCODE_CHECK_VIOLATION,
            Self::RotationIsolation => ERRCODE_INVALID_TRANSACTION_STATE,
            Self::Serialization | Self::ChangedMeanwhile => ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::Required { .. } => ERRCODE_NOT_NULL_VIOLATION,
            Self::NoUuidKey { .. } => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::NoDataKeys | Self::NothingEncrypted { .. } | Self::NotSearchable { .. } => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Masked { row, .. } | Self::NotOfKind { row, .. } => Some(format!("Row {row}.")),
            _ => None,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotDecrypted => {
                "It was changed, belongs to another tenant, field or row, or the person's key was destroyed."
            }
            Self::TooLong => "Keep documents elsewhere, and what identifies a person here.",
            Self::NoTenant => "BEGIN; SELECT thorbis.set_context(tenant_id, user_id); ...; COMMIT.",
            Self::CiphertextGiven { .. } => "Write the clear value to the column of the plain name.",
            Self::Masked { .. } => "Leave the column out of the statement to keep its value.",
            Self::NotOfKind { .. } => "Correct the value; the view of clear values takes NULL for none.",
            Self::NoDataKeys => "SELECT thorbis.install(); or thorbis.migrate();",
            Self::NothingEncrypted { .. } => "Name the columns in the option pii of thorbis.protect().",
            Self::NotSearchable { .. } => "Set \"index\": true for the column in the option pii of thorbis.protect().",
            Self::NoUuidKey { .. } => {
                "As the table's owner: SELECT ... WHERE column_bidx = pii_blind_index(value, field)."
            }
            Self::RotationIsolation => "SET default_transaction_isolation = 'read committed'; then call it again.",
            Self::Serialization | Self::ChangedMeanwhile => "Run the transaction again.",
            Self::Required { .. } => "The column was NOT NULL before it was encrypted, and still is.",
            Self::BatchSize => "A thousand is a good size: each batch is one transaction.",
        }
        .into()
    }
}

/// Why there is no keyring. Each names the file, the command or the key id.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("no keyring is configured")]
    NotConfigured,
    #[error("both thorbis.keyring_file and thorbis.keyring_command are set")]
    Both,
    #[error("keyring file \"{0}\" does not exist")]
    Missing(String),
    #[error("keyring file \"{file}\" cannot be read: {reason}")]
    Unreadable { file: String, reason: std::io::ErrorKind },
    #[error("keyring file \"{file}\" is not safe: {problem}")]
    Unsafe { file: String, problem: &'static str },
    #[error("keyring of {from} is not valid: {problem}")]
    Invalid { from: String, problem: KeyringProblem },
    #[error("keyring command failed: {0}")]
    Command(String),
    #[error("key \"{id}\" is not in the keyring of {from}")]
    VersionGone { id: String, from: String },
    #[error("data key {data_key} does not open with key \"{id}\" of the keyring")]
    WrongKey { id: String, data_key: uuid::Uuid },
}

impl SqlError for KeyringError {
    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NotConfigured
            | Self::Both
            | Self::VersionGone { .. }
            | Self::WrongKey { .. }
            | Self::Invalid { problem: KeyringProblem::NoActive(_), .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Missing(_) => ERRCODE_UNDEFINED_FILE,
            Self::Unreadable { .. } => ERRCODE_IO_ERROR,
            Self::Unsafe { .. } | Self::Invalid { .. } => ERRCODE_CONFIG_FILE_ERROR,
            Self::Command(_) => ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotConfigured | Self::Both => "Set one of thorbis.keyring_file and thorbis.keyring_command. \
                                                 docs/SECURITY.md tells how to make a keyring."
                .into(),
            Self::Missing(_) | Self::Unreadable { .. } => {
                "Personal data cannot be read or written until the server's user can read the keyring.".into()
            }
            Self::Unsafe { file, .. } => {
                format!("chmod 600 {file}, owned by the server's user, in a directory outside the data directory.")
            }
            Self::Invalid { .. } => {
                "{\"active\": \"2026-01\", \"keys\": {\"2026-01\": \"base64 of 32 random bytes\"}}".into()
            }
            Self::Command(_) => "It runs as the server's user and prints the keyring as JSON within 30 seconds.".into(),
            Self::WrongKey { id, .. } => {
                format!("Another key has the id \"{id}\": put the keyring back that this database was used with.")
            }
            Self::VersionGone { id, .. } => {
                format!("Put key \"{id}\" back. thorbis.keyring_status() shows which keys are in use.")
            }
        }
    }
}
