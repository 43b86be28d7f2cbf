//! The option `audit` of `thorbis.protect()`, and the triggers that write the log of changes.

use crate::deploy::extension_schema;
use crate::domain::audit_spec::{AuditSpec, AuditStep, AuditSubject};
use crate::domain::names;
use crate::protect::error::ProtectError;
use crate::protect::options::{Options, Purpose};
use crate::protect::personal::Category;
use crate::protect::registry;
use crate::protect::table::Table;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tables that lead to a person through one another, at most.
const LONGEST_PATH: usize = 10;

/// What the log keeps of a table. In the options `false` keeps it out of the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Audit {
    pub off: bool,
    pub columns: AuditColumns,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditColumns {
    /// What the log calls the table: its qualified name when it was first protected, kept through renames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Columns that are not logged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Columns of which only the change is logged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<String>,
}

impl Serialize for Audit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.off { serializer.serialize_bool(false) } else { self.columns.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Audit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(on) => Ok(Audit { off: !on, ..Audit::default() }),
            other => {
                let columns = serde_json::from_value(other).map_err(D::Error::custom)?;
                Ok(Audit { off: false, columns })
            }
        }
    }
}

impl Audit {
    pub fn is_default(&self) -> bool {
        *self == Audit::default()
    }

    /// Fills in the table's name in the log. Nobody chooses it: it would be another table's history.
    pub fn settle(&mut self, previous: Option<&Audit>, new_name: impl FnOnce() -> String) -> Result<(), ProtectError> {
        if self.off {
            return Ok(());
        }
        let settled = previous.and_then(|audit| audit.columns.name.clone()).unwrap_or_else(new_name);
        match self.columns.name.replace(settled.clone()) {
            Some(given) if given != settled => {
                Err(ProtectError::Options("the name in the option audit is not to be chosen".into()))
            }
            _ => Ok(()),
        }
    }
}

/// The trigger of changes: (name, call); None for a table that is not logged.
pub fn row_trigger(table: &Table, options: &Options) -> Option<(String, String)> {
    let spec = spec(table, options)?;
    let chosen = options.triggers.get(&Purpose::Audit).cloned();
    let name = chosen.unwrap_or_else(|| names::derived("audit_", options.base(&table.name), "_changes"));
    Some((name, call("audit_row_changes", &spec)))
}

/// The same of TRUNCATE, which stands on each relation that has rows.
pub fn truncate_trigger(table: &Table, options: &Options) -> Option<(String, String)> {
    let spec = spec(table, options)?;
    // Rows are counted, not shown.
    let spec = AuditSpec { table: spec.table, tenant: spec.tenant, ..AuditSpec::default() };
    Some((names::derived("audit_", options.base(&table.name), "_truncate"), call("audit_truncate", &spec)))
}

fn call(function: &str, spec: &AuditSpec) -> String {
    // As PostgreSQL prints it: quote_literal() would escape backslashes, and the trigger would seem to differ.
    format!("{}.{function}('{}')", extension_schema(), spec.to_text().replace('\'', "''"))
}

/// What the triggers are told; None for a table that is not logged.
pub fn spec(table: &Table, options: &Options) -> Option<AuditSpec> {
    if options.audit.off {
        return None;
    }
    let AuditColumns { name, exclude, secret } = &options.audit.columns;
    let credentials = options.pii.iter().filter(|pii| pii.category == Category::Credential);
    let mut secret: Vec<String> = secret.iter().chain(credentials.map(|pii| &pii.column)).cloned().collect();
    let is_secret = |column: &String, secret: &[String]| secret.contains(column) || exclude.contains(column);
    let personal = options.pii.iter().filter(|pii| !is_secret(&pii.column, &secret));
    let personal = personal.map(|pii| (pii.column.clone(), pii.field.clone().unwrap_or_default())).collect();
    // The ciphertext of a secret is one too.
    let sealed: Vec<String> = options
        .pii
        .iter()
        .filter(|pii| pii.is_encrypted() && is_secret(&pii.column, &secret))
        .map(|pii| pii.encrypted())
        .collect();
    secret.extend(sealed);
    secret.retain(|column| !exclude.contains(column));
    secret.sort();
    secret.dedup();
    // Blind indexes tell equal values from others for ever, whatever becomes of the keys.
    let bytea = |name: &String| table.column(name).is_none_or(|c| c.data_type == "bytea");
    let indexes = options.pii.iter().filter_map(|pii| pii.blind_index());
    let old = options.companions.iter().filter(|name| name.ends_with("_bidx")).cloned();
    let mut exclude: Vec<String> = exclude.iter().cloned().chain(indexes).chain(old.filter(bytea)).collect();
    exclude.sort();
    exclude.dedup();
    let mut not_personal: Vec<String> = options.not_personal.clone();
    not_personal.retain(|column| !secret.contains(column) && !exclude.contains(column));
    Some(AuditSpec {
        table: name.clone().unwrap_or_default(),
        tenant: options.tenant_column.clone(),
        personal,
        secret,
        exclude,
        not_personal,
        subject: subject(options),
    })
}

/// The way to the person. Where it leads nowhere, the tenant's key takes the place of theirs, and no change is refused.
fn subject(options: &Options) -> Option<AuditSubject> {
    let subject = options.subject.as_ref()?;
    let mut through = Vec::new();
    let mut next = subject.through.clone();
    while let Some(name) = next {
        let entry = registry::called(&name).filter(|_| through.len() < LONGEST_PATH)?;
        let table = Table::read(entry.table).ok()?;
        let further = entry.options.subject?;
        let tenant = entry.options.tenant_column;
        through.push(AuditStep { schema: table.schema, table: table.name, tenant, column: further.column });
        next = further.through;
    }
    Some(AuditSubject { kind: subject.kind.clone(), column: subject.column.clone(), through })
}

/// Columns that the option names.
pub fn named_columns(options: &Options) -> impl Iterator<Item = &String> {
    options.audit.columns.exclude.iter().chain(&options.audit.columns.secret)
}
