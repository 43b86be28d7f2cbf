//! What the tests on real connections share: private clusters, fresh databases, two tenants, assertions.
//!
//! Everything stands on `scripts/cluster.sh`. `scripts/test.sh` starts the cluster `test` and deletes it afterwards;
//! a bare `cargo test -p thorbis-tests --test isolation` starts it by itself and leaves it running.

mod assertions;
mod catalog;
mod cluster;
mod database;
mod findings;
pub mod listing;
mod session;
mod tenants;

pub use assertions::{assert_sqlstate, assert_sqlstate_in, db_error, describe, ok, sqlstate};
pub use catalog::{TenantTable, assert_none, tenant_tables};
pub use cluster::{Cluster, repository_root};
pub use database::{Database, FIXTURE_ROLES};
pub use findings::{Case, Finding, Remedy, case, findings, new_findings, try_cases};
pub use session::{NO_TENANTS, Session, force_parallel, in_context, one, set_local};
pub use tenants::{A, B, Tenant};
