//! What would void a table's protection.

use crate::pg::sql::{column, query};
use crate::protect::grants;
use crate::protect::options::{Command, Options};
use crate::protect::table::Table;

/// One finding. `code` is what `accept_risks` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    pub code: String,
    pub object: String,
    pub detail: String,
    pub remedy: String,
}

const RISKS: &str = include_str!("risks.sql");

/// All risks of a table, accepted or not. `own_policies` are the names of the policies protection makes.
pub fn of(table: &Table, options: &Options, own_policies: Vec<String>) -> Vec<Risk> {
    let writable: Vec<String> = if options.allows(Command::Insert) {
        table.columns.iter().map(|c| c.name.clone()).collect()
    } else {
        grants::updatable_columns(table, options)
    };
    let tenant = options.tenant_column.as_str();
    query(RISKS, &[table.oid.into(), tenant.into(), own_policies.into(), writable.into()], |row| Risk {
        code: column(row, 1),
        object: column(row, 2),
        detail: column(row, 3),
        remedy: column(row, 4),
    })
}
