//! What a table's protection is asked to do beyond the default.

use crate::domain::names;
use crate::protect::audit::{self, Audit};
use crate::protect::error::ProtectError;
use crate::protect::personal::{PiiColumn, Subject};
use crate::protect::table::Column;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The `options` of `thorbis.protect()`, as stored in `thorbis.protected_tables`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of the permissive policies, by command (`select`, `insert`, `update`, `delete`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<Command, String>,
    /// What `thorbis_app` may do at all.
    pub actions: Vec<Command>,
    /// What `thorbis_platform` may do.
    #[serde(skip_serializing_if = "is_everything")]
    pub platform_actions: Vec<Command>,
    /// Whether `thorbis_auditor` reads the rows of its tenant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auditor: bool,
    /// Columns `thorbis_app` may update; by default all but keys, the tenant and maintained columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_columns: Option<Vec<String>>,
    /// Rows are seen, changed and deleted within the business hours of the resource only.
    pub business_hours: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<Sensitive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_rows: Option<OwnRows>,
    pub tenant_column: String,
    /// Whether permissions are asked; without them every user of the tenant may use the table.
    pub permissions: bool,
    /// Columns with personal data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pii: Vec<PiiColumn>,
    /// Columns that were looked at and hold none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_personal: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// What the log of changes keeps.
    #[serde(skip_serializing_if = "Audit::is_default")]
    pub audit: Audit,
    /// Other names for the triggers protection makes, by purpose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers: BTreeMap<Purpose, String>,
    /// The table's name when it was first protected: the names of its policies, triggers and views keep to it when the
    /// table is renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Every column that holds, or held, ciphertexts and blind indexes: not to be classified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<String>,
    /// Codes of risks that were looked at and accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accept_risks: Vec<String>,
}

/// Rows whose jsonb `column` has `key` are for holders of `admin`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Sensitive {
    pub column: String,
    pub key: String,
}

/// Users see their own row, and update `update_columns` of it, without a permission.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OwnRows {
    pub user_column: String,
    #[serde(default = "own_rows_policy")]
    pub policy: String,
    #[serde(default)]
    pub update_columns: Vec<String>,
}

fn is_everything(commands: &[Command]) -> bool {
    Command::ALL.iter().all(|command| commands.contains(command))
}

fn own_rows_policy() -> String {
    "own_rows".into()
}

/// The triggers whose names can be chosen.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    Encrypt,
    Audit,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    Select,
    Insert,
    Update,
    Delete,
}

impl Command {
    pub const ALL: [Command; 4] = [Command::Select, Command::Insert, Command::Update, Command::Delete];

    pub fn sql(self) -> &'static str {
        match self {
            Command::Select => "SELECT",
            Command::Insert => "INSERT",
            Command::Update => "UPDATE",
            Command::Delete => "DELETE",
        }
    }

    /// `pg_policy.polcmd`.
    pub fn letter(self) -> char {
        match self {
            Command::Select => 'r',
            Command::Insert => 'a',
            Command::Update => 'w',
            Command::Delete => 'd',
        }
    }

    /// The action of the permission that the command needs.
    pub fn action(self) -> &'static str {
        match self {
            Command::Select => "read",
            Command::Insert => "create",
            Command::Update => "update",
            Command::Delete => "delete",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            policies: BTreeMap::new(),
            actions: Command::ALL.to_vec(),
            platform_actions: Command::ALL.to_vec(),
            auditor: false,
            update_columns: None,
            business_hours: false,
            sensitive: None,
            own_rows: None,
            tenant_column: "tenant_id".into(),
            permissions: true,
            pii: Vec::new(),
            not_personal: Vec::new(),
            subject: None,
            audit: Audit::default(),
            triggers: BTreeMap::new(),
            name: None,
            companions: Vec::new(),
            accept_risks: Vec::new(),
        }
    }
}

impl Options {
    pub fn parse(json: serde_json::Value) -> Result<Options, ProtectError> {
        if !json.is_object() {
            return Err(ProtectError::Options("they are a JSON object".into()));
        }
        serde_json::from_value(json).map_err(|e| ProtectError::Options(e.to_string()))
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("options are plain data")
    }

    pub fn allows(&self, command: Command) -> bool {
        self.actions.contains(&command)
    }

    /// The permissive policy of a command on `table`.
    pub fn policy_name(&self, table: &str, command: Command) -> String {
        match self.policies.get(&command) {
            Some(name) => name.clone(),
            None if command == Command::Select && self.business_hours => "business_hours_access".into(),
            None => names::derived("", table, &format!("_{}", command.action())),
        }
    }

    /// The columns that are listed as updatable, by everybody or in one's own row.
    pub fn updatable(&self) -> impl Iterator<Item = &String> {
        self.update_columns.iter().flatten().chain(self.own_rows.iter().flat_map(|o| &o.update_columns))
    }

    /// Every column the options name.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        let sensitive = self.sensitive.iter().map(|s| &s.column);
        let personal = self.pii.iter().map(|p| &p.column).chain(&self.not_personal);
        let subject = self.subject.iter().map(|s| &s.column);
        let own = self.own_rows.iter().map(|o| &o.user_column);
        let audited = audit::named_columns(self);
        self.updatable().chain(sensitive).chain(own).chain(personal).chain(subject).chain(audited)
    }

    pub fn encrypted(&self) -> impl Iterator<Item = &PiiColumn> {
        self.pii.iter().filter(|p| p.is_encrypted())
    }

    /// Columns that only a trigger writes: ciphertexts and blind indexes, those of columns that were encrypted once included.
    pub fn sealed_columns(&self) -> impl Iterator<Item = String> {
        let now: Vec<String> = self.pii.iter().flat_map(PiiColumn::companions).collect();
        let before: Vec<String> = self.companions.iter().filter(|name| !now.contains(name)).cloned().collect();
        now.into_iter().chain(before)
    }

    /// The columns that hold, or held, ciphertexts and blind indexes, as far as the table has them.
    pub fn present_companions<'a>(&'a self, columns: &'a [Column]) -> impl Iterator<Item = &'a Column> {
        columns.iter().filter(|c| self.companions.contains(&c.name))
    }

    /// Fills in what stays as it was when the table was first protected: the name its objects are called after, and the
    /// field that the ciphertexts of a column are bound to, which `new_field` makes. Nobody chooses these: under another
    /// table's field its ciphertexts could be read with this table's permission.
    pub fn settle(
        &mut self,
        table: &str,
        previous: Option<&Options>,
        new_field: impl Fn(&str) -> String,
        new_audit_name: impl FnOnce() -> String,
    ) -> Result<(), ProtectError> {
        let named = previous.and_then(|options| options.name.clone()).unwrap_or_else(|| table.to_owned());
        if self.name.replace(named.clone()).is_some_and(|given| given != named) {
            return Err(ProtectError::Options("the option name is not to be chosen".into()));
        }
        let before = |column: &str| previous.and_then(|o| o.pii.iter().find(|p| p.column == column)?.field.clone());
        let known = |field: &String| previous.is_some_and(|o| o.pii.iter().any(|p| p.field.as_ref() == Some(field)));
        // Those of columns in clear are bound to it in the log of changes.
        for pii in &mut self.pii {
            // A column that was renamed takes its field along.
            if let Some(given) = pii.field.as_ref().filter(|given| !known(given)) {
                return Err(ProtectError::Options(format!("the field {given:?} is not one of this table")));
            }
            pii.required |= previous.is_some_and(|o| o.pii.iter().any(|p| p.column == pii.column && p.required));
            let settled = pii.field.take().or_else(|| before(&pii.column)).unwrap_or_else(|| new_field(&pii.column));
            pii.field = Some(settled);
        }
        self.audit.settle(previous.map(|options| &options.audit), new_audit_name)?;
        let mut fields: Vec<&String> = self.pii.iter().filter_map(|p| p.field.as_ref()).collect();
        fields.sort();
        if let Some(twice) = fields.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ProtectError::Options(format!("the field {:?} is given to two columns", twice[0])));
        }
        let mut companions: Vec<String> = self.pii.iter().flat_map(PiiColumn::companions).collect();
        companions.extend(previous.iter().flat_map(|options| options.companions.iter().cloned()));
        companions.sort();
        companions.dedup();
        self.companions = companions;
        Ok(())
    }

    /// What the names of the objects of `table` derive from.
    pub fn base<'a>(&'a self, table: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Options::parse(json!({})).unwrap(), Options::default());
    }

    #[test]
    fn unknown_options_and_commands_are_refused() {
        assert!(Options::parse(json!({"busines_hours": true})).is_err());
        assert!(Options::parse(json!({"actions": ["truncate"]})).is_err());
        assert!(Options::parse(json!([])).is_err());
    }

    #[test]
    fn options_survive_the_registry() {
        let given = Options::parse(json!({
            "actions": ["select"], "business_hours": true, "policies": {"select": "p"},
            "own_rows": {"user_column": "id", "update_columns": ["name"]}
        }))
        .unwrap();
        assert_eq!(Options::parse(given.to_json()).unwrap(), given);
    }

    #[test]
    fn personal_columns_may_be_plain_names() {
        let given = json!({"pii": ["notes", {"column": "email", "kind": "email", "index": true}]});
        let mut options = Options::parse(given).unwrap();
        assert_eq!(options.sealed_columns().collect::<Vec<_>>(), ["notes_encrypted", "email_encrypted", "email_bidx"]);
        options.settle("t", None, |column| format!("s.t.{column}"), || "s.t".into()).unwrap();
        let mut renamed = Options::parse(json!({"pii": ["email", "more"]})).unwrap();
        renamed
            .settle("renamed", Some(&options), |column| format!("s.renamed.{column}"), || "s.renamed".into())
            .unwrap();
        assert_eq!(renamed.audit.columns.name.as_deref(), Some("s.t"), "the history of the table goes on");
        assert_eq!(renamed.base("renamed"), "t");
        let fields: Vec<_> = renamed.pii.iter().map(|p| p.field.as_deref().unwrap()).collect();
        assert_eq!(fields, ["s.t.email", "s.renamed.more"], "ciphertexts stay bound to what they were bound to");
        assert!(Options::parse(json!({"pii": [{"colum": "email"}]})).is_err());
        assert!(Options::parse(json!({"pii": [{"column": "email", "kind": "url"}]})).is_err());
    }

    #[test]
    fn fields_and_names_are_not_chosen() {
        let settle = |json, previous| {
            Options::parse(json).unwrap().settle("t", previous, |c| format!("s.t.{c}"), || "s.t".into())
        };
        let stolen = json!({"pii": [{"column": "email", "field": "shared.customers.email"}]});
        assert!(settle(stolen, None).is_err());
        assert!(settle(json!({"name": "other"}), None).is_err());
        let mut before = Options::parse(json!({"pii": ["email"]})).unwrap();
        before.settle("t", None, |c| format!("s.t.{c}"), || "s.t".into()).unwrap();
        assert!(settle(json!({"audit": {"name": "shared.users"}}), None).is_err());
        assert!(settle(before.to_json(), Some(&before)).is_ok(), "what the registry holds can be given back");
        let renamed = json!({"pii": [{"column": "mail", "field": "s.t.email"}]});
        assert!(settle(renamed, Some(&before)).is_ok(), "a renamed column keeps its field");
    }

    #[test]
    fn policy_names() {
        let mut o = Options::default();
        assert_eq!(o.policy_name("orders", Command::Insert), "orders_create");
        o.business_hours = true;
        assert_eq!(o.policy_name("orders", Command::Select), "business_hours_access");
        o.policies.insert(Command::Select, "mine".into());
        assert_eq!(o.policy_name("orders", Command::Select), "mine");
    }
}
