//! What the doctor finds by comparing the live database with what protect(), repair() and the migrations would make.

use thorbis_tests::Remedy::{Printed, Written};
use thorbis_tests::{Case, case, try_cases};

const COMPARISONS: &[Case] = &[
    case("error", "protection_incomplete", "ALTER TABLE shared.customers NO FORCE ROW LEVEL SECURITY", Printed),
    case("error", "protection_incomplete", "ALTER TABLE shared.customers DISABLE ROW LEVEL SECURITY", Printed),
    case("error", "protection_incomplete", "DROP POLICY tenant_isolation_customers ON shared.customers", Printed),
    case(
        "error",
        "protection_incomplete",
        "ALTER POLICY employee_read_customers ON shared.customers TO PUBLIC",
        Printed,
    ),
    case(
        "error",
        "protection_incomplete",
        "ALTER POLICY customers_update ON shared.customers WITH CHECK (true)",
        Printed,
    ),
    case("error", "protection_incomplete", "DROP TRIGGER update_customers_tenant_guard ON shared.customers", Printed),
    case("error", "protection_incomplete", "ALTER TABLE shared.customers ALTER tenant_id DROP DEFAULT", Printed),
    case("error", "protection_incomplete", "GRANT UPDATE (tenant_id) ON shared.customers TO thorbis_app", Printed),
    case("error", "protection_incomplete", "GRANT DELETE ON shared.tenants TO thorbis_app", Printed),
    case("warning", "protection_incomplete", "REVOKE SELECT ON shared.customers FROM thorbis_app", Printed),
    case(
        "error",
        "protection_incomplete",
        "CREATE TABLE fleet.trips_new PARTITION OF fleet.trips FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        Printed,
    ),
    case("error", "protection_incomplete", "DROP TRIGGER encrypt_customer_pii_trigger ON shared.customers", Printed),
    case("error", "protection_incomplete", "DROP TRIGGER write_users_pii ON shared.users_pii", Printed),
    case("error", "protection_incomplete", "GRANT SELECT ON shared.customers TO thorbis_app", Printed),
    case(
        "error",
        "protection_incomplete",
        "ALTER TABLE shared.customers DROP CONSTRAINT customers_email_encrypted_check",
        Printed,
    ),
    case(
        "error",
        "plaintext_rows",
        "INSERT INTO fleet.trucks VALUES ('{tenant}', gen_random_uuid(), 'B-X 1');
         SELECT thorbis.protect('fleet.trucks', options => '{\"pii\": [\"plate\"]}')",
        Printed,
    ),
    case(
        "error",
        "keyring",
        "SET LOCAL thorbis.keyring_file = ''",
        Written("SET LOCAL thorbis.keyring_file = DEFAULT"),
    ),
    case(
        "error",
        "unprotectable",
        "ALTER TABLE fleet.trucks DROP COLUMN plate",
        Written("SELECT thorbis.protect('fleet.trucks', options => '{}')"),
    ),
    case(
        "error",
        "drift",
        "DROP INDEX shared.idx_customers_tenant_created",
        Written(
            "CREATE INDEX idx_customers_tenant_created ON shared.customers (tenant_id, created_at, id)
                 WHERE deleted_at IS NULL",
        ),
    ),
    case(
        "error",
        "drift",
        "ALTER TABLE shared.customers ALTER settings DROP NOT NULL",
        Written("ALTER TABLE shared.customers ALTER settings SET NOT NULL"),
    ),
    case(
        "error",
        "repair_needed",
        "ALTER TABLE shared.customers DISABLE TRIGGER update_customers_tenant_guard",
        Printed,
    ),
    case("error", "repair_needed", "ALTER TABLE rbac.user_roles DISABLE TRIGGER ALL", Printed),
    case("error", "repair_needed", "ALTER TABLE shared.users ENABLE TRIGGER write_users_invalidation", Printed),
    case(
        "error",
        "repair_needed",
        "ALTER TABLE shared.customers ENABLE REPLICA TRIGGER update_customers_tenant_guard",
        Printed,
    ),
    case(
        "error",
        "repair_needed",
        "ALTER TABLE rbac.user_roles ENABLE REPLICA TRIGGER write_user_roles_grant_check",
        Printed,
    ),
    case("error", "repair_needed", "ALTER TABLE shared.customers ENABLE TRIGGER encrypt_customer_pii_trigger", Printed),
    case("error", "repair_needed", "REVOKE SET ON PARAMETER app.current_user_id FROM thorbis_gateway", Printed),
    case(
        "warning",
        "repair_needed",
        "ALTER DATABASE {database} SET thorbis.tenant_claim = 'app_metadata.tenant_id'",
        Printed,
    ),
    case(
        "warning",
        "repair_needed",
        "ALTER DATABASE {database} SET thorbis.tenant_claim = 'org_id'; SELECT thorbis.repair();
         ALTER DATABASE {database} RESET thorbis.tenant_claim",
        Printed,
    ),
    case(
        "error",
        "version_mismatch",
        "SET LOCAL allow_system_table_mods = on;
         UPDATE pg_extension SET extversion = '0.0.0' WHERE extname = 'thorbis_db'",
        Written("UPDATE pg_extension SET extversion = thorbis.version() WHERE extname = 'thorbis_db'"),
    ),
];

#[test]
fn what_differs_from_the_deployment_is_found_and_mended() {
    try_cases(COMPARISONS);
}

#[test]
fn every_finding_is_explained_in_the_documentation() {
    let documentation = include_str!("../docs/POLICIES.md");
    for case in COMPARISONS {
        assert!(documentation.contains(&format!("`{}`", case.code)), "docs/POLICIES.md does not know {}", case.code);
    }
}
