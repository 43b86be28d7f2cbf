//! thorbis_db: a safe multi-tenant business database as a PostgreSQL extension.
//!
//! | folder | what |
//! |---|---|
//! | `domain` | pure logic, no PostgreSQL |
//! | `pg` | what pgrx does not offer: raw fast paths, fresh reads, acting as an owner |
//! | `context` | who is asking: tenant and user of the transaction, the latch |
//! | `access` | what they may do: permissions, opening hours, their caches and guards |
//! | `rows` | row triggers of the business tables |
//! | `pii` | personal data: encryption, the keyring, look-ups |
//! | `protect` | protection of any table, and the doctor |
//! | `audit` | the log of changes: writing it, sealing it, proving it, keeping it |
//! | `totals` | exact totals of orders and refunds |
//! | `documents` | status, numbers and stored totals of documents |
//! | `ledgers` | stock, points, gift cards: balances that follow their movements |
//! | `billing` | invoices, payments, their chain and their rules |
//! | `bookings` | no double booking |
//! | `outbox` | events for other systems, requests that must not be done twice |
//! | `validation` | numbers with a check digit |
//! | `gdpr` | a person's data as a whole: export, erasure, what is left |
//! | `deploy` | migrations, repair, tenants |
//!
//! The SQL of the members is in `sql/extension/`, in the order given below; the schemas are in `sql/schema/`.

pub mod access;
pub mod audit;
pub mod billing;
pub mod bookings;
pub mod context;
pub mod deploy;
pub mod documents;
pub mod domain;
pub mod gdpr;
pub mod ledgers;
pub mod outbox;
pub mod pg;
pub mod pii;
pub mod protect;
pub mod rows;
pub mod totals;
pub mod validation;

use pgrx::prelude::*;

pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/extension/01_server.sql", name = "server", bootstrap);
extension_sql_file!("../sql/extension/02_roles.sql", name = "roles", requires = ["server"]);
extension_sql_file!("../sql/extension/03_context.sql", name = "context", requires = ["roles"]);
extension_sql_file!("../sql/extension/04_access.sql", name = "access", requires = ["context"]);
extension_sql_file!("../sql/extension/05_triggers.sql", name = "triggers", requires = ["access"]);
extension_sql_file!("../sql/extension/06_protect.sql", name = "protect", requires = ["triggers"]);
extension_sql_file!("../sql/extension/07_deploy.sql", name = "deploy", requires = ["protect"]);
extension_sql_file!("../sql/extension/08_personal_data.sql", name = "personal_data", requires = ["deploy"]);
extension_sql_file!("../sql/extension/09_gdpr.sql", name = "gdpr", requires = ["personal_data"]);
extension_sql_file!("../sql/extension/10_audit.sql", name = "audit", requires = ["gdpr"]);
extension_sql_file!("../sql/extension/11_seals.sql", name = "seals", requires = ["audit"]);
extension_sql_file!("../sql/extension/12_security_events.sql", name = "security_events", requires = ["seals"]);
extension_sql_file!("../sql/extension/13_maintain.sql", name = "maintain", requires = ["security_events"]);
extension_sql_file!("../sql/extension/14_totals.sql", name = "totals", requires = ["maintain"]);
extension_sql_file!("../sql/extension/15_documents.sql", name = "documents", requires = ["totals"]);
extension_sql_file!("../sql/extension/16_ledgers.sql", name = "ledgers", requires = ["documents"]);
extension_sql_file!("../sql/extension/17_billing.sql", name = "billing", requires = ["ledgers"]);
extension_sql_file!("../sql/extension/18_bookings.sql", name = "bookings", requires = ["billing"]);
extension_sql_file!("../sql/extension/19_outbox.sql", name = "outbox", requires = ["bookings"]);
extension_sql_file!("../sql/extension/20_validation.sql", name = "validation", requires = ["outbox"]);
extension_sql_file!("../sql/extension/99_next_step.sql", name = "next_step", finalize);

/// Runs when a backend loads the library: settings, cache invalidation, and the hook of parallel queries.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    context::settings::init();
    access::invalidation::init();
    context::parallel::init();
    pii::settings::init();
    audit::origin::init();
    audit::layout::init();
    audit::change_log::init();
    audit::retention::init();
    audit::worker::init();
    documents::reason::init();
}

/// Test setup for `cargo pgrx test`.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        // A keyring for the tests, without a file that the server's user would have to own.
        vec![concat!(
            r#"thorbis.keyring_command = 'echo ''{"active": "test", "keys": {"test": ""#,
            "dGhpcyBrZXkgb2YgMzIgYnl0ZXMgaXMgZm9yIHRlc3Q=",
            r#""}}'''"#
        )]
    }
}
