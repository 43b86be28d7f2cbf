//! Contrib modules that the deployed schemas use when the server has them.

use crate::deploy::extension_schema;
use crate::pg::sql;
use pgrx::prelude::*;

/// Exclusion constraints compare uuids in a GiST index.
const BTREE_GIST: &str = "btree_gist";

/// The statements that are still to be run: in the schema where thorbis_db is.
pub fn missing() -> Vec<String> {
    if is_installed() || !is_available() {
        return Vec::new();
    }
    vec![format!("CREATE EXTENSION {BTREE_GIST} SCHEMA {}", extension_schema())]
}

pub fn install() -> Vec<String> {
    let statements = missing();
    for statement in &statements {
        sql::run(statement, &[]);
    }
    if !is_installed() {
        notice!("the server has no {BTREE_GIST}: triggers keep ranges from overlapping, not exclusion constraints");
    }
    statements
}

pub fn is_installed() -> bool {
    sql::exists("SELECT 1 FROM pg_extension WHERE extname = $1", &[BTREE_GIST.into()])
}

fn is_available() -> bool {
    sql::exists("SELECT 1 FROM pg_available_extensions WHERE name = $1", &[BTREE_GIST.into()])
}
