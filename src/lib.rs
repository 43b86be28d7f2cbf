//! thorbis_db: a safe multi-tenant business database as a PostgreSQL extension.
pub mod access;
pub mod context;
pub mod domain;
pub mod pg;
pub mod rows;
pgrx::pg_module_magic!();
pub mod deploy { pub fn require_installed() {} }
pub mod protect { pub mod table { pub fn qualified_name(_o: pgrx::pg_sys::Oid) -> String { String::new() } } }
