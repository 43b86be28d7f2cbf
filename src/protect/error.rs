use crate::pg::error::SqlError;
use crate::protect::risks::Risk;
use pgrx::PgSqlErrorCode;
use pgrx::spi::{quote_identifier, quote_literal};

#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    #[error("{table} is a {kind}: only ordinary and partitioned tables can be protected")]
    NotATable { table: String, kind: &'static str },
    #[error("{table} is a partition: protect its parent")]
    Partition { table: String, parent: String },
    #[error("{table} is a temporary table and cannot be protected")]
    Temporary { table: String },
    #[error("{table} is a system table and cannot be protected")]
    System { table: String },
    #[error("{table} has rows but no column \"{column}\"")]
    RowsWithoutTenant { table: String, column: String },
    #[error("{table} has rows whose \"{column}\" is null")]
    RowsWithNullTenant { table: String, column: String },
    #[error("column \"{column}\" of {table} has type {found}, not uuid")]
    TenantType { table: String, column: String, found: String },
    #[error("{table} cannot be protected as it is")]
    Risks { table: String, risks: Vec<Risk> },
    #[error("invalid protection options: {0}")]
    Options(String),
    #[error("column \"{column}\" named in the options does not exist in {table}")]
    NoColumn { table: String, column: String },
    #[error("must be owner of {table}")]
    NotOwner { table: String },
    #[error("{table} is not protected")]
    NotProtected { table: String },
    #[error("table does not exist")]
    NoTable,
    #[error("{table} has no column deleted_at")]
    NoSoftDelete { table: String },
    #[error("the options stored for {table} are not understood: {reason}")]
    StoredOptions { table: String, reason: String },
    #[error("trigger \"{trigger}\" on {table} calls another function")]
    TriggerNameTaken { table: String, trigger: String },
    #[error("column \"{column}\" of {table} is nobody's to update")]
    FixedColumn { table: String, column: String },
    #[error("column \"{column}\" of {table} has type {found}, which cannot be encrypted")]
    NotEncryptable { table: String, column: String, found: String },
    #[error("column \"{column}\" of {table} is not of type {wanted}")]
    CompanionTaken { table: String, column: String, wanted: &'static str },
    #[error("subject column \"{column}\" of {table} has type {found}, not uuid")]
    SubjectType { table: String, column: String, found: String },
    #[error("{table} has no primary key of \"{tenant}\" and one other column")]
    NoRowKey { table: String, tenant: String },
    #[error("{view} exists and is no view of {table}")]
    ViewNameTaken { view: String, table: String },
    #[error("{table} holds encrypted values in \"{column}\"")]
    StillEncrypted { table: String, column: String },
    #[error("column \"{column}\" of {table} cannot be emptied when a person is erased: its type is {found}")]
    NotErasable { table: String, column: String, found: String },
    #[error("{table} has no column id")]
    NoId { table: String },
    #[error("either rows or source must be given")]
    ImportFrom,
    #[error("rows are not a JSON array of objects")]
    NotRows,
    #[error("{table} has no column \"{column}\"")]
    UnknownImportColumn { table: String, column: String },
}

impl SqlError for ProtectError {
    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NotATable { .. } | Self::Partition { .. } => ERRCODE_WRONG_OBJECT_TYPE,
            Self::Temporary { .. } | Self::System { .. } => ERRCODE_INVALID_TABLE_DEFINITION,
            Self::RowsWithoutTenant { .. } | Self::RowsWithNullTenant { .. } => ERRCODE_NOT_NULL_VIOLATION,
            Self::TenantType { .. } => ERRCODE_DATATYPE_MISMATCH,
            Self::Risks { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Options(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoColumn { .. } | Self::UnknownImportColumn { .. } => ERRCODE_UNDEFINED_COLUMN,
            Self::NotOwner { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NotProtected { .. } | Self::NoSoftDelete { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoTable => ERRCODE_UNDEFINED_TABLE,
            Self::NotRows | Self::ImportFrom | Self::FixedColumn { .. } => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::StoredOptions { .. } | Self::NoId { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::TriggerNameTaken { .. } | Self::ViewNameTaken { .. } => ERRCODE_DUPLICATE_OBJECT,
            Self::NotErasable { .. } => ERRCODE_INVALID_TABLE_DEFINITION,
            Self::NotEncryptable { .. } | Self::CompanionTaken { .. } | Self::SubjectType { .. } => {
                ERRCODE_DATATYPE_MISMATCH
            }
            Self::NoRowKey { .. } => ERRCODE_INVALID_TABLE_DEFINITION,
            Self::StillEncrypted { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Risks { risks, .. } => {
                let lines = risks.iter().map(|r| format!("{}: {} ({}). {}", r.code, r.detail, r.object, r.remedy));
                Some(lines.collect::<Vec<_>>().join("\n"))
            }
            _ => None,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotATable { .. } => {
                "Protect the tables beneath it; make views WITH (security_invoker = true).".into()
            }
            Self::Partition { parent, .. } => {
                format!("SELECT thorbis.protect({}); covers every partition.", quote_literal(parent))
            }
            Self::Temporary { .. } => "A temporary table belongs to one session; create an ordinary one.".into(),
            Self::System { .. } => "Protect tables of your own schemas.".into(),
            Self::RowsWithoutTenant { table, column } => format!(
                "ALTER TABLE {table} ADD COLUMN {column} uuid; fill it for every row; then protect the table again."
            ),
            Self::RowsWithNullTenant { table, column } => {
                format!("UPDATE {table} SET {column} = ... WHERE {column} IS NULL; then protect the table again.")
            }
            Self::TenantType { .. } => "Tenants are identified by uuid. Change the column, or name another one in the \
                                        option tenant_column."
                .into(),
            Self::Risks { risks, .. } => {
                let mut codes: Vec<_> = risks.iter().map(|r| format!("\"{}\"", r.code)).collect();
                codes.dedup();
                format!(
                    "Each of these lets one tenant learn of or touch another's rows. Mend them, or pass \
                     {{\"accept_risks\": [{}]}}.",
                    codes.join(", ")
                )
            }
            Self::Options(_) => "Options: policies, actions, update_columns, business_hours, sensitive, own_rows, \
                                 tenant_column, permissions, pii, not_personal, subject, audit, triggers, platform_actions, \
                                 auditor, accept_risks. See docs/POLICIES.md."
                .into(),
            Self::NoColumn { .. } => "Check the spelling in the options.".into(),
            Self::NotOwner { .. } => "Call it as the owner of the table or as superuser.".into(),
            Self::NotProtected { table } => format!("SELECT thorbis.protect({}); protects it.", quote_literal(table)),
            Self::NoTable => "Name an existing table.".into(),
            Self::NoSoftDelete { table } => {
                format!("ALTER TABLE {table} ADD COLUMN deleted_at timestamptz;").to_string()
            }
            Self::StoredOptions { table, .. } => format!(
                "Another version of the library stored them. SELECT thorbis.protect({}, options => ...) replaces them.",
                quote_literal(table)
            ),
            Self::TriggerNameTaken { table, trigger } => {
                format!(
                    "ALTER TRIGGER {} ON {table} RENAME TO ...; then protect the table again.",
                    quote_identifier(trigger)
                )
            }
            Self::NotEncryptable { column, .. } => format!(
                "Text and JSON can be encrypted. {{\"column\": \"{column}\", \"method\": \"clear\"}} notes that it is \
                 personal; or change its type to text."
            ),
            Self::NotErasable { column, .. } => format!(
                "ALTER COLUMN \"{column}\" DROP NOT NULL, or give it a constant default: that is what stands there afterwards."
            ),
            Self::CompanionTaken { column, .. } => format!("Rename \"{column}\": the name is for what encryption stores."),
            Self::SubjectType { .. } => "People are identified by uuid.".into(),
            Self::NoRowKey { .. } => {
                "A ciphertext is bound to its row: PRIMARY KEY (tenant_id, id) with an id of type uuid, text or integer.".into()
            }
            Self::ViewNameTaken { view, .. } => format!("ALTER TABLE {view} RENAME TO ...; then protect the table again."),
            Self::StillEncrypted { table, .. } => {
                format!(
                    "What they are encrypted with, kind, index and subject, cannot change under them. SELECT \
                     thorbis.decrypt_existing({0}); protect the table anew; SELECT thorbis.encrypt_existing({0});",
                    quote_literal(table)
                )
            }
            Self::FixedColumn { .. } => "Leave the tenant column and the primary key out of update_columns.".into(),
            Self::NoId { .. } => "Soft deletion finds rows by tenant and id.".into(),
            Self::ImportFrom => "thorbis.import_rows('t', rows => '[...]'), or source => 'other_table'.".into(),
            Self::NotRows => "Pass an array such as '[{\"name\": \"a\"}, {\"name\": \"b\"}]'.".into(),
            Self::UnknownImportColumn { .. } => {
                "Every key of the rows, or column of the source, is a column of the target.".into()
            }
        }
    }
}
