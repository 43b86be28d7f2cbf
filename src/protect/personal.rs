//! The options of `thorbis.protect()` about personal data: which columns hold it, whose it is.

use crate::domain::names;
use crate::domain::personal::Kind;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A column with personal data. In the options a plain text is a column to be encrypted.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct PiiColumn {
    pub column: String,
    pub method: Method,
    pub kind: Kind,
    /// Whether equal values can be found through a blind index.
    pub index: bool,
    pub category: Category,
    /// The column was NOT NULL before it was encrypted: it still has to have a value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What ciphertexts of the column are bound to: its qualified name when it was first protected, kept through
    /// renames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// How the values are kept.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    #[default]
    Encrypt,
    /// Readable in the table.
    Clear,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Identity,
    Contact,
    Address,
    Financial,
    Health,
    Location,
    Online,
    Credential,
    #[default]
    Other,
}

/// Whose data a row is.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// customer, user, or a kind of one's own.
    pub kind: String,
    /// A uuid column: the person's id, or with `through` the id of a row there.
    pub column: String,
    /// A protected table whose rows belong to the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
}

impl<'de> Deserialize<'de> for PiiColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            column: String,
            #[serde(default)]
            method: Method,
            #[serde(default)]
            kind: Kind,
            #[serde(default)]
            index: bool,
            #[serde(default)]
            category: Category,
            #[serde(default)]
            required: bool,
            #[serde(default)]
            field: Option<String>,
        }
        let written = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(column) => serde_json::json!({ "column": column }),
            other => other,
        };
        let Written { column, method, kind, index, category, required, field } =
            serde_json::from_value(written).map_err(D::Error::custom)?;
        Ok(PiiColumn { column, method, kind, index, category, required, field })
    }
}

impl PiiColumn {
    pub fn is_encrypted(&self) -> bool {
        self.method == Method::Encrypt
    }

    /// The column with the envelopes.
    pub fn encrypted(&self) -> String {
        names::encrypted_column(&self.column)
    }

    /// The column with the blind index, if there is one.
    pub fn blind_index(&self) -> Option<String> {
        (self.is_encrypted() && self.index).then(|| names::blind_index_column(&self.column))
    }

    /// The columns that stand for this one at rest.
    pub fn companions(&self) -> impl Iterator<Item = String> {
        self.is_encrypted().then(|| self.encrypted()).into_iter().chain(self.blind_index())
    }
}
