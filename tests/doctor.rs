//! Every finding of the doctor about the database: what brings it about, how grave it is, and that its remedy mends it.
//! Findings about single tables are in risks.rs, those that compare with the deployment in drift.rs.

use std::collections::BTreeSet;
use thorbis_tests::Remedy::{Printed, Written};
use thorbis_tests::{Case, Database, case, new_findings, ok, try_cases};

const CHECKS: &[Case] = &[
    case(
        "error",
        "unprotected_table",
        "CREATE TABLE fleet.loose (tenant_id uuid, id uuid, PRIMARY KEY (tenant_id, id));
         ALTER TABLE fleet.loose OWNER TO thorbis_owner; GRANT SELECT ON fleet.loose TO thorbis_app",
        Printed,
    ),
    case(
        "error",
        "unprotected_table",
        "CREATE TABLE fleet.loose (tenant_id uuid, id uuid, PRIMARY KEY (tenant_id, id));
         ALTER TABLE fleet.loose OWNER TO thorbis_owner; GRANT SELECT (id) ON fleet.loose TO thorbis_app",
        Printed,
    ),
    case("error", "partition_granted", "GRANT SELECT ON fleet.trips_old TO thorbis_app", Printed),
    case("error", "partition_granted", "GRANT INSERT ON fleet.trips_old TO PUBLIC", Printed),
    case(
        "error",
        "definer_view",
        "CREATE VIEW fleet.all_customers AS SELECT * FROM shared.customers;
         GRANT SELECT ON fleet.all_customers TO thorbis_app",
        Printed,
    ),
    case(
        // With the rights of the outer view's owner, whatever the inner one says.
        "error",
        "definer_view",
        "CREATE VIEW fleet.beneath WITH (security_invoker = true) AS SELECT * FROM shared.customers;
         CREATE VIEW fleet.all_customers AS SELECT * FROM fleet.beneath; GRANT SELECT ON fleet.all_customers TO thorbis_app",
        Printed,
    ),
    case(
        "error",
        "materialized_view",
        "CREATE MATERIALIZED VIEW fleet.all_customers AS SELECT * FROM shared.customers;
         GRANT SELECT ON fleet.all_customers TO thorbis_app",
        Printed,
    ),
    case(
        "error",
        "definer_function",
        "CREATE FUNCTION fleet.count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER
             AS 'SELECT count(*) FROM shared.customers'",
        Printed,
    ),
    case(
        "error",
        "definer_function",
        "CREATE FUNCTION fleet.count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = shared
             AS 'SELECT count(*) FROM customers'",
        Printed,
    ),
    case("error", "owner_role", "ALTER ROLE thorbis_owner LOGIN", Printed),
    case(
        "error",
        "owner_role",
        "GRANT thorbis_owner TO stranger_login",
        Written("REVOKE thorbis_owner FROM stranger_login"),
    ),
    case(
        "error",
        "application_bypasses",
        "CREATE ROLE doctors_guest BYPASSRLS; GRANT thorbis_app TO doctors_guest",
        Printed,
    ),
    case(
        "error",
        "application_bypasses",
        "CREATE ROLE doctors_guest SUPERUSER; GRANT thorbis_gateway TO doctors_guest",
        Printed,
    ),
    case(
        "error",
        "application_bypasses",
        "CREATE ROLE doctors_guest REPLICATION; GRANT thorbis_app TO doctors_guest",
        Printed,
    ),
    case(
        "error",
        "application_bypasses",
        "CREATE ROLE doctors_guest CREATEROLE NOINHERIT; GRANT thorbis_app TO doctors_guest",
        Written("ALTER ROLE doctors_guest NOCREATEROLE"),
    ),
    case(
        "error",
        "application_reaches",
        "GRANT thorbis_platform TO app_only_login",
        Written("REVOKE thorbis_platform FROM app_only_login"),
    ),
    case(
        "error",
        "application_reaches",
        "CREATE ROLE doctors_guest BYPASSRLS; GRANT doctors_guest TO app_login",
        Written("REVOKE doctors_guest FROM app_login"),
    ),
    case(
        "error",
        "application_reaches",
        "GRANT pg_write_all_data TO app_only_login",
        Written("REVOKE pg_write_all_data FROM app_only_login"),
    ),
    case("error", "schema_owner", "ALTER SCHEMA fleet OWNER TO app_login", Printed),
    case("error", "child_owner", "ALTER TABLE fleet.trips_old OWNER TO app_only_login", Printed),
    case(
        "error",
        "replica_role_setting",
        "ALTER ROLE stranger_login SET session_replication_role = 'replica'",
        Printed,
    ),
    case("error", "member_function_grant", "GRANT EXECUTE ON FUNCTION public.keep_tenant_id() TO app_login", Printed),
    case(
        "warning",
        "definer_reader",
        "CREATE FUNCTION fleet.count_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS 'SELECT count(*) FROM shared.customers'",
        Printed,
    ),
    case(
        "notice",
        "shared_sequence",
        "ALTER TABLE fleet.trucks ADD COLUMN number serial",
        Written("ALTER TABLE fleet.trucks DROP COLUMN number"),
    ),
    case(
        "notice",
        "bypassing_login",
        "CREATE ROLE doctors_guest LOGIN BYPASSRLS",
        Written("ALTER ROLE doctors_guest NOBYPASSRLS"),
    ),
    case(
        "notice",
        "bypassing_login",
        "CREATE ROLE doctors_guest LOGIN SUPERUSER",
        Written("ALTER ROLE doctors_guest NOSUPERUSER"),
    ),
    case(
        "error",
        "replication_role_grant",
        "GRANT SET ON PARAMETER session_replication_role TO stranger_login",
        Printed,
    ),
    case("error", "context_grant", "GRANT SET ON PARAMETER app.current_tenant_id TO stranger_login", Printed),
    case("error", "context_grant", "GRANT SET ON PARAMETER app.current_user_id TO PUBLIC", Printed),
    case(
        "warning",
        "default_privileges",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA fleet GRANT SELECT ON TABLES TO thorbis_app",
        Written("ALTER DEFAULT PRIVILEGES IN SCHEMA fleet REVOKE SELECT ON TABLES FROM thorbis_app"),
    ),
    case(
        "warning",
        "default_privileges",
        "ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO PUBLIC",
        Written("ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM PUBLIC"),
    ),
    case(
        "warning",
        "bound_role",
        "CREATE ROLE doctors_guest; SELECT thorbis.bind_role('doctors_guest', '{tenant}');
         ALTER ROLE doctors_guest BYPASSRLS",
        Printed,
    ),
    case(
        "warning",
        "foreign_triggers",
        "GRANT CREATE ON SCHEMA fleet TO thorbis_app;
         CREATE FUNCTION fleet.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER note BEFORE INSERT ON shared.customers FOR EACH ROW EXECUTE FUNCTION fleet.note()",
        Written("ALTER FUNCTION fleet.note() SET SCHEMA shared"),
    ),
    case(
        "warning",
        "unclassified_column",
        "ALTER TABLE fleet.trips ADD COLUMN remark text",
        Written("SELECT thorbis.protect('fleet.trips', options => '{\"not_personal\": [\"remark\"]}')"),
    ),
    case("error", "key_in_setting", "ALTER DATABASE {database} SET app.encryption_key = 'mine'", Printed),
    case("error", "key_in_setting", "ALTER ROLE stranger_login SET app.encryption_key = 'mine'", Printed),
    case(
        "warning",
        "logged_parameters",
        "SET LOCAL log_statement = 'mod'",
        Written("SET LOCAL log_statement = 'none'"),
    ),
    case(
        "warning",
        "logged_parameters",
        "SET LOCAL log_parameter_max_length_on_error = 100",
        Written("SET LOCAL log_parameter_max_length_on_error = 0"),
    ),
    case("notice", "temporary_tables", "", Printed),
];

#[test]
fn every_check_of_the_database_finds_its_situation_and_its_remedy_mends_it() {
    try_cases(CHECKS);
}

/// The same, said for a database: it holds for everybody who logs in there.
#[test]
fn replica_settings_of_a_database_are_found_and_mended() {
    try_cases(&[
        case(
            "error",
            "replica_role_setting",
            "ALTER ROLE stranger_login IN DATABASE {database} SET session_replication_role = 'replica'",
            Printed,
        ),
        case(
            "error",
            "replica_role_setting",
            "ALTER DATABASE {database} SET session_replication_role = 'replica'",
            Printed,
        ),
    ]);
}

#[test]
fn trigger_functions_granted_to_everybody_are_found() {
    let situation = "GRANT EXECUTE ON FUNCTION public.check_role_grant() TO PUBLIC";
    try_cases(&[case("error", "member_function_grant", situation, Printed)]);
}

/// Its role is gone, so whatever removes the row must not need the role.
#[test]
fn binding_of_a_role_that_is_gone_is_found_and_its_remedy_removes_it() {
    try_cases(&[case(
        "warning",
        "bound_role",
        "CREATE ROLE doctors_lost_guest; SELECT thorbis.bind_role('doctors_lost_guest', '{tenant}');
         DROP ROLE doctors_lost_guest",
        Printed,
    )]);
}

#[test]
fn a_finding_about_the_login_is_gone_after_preloading_and_reconnecting() {
    let db = Database::new();
    let found = new_findings(&mut db.superuser(), "not_preloaded", &[]).expect("the doctor answers");
    assert_eq!(found.iter().map(|f| f.severity.as_str()).collect::<Vec<_>>(), ["notice"]);
    ok(db.superuser().batch_execute(found[0].statement()));
    assert_eq!(new_findings(&mut db.superuser(), "not_preloaded", &[]), Ok(vec![]));
}

// --- completeness

/// The codes that checks.sql can print: each of its SELECTs begins with the severity and the code.
fn codes_of_the_checks() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for line in include_str!("../src/protect/checks.sql").lines().filter(|line| line.starts_with("SELECT ")) {
        let severities = ["error", "warning", "notice"].map(|severity| format!("SELECT '{severity}', "));
        let chosen = || Some(line.strip_prefix("SELECT CASE ")?.split_once(" END, ")?.1);
        let rest = severities.iter().find_map(|start| line.strip_prefix(start.as_str())).or_else(chosen);
        let rest = rest.unwrap_or_else(|| panic!("a check that begins otherwise than with its severity: {line}"));
        let literal = |text: &str| text.strip_prefix('\'')?.split_once('\'').map(|(code, _)| code.to_owned());
        match rest.strip_prefix("CASE ").and_then(|rest| rest.split_once(" END")) {
            Some((arms, _)) => codes.extend(arms.split(" THEN ").flat_map(|s| s.split(" ELSE ")).filter_map(literal)),
            None => codes.extend(literal(rest)),
        }
    }
    codes
}

#[test]
fn every_check_has_a_case() {
    let codes = codes_of_the_checks();
    assert!(codes.len() >= 14 && codes.contains("materialized_view"), "{codes:?}");
    let tried: BTreeSet<String> = CHECKS.iter().map(|case| case.code.to_owned()).collect();
    assert_eq!(codes, tried, "checks.sql (left) and the cases of this file (right)");
}

#[test]
fn every_check_is_explained_in_the_documentation() {
    let documentation = include_str!("../docs/POLICIES.md");
    let missing: BTreeSet<_> =
        CHECKS.iter().filter(|c| !documentation.contains(&format!("`{}`", c.code))).map(|c| c.code).collect();
    assert!(missing.is_empty(), "docs/POLICIES.md does not know {missing:?}");
}
