//! What would void a table's protection.

use crate::pg::sql::{column, query};
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
pub fn of(table: &Table, tenant_column: &str, own_policies: &[String]) -> Vec<Risk> {
    let own = own_policies.to_vec();
    query(RISKS, &[table.oid.into(), tenant_column.into(), own.into()], |row| Risk {
        code: column(row, 1),
        object: column(row, 2),
        detail: column(row, 3),
        remedy: column(row, 4),
    })
}
