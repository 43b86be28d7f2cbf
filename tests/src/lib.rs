//! What the tests on real connections share: private clusters, fresh databases, two tenants, assertions.
//!
//! Everything stands on `scripts/cluster.sh`. `scripts/test.sh` starts the cluster `test` and deletes it afterwards;
//! a bare `cargo test -p thorbis-tests --test isolation` starts it by itself and leaves it running.

mod assertions;
pub mod audit;
pub mod audit_log;
pub mod billing;
pub mod bills;
mod catalog;
mod cluster;
mod database;
pub mod desk;
mod dump;
pub mod events;
mod findings;
pub mod keyring;
pub mod ledgers;
pub mod listing;
pub mod notes;
pub mod people;
pub mod personal;
pub mod seals;
mod session;
mod tenants;
pub mod traces;

pub use assertions::{assert_sqlstate, assert_sqlstate_in, db_error, describe, ok, sqlstate};
pub use catalog::{TenantTable, assert_none, tenant_tables};
pub use cluster::{Cluster, repository_root};
pub use database::{Database, FIXTURE_ROLES, make_database};
pub use dump::Dump;
pub use findings::{Case, Finding, Remedy, case, findings, new_findings, try_cases};
pub use keyring::{Keyring, KeyringFile};
pub use session::{NO_TENANTS, Session, as_owner, force_parallel, in_context, one, set_local, until};
pub use tenants::{A, B, Tenant};
