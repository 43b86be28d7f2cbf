//! The one list of what is deployed, in order. Files are in `sql/schema/<module>/`.

use crate::domain::plan::{Migration, Module};

macro_rules! sql_file {
    ($module:literal, $file:expr) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/schema/", $module, "/", $file))
    };
}

macro_rules! migrations {
    ($module:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            up: sql_file!($module, concat!($name, ".sql")),
            down: sql_file!($module, concat!($name, ".down.sql")),
        }),+]
    };
}

pub const MODULES: &[Module] = &[
    Module {
        name: "thorbis",
        about: "Administration of thorbis_db",
        requires: &[],
        industry: false,
        migrations: migrations!("thorbis": 1 "0001_registry", 2 "0002_data_keys"),
        views: None,
    },
    Module {
        name: "audit",
        about: "Who changed what and when: the log of changes, its seals, security events",
        requires: &["thorbis"],
        industry: false,
        migrations: migrations!("audit":
            1 "0001_change_log", 2 "0002_seals", 3 "0003_security_events", 4 "0004_history"),
        views: Some(sql_file!("audit", "views.sql")),
    },
    Module {
        name: "shared",
        about: "What every industry uses: tenants, users, customers, documents, billing, ledgers, bookings",
        requires: &["audit"],
        industry: false,
        migrations: migrations!("shared":
            1 "0001_tenants", 2 "0002_users", 3 "0003_locations", 4 "0004_customers", 5 "0005_business_hours",
            6 "0006_document_status",
            7 "0007_number_series",
            8 "0008_outbox",
            9 "0009_taxes",
            10 "0010_invoices",
            11 "0011_credit_notes",
            12 "0012_payments",
            13 "0013_cash",
            14 "0014_gift_cards",
            15 "0015_loyalty",
            16 "0016_stock",
            17 "0017_bookings",
            18 "0018_subscriptions",
            19 "0019_stock_movements"),
        views: Some(sql_file!("shared", "views.sql")),
    },
    Module {
        name: "rbac",
        about: "Who may do what: permissions, roles, their assignment, and the safeguards around them",
        requires: &["shared"],
        industry: false,
        migrations: migrations!("rbac":
            1 "0001_permissions", 2 "0002_roles", 3 "0003_assignments", 4 "0004_safeguards", 5 "0005_engine_permissions"),
        views: Some(sql_file!("rbac", "views.sql")),
    },
    Module {
        name: "gdpr",
        about: "Data protection: what is personal, requests, consents, retention, holds, erasures, breaches",
        requires: &["rbac"],
        industry: false,
        migrations: migrations!("gdpr":
            1 "0001_requests", 2 "0002_retention", 3 "0003_breaches", 4 "0004_functions"),
        views: Some(sql_file!("gdpr", "views.sql")),
    },
    Module {
        name: "restaurants",
        about: "Restaurants: menu, tables, orders, kitchen",
        requires: &["rbac"],
        industry: true,
        migrations: migrations!("restaurants":
            1 "0001_menu", 2 "0002_dining", 3 "0003_orders", 4 "0004_kitchen", 5 "0005_role_templates"),
        views: Some(sql_file!("restaurants", "views.sql")),
    },
];

/// The module of that name.
pub fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|m| m.name == name)
}

/// The modules that are installed by name.
pub fn industries() -> Vec<&'static str> {
    MODULES.iter().filter(|m| m.industry).map(|m| m.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn requirements_come_first() {
        for (i, module) in MODULES.iter().enumerate() {
            for required in module.requires {
                assert!(MODULES[..i].iter().any(|m| m.name == *required), "{} before {required}", module.name);
            }
        }
    }

    #[test]
    fn versions_count_up_and_name_their_files() {
        for module in MODULES {
            for (i, migration) in module.migrations.iter().enumerate() {
                assert_eq!(migration.version, i as i32 + 1);
                assert!(migration.name.starts_with(&format!("{:04}_", migration.version)), "{}", migration.name);
            }
        }
    }

    #[test]
    fn every_file_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/schema");
        let on_disk: BTreeSet<String> = walk(&root).collect();
        let listed: BTreeSet<String> = MODULES
            .iter()
            .flat_map(|m| {
                let files =
                    m.migrations.iter().flat_map(|x| [format!("{}.sql", x.name), format!("{}.down.sql", x.name)]);
                files.chain(m.views.map(|_| "views.sql".into())).map(|f| format!("{}/{f}", m.name)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(on_disk, listed);
    }

    fn walk(root: &Path) -> impl Iterator<Item = String> {
        let modules = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path());
        modules.flat_map(|module| {
            let name = module.file_name().unwrap().to_string_lossy().into_owned();
            let files: Vec<_> = std::fs::read_dir(&module).unwrap().map(|e| e.unwrap().file_name()).collect();
            files.into_iter().map(move |f| format!("{name}/{}", f.to_string_lossy()))
        })
    }
}
