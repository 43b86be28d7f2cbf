//! Deploying the schemas: `manifest` lists them, `engine` runs migrations, `install`, `rollback` and `status` are the
//! commands, `objects` remembers what was deployed, `repair` restores what no dump carries.

pub mod auth_shims;
pub mod contrib;
pub mod engine;
pub mod error;
pub mod install;
pub mod manifest;
pub mod objects;
pub mod repair;
pub mod roles;
pub mod rollback;
pub mod status;
pub mod tenants;

use crate::access::invalidation;
use crate::pg::error::SqlError;
use crate::pg::identity;
use error::DeployError;
use pgrx::spi::quote_identifier;

/// The schema the document's functions live in, quoted: where the DBA created the extension.
pub fn extension_schema() -> String {
    crate::pg::sql::query_one(
        "SELECT n.nspname::text FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
          WHERE e.extname = 'thorbis_db'",
        &[],
        |row| quote_identifier(crate::pg::sql::column::<String>(row, 1)),
    )
    .unwrap_or_else(|| pgrx::error!("extension thorbis_db is not created in this database"))
}

/// Raises unless `thorbis.install()` has run.
pub fn require_installed() {
    if invalidation::named("thorbis", "protected_tables").is_none() {
        DeployError::NotInstalled.raise();
    }
}

/// Raises 42501 unless the caller is a superuser.
pub fn require_superuser(function: &'static str) {
    if !identity::is_superuser() {
        DeployError::NotSuperuser { function }.raise();
    }
}
