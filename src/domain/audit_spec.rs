//! What an audit trigger is told of its table: the JSON text that stands in CREATE TRIGGER.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSpec {
    /// What the log calls the table.
    pub table: String,
    pub tenant: String,
    /// Personal columns, and the fields their envelopes are bound to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub personal: BTreeMap<String, String>,
    /// Logged without their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<String>,
    /// Not logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Known to hold nothing personal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_personal: Vec<String>,
    /// Whose keys encrypt the personal values; without it the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<AuditSubject>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSubject {
    pub kind: String,
    /// The person's id, or the key of a row of the first table on the way.
    pub column: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<AuditStep>,
}

/// A table on the way to the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditStep {
    pub schema: String,
    pub table: String,
    pub tenant: String,
    /// What leads on: the person's id, or the key of a row of the next table.
    pub column: String,
}

impl AuditSpec {
    /// None for a text that this version does not write.
    pub fn parse(text: &str) -> Option<AuditSpec> {
        serde_json::from_str(text).ok()
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}
